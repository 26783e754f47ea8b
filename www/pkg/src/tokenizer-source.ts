// The vocabulary of a model's tokenizer.json, read in the worker into the form that the engine takes. What the JSON means is
// tokenizer-json.ts's business. Called by loading.ts.

import { KingletError } from './errors.js';
import type { NamedSource } from './protocol.js';
import { type Hash, readWhole } from './small-file.js';
import { vocabularyFromTokenizerJson } from './tokenizer-json.js';

/** The header of a GGUF file that holds the vocabulary alone. */
export async function readVocabulary(
  tokenizer: NamedSource,
  config: NamedSource | undefined,
  sha256: Hash,
): Promise<Uint8Array> {
  const read = async (file: NamedSource): Promise<unknown> => {
    const bytes = await readWhole(file, sha256);
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (cause) {
      throw new KingletError('E_FILE_FORMAT', `${file.name}: this is no JSON`, { cause, details: { file: file.name } });
    }
  };
  const [json, more] = [await read(tokenizer), config && (await read(config))];
  return vocabularyFromTokenizerJson(json, more);
}
