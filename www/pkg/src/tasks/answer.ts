// answer: a question by itself, or about a text; of a long text the part that the question goes with best.

import { overflow, type Span, split, widened } from './chunks.js';
import { checkOptions, checkText } from './options.js';
import { withSignal } from './passages.js';
import { Progress } from './progress.js';
import { answerPrompt, questionPrompt } from './prompts.js';
import { supported } from './support.js';
import type { Answered, Question, TaskEngine, WriteOptions } from './types.js';
import { Writer } from './writing.js';

const MAX_TOKENS = 128;
/** An answer takes at most so much of the context where its length was not given. */
const MAX_SHARE = 0.25;
/** So much of a part is what stands before and after it, so that an answer is not cut in two. */
const OVERLAP = 1 / 8;

/**
 * Answers a question, from `context` if there is one, with at most 128 tokens by default. A context that does not fit is read in parts:
 * each is scored by how probable the model finds the question after it (Sachan et al. 2022, "Improving Passage Retrieval with Zero-Shot
 * Question Generation"), and the answer comes from the best; `source` says where that is.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that does not write, or was not trained to follow instructions;
 * E_CONTEXT_OVERFLOW for a question that does not fit.
 */
export async function answer(
  engine: TaskEngine,
  { question, context }: Question,
  options: WriteOptions = {},
): Promise<Answered> {
  checkOptions('answer', options);
  supported(engine, 'answer');
  const asked = checkText(question, 'question').trim();
  const writer = new Writer(engine, options.signal);
  const most = Math.max(1, Math.floor(MAX_SHARE * engine.info.contextLength));
  const max_tokens = options.max_tokens ?? Math.min(MAX_TOKENS, most);
  const ask = { max_tokens, options, onText: options.onText };
  if (context === undefined) {
    const progress = new Progress(1, options.onProgress);
    const part = await writer.write(asked, ask);
    progress.finish();
    return { ...part, chunks: 1 };
  }
  checkText(context, 'context');

  const { before, after } = answerPrompt(writer.manner, asked);
  const { spans, limit } = await writer.split(context, { before, after }, max_tokens);
  const parts = spans.length === 1 ? spans : await smallerParts(writer, context, asked, limit);
  const progress = new Progress(parts.length === 1 ? 1 : parts.length + 1, options.onProgress);
  const best = parts.length === 1 ? 0 : await bestPart(writer, context, parts, asked, progress, options.signal);
  const source = parts[best] ?? { start: 0, end: context.length };
  const part = await writer.write(before + context.slice(source.start, source.end).trim() + after, ask);
  progress.finish();
  return { ...part, chunks: parts.length, source };
}

/** Parts that overlap, and that fit both what is asked of them: to go with the question, and to answer it. */
async function smallerParts(writer: Writer, context: string, question: string, limit: number): Promise<Span[]> {
  const forScore = (await writer.plainRoom(questionPrompt(writer.manner))) - (await writer.measure(question));
  const most = Math.min(limit, forScore);
  const margin = Math.floor(OVERLAP * most);
  if (most < 1) throw overflow(await writer.measure(context), most);
  return widened(context, await split(context, most - 2 * margin, writer.measure), margin, writer.measure);
}

/** Which part the question goes with best. */
async function bestPart(
  writer: Writer,
  context: string,
  parts: Span[],
  question: string,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { before, after } = questionPrompt(writer.manner);
  const items = parts.map(({ start, end }) => [
    { context: before + context.slice(start, end).trim() + after, continuation: ` ${question}` },
  ]);
  const scores = await writer.engine.score(items, {
    ...withSignal(signal),
    onProgress: ({ done }) => progress.reach(done),
  });
  const logprobs = scores.map(([score]) => score?.logprob ?? -Infinity);
  return logprobs.indexOf(Math.max(...logprobs));
}
