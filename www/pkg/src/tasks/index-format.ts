// A saved search index, all numbers little-endian:
//
//   bytes 0…7    "kinglet\x01": 1 is the version
//   8…11         u32: bytes of the header
//   12…15        u32: CRC-32 of everything after this field
//   16…          the header, JSON in UTF-8, then white space up to a multiple of 4 bytes
//   …            f32 [passages, dimension]
//
// A file from anywhere is refused in words or gives an index as it was saved: nothing in it is trusted before it is checked.

import { KingletError } from '../errors.js';
import type { Span } from './chunks.js';

/** What of an index is saved beside the vectors. */
export interface IndexHeader {
  /** `info.name` of the model that made the embeddings. */
  model: string;
  dimension: number;
  metadata?: unknown;
  documents: SavedDocument[];
}

export interface SavedDocument {
  id: string;
  text: string;
  data?: unknown;
  passages: Span[];
}

const MAGIC = 'kinglet\x01';
const PREFIX_BYTES = 16;

export function toBytes(header: IndexHeader, vectors: Float32Array): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(text.length / 4) * 4;
  const bytes = new Uint8Array(PREFIX_BYTES + headerBytes + vectors.byteLength);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < MAGIC.length; i++) bytes[i] = MAGIC.charCodeAt(i);
  bytes.fill(0x20, PREFIX_BYTES, PREFIX_BYTES + headerBytes);
  bytes.set(text, PREFIX_BYTES);
  vectors.forEach((x, i) => view.setFloat32(PREFIX_BYTES + headerBytes + 4 * i, x, true));
  view.setUint32(8, headerBytes, true);
  view.setUint32(12, crc32(bytes.subarray(PREFIX_BYTES)), true);
  return bytes;
}

/** @throws KingletError E_FILE_FORMAT. */
export function fromBytes(bytes: Uint8Array): { header: IndexHeader; vectors: Float32Array } {
  if (!(bytes instanceof Uint8Array)) throw new TypeError('bytes must be a Uint8Array');
  const magic = String.fromCharCode(...bytes.subarray(0, MAGIC.length));
  if (magic.slice(0, -1) !== MAGIC.slice(0, -1)) throw bad('it does not begin as a search index does');
  if (magic !== MAGIC) throw bad(`it has version ${magic.charCodeAt(7)}, and only version 1 is known`);
  if (bytes.length < PREFIX_BYTES) throw bad(`it ends after ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = view.getUint32(8, true);
  if (headerBytes % 4 !== 0 || headerBytes > bytes.length - PREFIX_BYTES)
    throw bad(`its header of ${headerBytes} bytes is not whole`);
  if (crc32(bytes.subarray(PREFIX_BYTES)) !== view.getUint32(12, true)) throw bad('its checksum is another');
  const header = checkedHeader(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes));

  const n_passages = header.documents.reduce((sum, { passages }) => sum + passages.length, 0);
  const found = bytes.length - PREFIX_BYTES - headerBytes;
  if (found !== 4 * n_passages * header.dimension)
    throw bad(`it has ${found} bytes of vectors, not ${n_passages} × ${header.dimension} numbers`);
  const start = PREFIX_BYTES + headerBytes;
  const vectors = Float32Array.from({ length: found / 4 }, (_, i) => view.getFloat32(start + 4 * i, true));
  if (!vectors.every(Number.isFinite)) throw bad('a vector has a number that is not finite');
  return { header, vectors };
}

function checkedHeader(bytes: Uint8Array): IndexHeader {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw bad('its header is no JSON', cause);
  }
  const { model, dimension, documents, metadata } = asObject(value, 'the header');
  if (typeof model !== 'string') throw bad('its header names no model');
  if (!Number.isInteger(dimension) || (dimension as number) < 1) throw bad('its header has no dimension');
  if (!Array.isArray(documents)) throw bad('its header lists no documents');
  const ids = new Set<string>();
  const checked = documents.map((document: unknown, i): SavedDocument => {
    const { id, text, data, passages } = asObject(document, `document ${i}`);
    if (typeof id !== 'string' || typeof text !== 'string') throw bad(`document ${i} has no id or no text`);
    if (ids.has(id)) throw bad(`two documents have the id ${JSON.stringify(id)}`);
    ids.add(id);
    if (!Array.isArray(passages)) throw bad(`document ${i} lists no passages`);
    return {
      id,
      text,
      ...(data !== undefined && { data }),
      passages: passages.map((passage) => checkedSpan(passage, text, i)),
    };
  });
  return { model, dimension: dimension as number, ...(metadata !== undefined && { metadata }), documents: checked };
}

function checkedSpan(value: unknown, text: string, i: number): Span {
  const { start, end } = asObject(value, `a passage of document ${i}`);
  const isWithin = (at: unknown): at is number =>
    Number.isInteger(at) && (at as number) >= 0 && (at as number) <= text.length;
  if (!isWithin(start) || !isWithin(end) || start > end) throw bad(`a passage of document ${i} is not within its text`);
  return { start, end };
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(`${what} is no object`);
  return value as Record<string, unknown>;
}

function bad(what: string, cause?: unknown): KingletError {
  return new KingletError(
    'E_FILE_FORMAT',
    `these bytes are no search index: ${what}`,
    cause === undefined ? {} : { cause },
  );
}

/** CRC-32 as in zip and PNG: polynomial 0xEDB88320, reflected. */
export function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});
