// summarize: a long text in parts, each summarized, and the summaries again, until they are as short as was asked. No part is left out,
// and none is cut off: the end of a text has the same share in its summary as the beginning.

import type { FinishReason } from '../types.js';
import { type Span, split } from './chunks.js';
import { checkOptions, checkText, oneOf } from './options.js';
import { Progress } from './progress.js';
import { type Length, type Prompt, summaryPrompt } from './prompts.js';
import { supported } from './support.js';
import type { SummarizeOptions, TaskEngine, Written } from './types.js';
import { Costs, Writer } from './writing.js';

/** Most tokens of a summary, by what was asked. */
const MAX_TOKENS: Record<Length, number> = { short: 48, medium: 128, long: 256 };
/** A part may be summarized in so many tokens, also for a shorter summary of the whole: what matters in it is known only then. */
const PART_TOKENS = 64;
/** A summary takes at most so much of the context where its length was not given. */
const MAX_SHARE = 0.25;

/**
 * Summarizes a text: `'short'` is a sentence (at most 48 tokens), `'medium'` a few (128), `'long'` a few paragraphs (256), as far as the
 * model heeds it; T5 is not told, and writes as it was trained to.
 *
 * A text that does not fit the context is summarized in parts, cut where paragraphs or sentences end. The summaries, one after the
 * other, are the summary where together they are no longer than `max_tokens`; else they are summarized again.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that does not write, or was not trained to follow instructions.
 */
export async function summarize(engine: TaskEngine, text: string, options: SummarizeOptions = {}): Promise<Written> {
  checkOptions('summarize', options);
  supported(engine, 'summarize');
  const length = oneOf(options.length, 'length', ['short', 'medium', 'long'] as const) ?? 'medium';
  const source = checkText(text).trim();
  const writer = new Writer(engine, options.signal);
  const prompt = summaryPrompt(writer.manner, length);
  const most = Math.max(1, Math.floor(MAX_SHARE * engine.info.contextLength));
  const max_tokens = options.max_tokens ?? Math.min(MAX_TOKENS[length], most);
  const part_tokens = Math.max(max_tokens, Math.min(PART_TOKENS, most));
  const { spans, limit } = await writer.split(source, prompt, part_tokens);
  return new Summary(writer, prompt, { max_tokens, part_tokens, limit }, options).of(source, spans);
}

interface Limits {
  max_tokens: number;
  part_tokens: number;
  limit: number;
}

class Summary {
  readonly #writer: Writer;
  readonly #prompt: Prompt;
  readonly #max_tokens: number;
  /** Tokens of the summary of a part. */
  readonly #part_tokens: number;
  /** Tokens of a part. */
  readonly #limit: number;
  readonly #options: SummarizeOptions;
  readonly #costs = new Costs();

  constructor(writer: Writer, prompt: Prompt, limits: Limits, options: SummarizeOptions) {
    this.#writer = writer;
    this.#prompt = prompt;
    this.#max_tokens = limits.max_tokens;
    this.#limit = limits.limit;
    // Two have to fit a prompt.
    this.#part_tokens = Math.max(1, Math.min(limits.part_tokens, limits.limit >> 1));
    this.#options = options;
  }

  async of(text: string, spans: Span[]): Promise<Written> {
    const { onProgress, onText } = this.#options;
    const progress = new Progress(this.#mostCalls(spans.length), onProgress);
    const { usage, timings } = this.#costs;
    const done = (text: string, finish_reason: FinishReason): Written => {
      progress.finish();
      return { text, chunks: spans.length, finish_reason, usage, timings };
    };
    for (let [current, parts] = [text, spans]; ;) {
      if (parts.length === 1) {
        const { text, finish_reason } = await this.#write(current, this.#max_tokens, onText);
        return done(text, finish_reason);
      }
      const summaries: string[] = [];
      let finish_reason: FinishReason = 'stop';
      for (const { start, end } of parts) {
        const part = await this.#write(current.slice(start, end), this.#part_tokens);
        if (part.finish_reason === 'length') finish_reason = 'length';
        if (part.text !== '') summaries.push(part.text);
        progress.step();
      }
      current = summaries.join('\n');
      const isShort = (await this.#writer.measure(current)) <= this.#max_tokens;
      const next = isShort ? [] : await split(current, this.#limit, this.#writer.measure);
      // A model that does not make texts shorter would go on for ever: what it gave is the summary then.
      if (isShort || next.length >= parts.length) {
        if (current !== '') onText?.(current);
        return done(current, finish_reason);
      }
      parts = next;
    }
  }

  /** Answers that it takes to summarize so many parts, if each summary is as long as it may be. */
  #mostCalls(n_parts: number): number {
    const n_together = Math.max(2, Math.floor(this.#limit / this.#part_tokens));
    let n_calls = n_parts;
    for (let n = n_parts; n > 1;) {
      n = Math.ceil(n / n_together);
      n_calls += n;
    }
    return n_calls;
  }

  async #write(text: string, max_tokens: number, onText?: (piece: string) => void) {
    const { before, after } = this.#prompt;
    const prompt = before + text.trim() + after;
    return this.#costs.add(await this.#writer.write(prompt, { max_tokens, options: this.#options, onText }));
  }
}
