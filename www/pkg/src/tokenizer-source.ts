// The vocabulary of a model's tokenizer.json, read in the worker into the form that the engine takes. What the JSON means is
// tokenizer-json.ts's business. Called by loading.ts.

import { KingletError } from './errors.js';
import type { NamedSource } from './protocol.js';
import { openSource } from './source.js';
import { checkSum } from './source-file.js';
import { vocabularyFromTokenizerJson } from './tokenizer-json.js';

/** The largest tokenizer.json there is (262,144 pieces, with merges) has 33 MB. */
const MAX_JSON_BYTES = 128 << 20;

/** The header of a GGUF file that holds the vocabulary alone. */
export async function readVocabulary(
  tokenizer: NamedSource,
  config: NamedSource | undefined,
  sha256: (bytes: Uint8Array) => string,
): Promise<Uint8Array> {
  const read = async (file: NamedSource): Promise<unknown> => {
    const bytes = await readAll(file);
    if (file.sha256 !== undefined) checkSum(file, sha256(bytes));
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (cause) {
      throw new KingletError('E_FILE_FORMAT', `${file.name}: this is no JSON`, { cause, details: { file: file.name } });
    }
  };
  const [json, more] = [await read(tokenizer), config && (await read(config))];
  return vocabularyFromTokenizerJson(json, more);
}

async function readAll({ name, source }: NamedSource): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let n_bytes = 0;
  for await (const chunk of (await openSource(source)).chunks) {
    n_bytes += chunk.byteLength;
    if (n_bytes > MAX_JSON_BYTES)
      throw new KingletError('E_FILE_LIMIT', `${name}: over ${MAX_JSON_BYTES} bytes`, {
        details: { limit: MAX_JSON_BYTES },
      });
    parts.push(chunk);
  }
  const bytes = new Uint8Array(n_bytes);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}
