// Files that are read as a whole: JSON and templates beside a model. In the worker.

import { KingletError } from './errors.js';
import type { NamedSource } from './protocol.js';
import { openSource } from './source.js';
import { checkSum } from './source-file.js';

/** SHA-256 in hexadecimal. */
export type Hash = (bytes: Uint8Array) => string;

/** The largest tokenizer.json there is (262,144 pieces, with merges) has 33 MB. */
const MAX_BYTES = 128 << 20;
/** What servers answer for a file that is not there; a store that does not say what it holds answers 403. */
const ABSENT = [403, 404, 410];

/** All bytes of a file. E_INTEGRITY, E_NETWORK, E_FILE_LIMIT. */
export async function readWhole(file: NamedSource, sha256: Hash): Promise<Uint8Array> {
  const { bytes } = await readAll(file);
  if (file.sha256 !== undefined) checkSum(file, sha256(bytes));
  return bytes;
}

/** The same for a file that need not be there. Servers of single pages answer with their page for what is not there. */
export async function readIfThere(file: NamedSource, sha256: Hash): Promise<Uint8Array | undefined> {
  try {
    const { bytes, isPage } = await readAll(file);
    if (isPage) return undefined;
    if (file.sha256 !== undefined) checkSum(file, sha256(bytes));
    return bytes;
  } catch (thrown) {
    if (thrown instanceof KingletError && ABSENT.includes(Number(thrown.details['status']))) return undefined;
    throw thrown;
  }
}

async function readAll({ name, source }: NamedSource): Promise<{ bytes: Uint8Array; isPage: boolean }> {
  const parts: Uint8Array[] = [];
  let n_bytes = 0;
  const { chunks, isPage = false } = await openSource(source);
  for await (const chunk of chunks) {
    n_bytes += chunk.byteLength;
    if (n_bytes > MAX_BYTES)
      throw new KingletError('E_FILE_LIMIT', `${name}: over ${MAX_BYTES} bytes`, { details: { limit: MAX_BYTES } });
    parts.push(chunk);
  }
  const bytes = new Uint8Array(n_bytes);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return { bytes, isPage };
}
