// Bytes of a text file to a string: by the byte order mark, by an XML declaration, or else UTF-8. Called by read.ts.

import { KingletError } from '../errors.js';

/** What an XML declaration says of the encoding. It is ASCII in every encoding that such files come in. */
const DECLARED = /^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([\w.-]+)["']/;

/** @throws KingletError E_FILE_FORMAT for bytes that are not text, or an encoding that is unknown. */
export function decodeText(data: string | Uint8Array | ArrayBuffer): string {
  if (typeof data === 'string') return data.replace(/^\uFEFF/, '');
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const encoding = encodingOf(bytes);
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(encoding, { fatal: true });
  } catch (cause) {
    throw new KingletError('E_FILE_FORMAT', `the file declares an unknown encoding, ${encoding}`, { cause });
  }
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new KingletError('E_FILE_FORMAT', `the file is not text in ${encoding.toUpperCase()}`, {
      cause,
      details: { encoding },
    });
  }
}

function encodingOf(bytes: Uint8Array): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le';
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return 'utf-16be';
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return 'utf-8';
  const start = String.fromCharCode(...bytes.subarray(0, 200));
  const declared = DECLARED.exec(start)?.[1]?.toLowerCase() ?? 'utf-8';
  // What can be read byte by byte is not UTF-16, whatever it says.
  return declared.startsWith('utf-16') ? 'utf-8' : declared;
}
