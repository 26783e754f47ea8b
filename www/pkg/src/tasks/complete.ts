// complete: a decoder goes on with a text.

import { overflow, reach } from './chunks.js';
import { checkOptions, checkText } from './options.js';
import { Progress } from './progress.js';
import { supported } from './support.js';
import type { Completed, CompleteOptions, TaskEngine } from './types.js';
import { Writer } from './writing.js';

const MAX_TOKENS = 64;
const NO_FRAME = { before: '', after: '' };

/**
 * Goes on with a text, 64 tokens by default. Of a text that does not fit the context together with the answer its end is read, from the
 * beginning of a word on: `from` says where.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that is no decoder; E_CONTEXT_OVERFLOW where the answer alone does not fit.
 */
export async function complete(engine: TaskEngine, text: string, options: CompleteOptions = {}): Promise<Completed> {
  checkOptions('complete', options);
  supported(engine, 'complete');
  checkText(text);
  const { signal, max_tokens = MAX_TOKENS } = options;
  const progress = new Progress(1, options.onProgress);
  // Its chat template, if it has one, is for questions.
  const writer = new Writer(engine, signal, 'base');
  const room = (await writer.room(NO_FRAME)) - max_tokens;
  const n_tokens = await writer.measure(text);
  if (room < 1) throw overflow(n_tokens, room);
  const from = n_tokens <= room ? 0 : await reach(text, { before: text.length }, room, writer.measure);
  if (from === text.length) throw overflow(n_tokens, room);
  const part = await writer.write(text.slice(from), { max_tokens, options, onText: options.onText, asIs: true });
  progress.finish();
  return { ...part, chunks: 1, from };
}
