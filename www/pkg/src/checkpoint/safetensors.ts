// The header of a safetensors file: eight bytes of length, and as many of JSON that say where each tensor's bytes are in the rest.
// As strict as the format's own reader (huggingface/safetensors), which after its audit takes neither overlap nor holes: every byte
// belongs to one tensor. Pure.
//
//   | n: u64, little-endian | n bytes: {"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, …} | data |

import { KingletError } from '../errors.js';
import { isObject, malformed, parseJson, show } from './json.js';

/** One tensor of a file. */
export interface StoredTensor {
  name: string;
  /** As the file calls it, such as `BF16`. */
  dtype: string;
  /** Outermost first. */
  shape: number[];
  nBytes: number;
}

/** What the format's own reader takes at most. */
export const MAX_HEADER_BYTES = 100_000_000;
const MAX_TENSORS = 100_000;
const MAX_DIMS = 8;
/** Length of the length. */
export const LENGTH_BYTES = 8;

/** Bits of a number of each type that the format knows. */
const BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  F64: 64,
  I64: 64,
  U64: 64,
  C64: 64,
};

/** How long the JSON is, from the file's first eight bytes. E_FILE_FORMAT for another kind of file, E_FILE_LIMIT for too much. */
export function headerLength(file: string, bytes: Uint8Array): number {
  const begins = String.fromCharCode(...bytes.subarray(0, LENGTH_BYTES));
  if (begins.startsWith('version '))
    throw malformed(file, 'this is a pointer of Git LFS, not the file that it stands for');
  if (begins.startsWith('GGUF')) throw malformed(file, 'this is a GGUF file, not a safetensors file');
  if (/^(PK\x03\x04|\x80\x02|<!?[a-z])/i.test(begins))
    throw malformed(file, 'this is no safetensors file (but a page, or an archive of PyTorch)');
  const n = Number(new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true));
  if (n > MAX_HEADER_BYTES)
    throw new KingletError('E_FILE_LIMIT', `${file}: a header of ${n} bytes is over the limit of ${MAX_HEADER_BYTES}`, {
      details: { file, found: n, limit: MAX_HEADER_BYTES },
    });
  if (n < 2) throw malformed(file, `a header of ${n} bytes`);
  return n;
}

/** The tensors of a file in the order of their bytes; these are all its bytes behind the header. */
export function readHeader(file: string, bytes: Uint8Array): StoredTensor[] {
  if (bytes[0] !== 0x7b) throw malformed(file, 'the header does not begin with {');
  const json = parseJson(file, bytes);
  if (!isObject(json)) throw malformed(file, 'the header is no object');
  const { __metadata__: metadata, ...entries } = json;
  if (
    metadata !== undefined &&
    !(isObject(metadata) && Object.values(metadata).every((item) => typeof item === 'string'))
  )
    throw malformed(file, '__metadata__ is no object of strings');
  const found = Object.entries(entries).map(([name, entry]) => readEntry(file, name, entry));
  if (found.length > MAX_TENSORS)
    throw new KingletError('E_FILE_LIMIT', `${file}: ${found.length} tensors are over the limit of ${MAX_TENSORS}`, {
      details: { file, found: found.length, limit: MAX_TENSORS },
    });
  found.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { tensor, begin, end } of found) {
    if (begin !== at) {
      const what = begin < at ? 'overlaps the one before it' : `leaves a hole of ${begin - at} bytes`;
      throw malformed(file, `tensor ${show(tensor.name)} at ${begin} ${what}`);
    }
    at = end;
  }
  return found.map(({ tensor }) => tensor);
}

function readEntry(file: string, name: string, entry: unknown): { tensor: StoredTensor; begin: number; end: number } {
  const wrong = (what: string): KingletError => malformed(file, `tensor ${show(name)}: ${what}`);
  if (!isObject(entry)) throw wrong(`is ${show(entry)}`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string') throw wrong(`dtype is ${show(dtype)}`);
  const bits = Object.hasOwn(BITS, dtype) ? BITS[dtype] : undefined;
  if (bits === undefined)
    throw new KingletError('E_UNSUPPORTED_QUANT', `${file}: tensor ${show(name)}: the type ${show(dtype)} is unknown`, {
      details: { file, tensor: name, dtype },
    });
  if (!isCounts(shape) || shape.length > MAX_DIMS) throw wrong(`shape is ${show(shape)}`);
  if (!isCounts(offsets) || offsets.length !== 2) throw wrong(`data_offsets is ${show(offsets)}`);
  const [begin = 0, end = 0] = offsets;
  const nBits = shape.reduce((product, n) => product * n, bits);
  if (!Number.isSafeInteger(nBits)) throw wrong(`shape ${show(shape)} is too large`);
  if (end - begin !== nBits / 8)
    throw wrong(`${end - begin} bytes for ${show(shape)} of ${dtype}, expected ${nBits / 8}`);
  return { tensor: { name, dtype, shape, nBytes: end - begin }, begin, end };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);
}
