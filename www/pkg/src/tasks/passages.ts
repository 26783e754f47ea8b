// Texts of any length as passages that fit a context: what the heads and the embeddings look at. A text that fits is one passage.

import { type Measure, overflow, type Span, split } from './chunks.js';
import type { TaskEngine } from './types.js';

/** No tokenizer gives more tokens than there are bytes. */
const MAX_TOKENS_PER_UNIT = 3;

/** A part of a text. */
export interface Passage extends Span {
  /** Which text. */
  index: number;
  text: string;
  /** What it counts for among the passages of its text. */
  n_tokens: number;
  /** Whether it is the last of its text. */
  isLast: boolean;
}

/** Tokens of a text by itself; nothing in it is a special token. */
export function measureOf(engine: TaskEngine, signal: AbortSignal | undefined): Measure {
  return async (text) => {
    signal?.throwIfAborted();
    return (await engine.tokenize(text, { addSpecial: false })).length;
  };
}

/** Tokens that the context has for a text after the model's own at the ends. */
export async function roomOf(engine: TaskEngine, around = ''): Promise<number> {
  return engine.info.contextLength - (await engine.tokenize(around)).length;
}

/** The passages of each text, of at most `limit` tokens, in the order of the texts. An empty text is one passage. */
export async function passagesOf(texts: readonly string[], limit: number, measure: Measure): Promise<Passage[]> {
  const all: Passage[] = [];
  for (const [index, text] of texts.entries()) {
    // What fits in any case is not counted.
    const isShort = MAX_TOKENS_PER_UNIT * text.length <= limit;
    if (limit < 1) throw overflow(await measure(text), limit);
    const spans = isShort ? [{ start: 0, end: text.length }] : await split(text, limit, measure);
    for (const [i, { start, end }] of spans.entries()) {
      const part = text.slice(start, end);
      const n_tokens = spans.length === 1 ? 1 : await measure(part);
      all.push({ index, start, end, text: part, n_tokens, isLast: i === spans.length - 1 });
    }
  }
  return all;
}

/** Calls `work` with so many at a time, one call after the other, and joins what it gives. */
export async function inBatches<T, R>(
  items: readonly T[],
  size: number,
  work: (some: T[]) => Promise<readonly R[]>,
): Promise<R[]> {
  const all: R[] = [];
  for (let first = 0; first < items.length; first += size) all.push(...(await work(items.slice(first, first + size))));
  return all;
}

/** The signal as an option of the engine's calls, if there is one. */
export const withSignal = (signal: AbortSignal | undefined): { signal?: AbortSignal } => (signal ? { signal } : {});
