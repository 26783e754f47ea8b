// The figures of one answer, by the page's clock until the engine's own arrive.
import type { Timings, Usage } from 'kinglet';
import type { AnswerFacts } from './conversations/types.js';
import type { Piece } from './generation.js';
import { count, duration } from './words.js';

export class Run {
  readonly #startedMs = performance.now();
  #firstMs: number | undefined;
  /** Tokens of the answer, those of before included. */
  tokens: number;
  #written = 0;
  usage: Usage | undefined;
  timings: Timings | undefined;
  end: 'stop' | 'length' | undefined;

  /** `begun`: tokens that stand already. */
  constructor(begun = 0) {
    this.tokens = begun;
  }

  take({ tokens, usage, timings, end }: Piece): void {
    if (tokens.length > 0) this.#firstMs ??= performance.now();
    this.tokens += tokens.length;
    this.#written += tokens.length;
    if (usage) this.usage = usage;
    if (timings) this.timings = timings;
    if (end) this.end = end;
  }

  /** Milliseconds until the first token. */
  get firstAfterMs(): number | undefined {
    return this.#firstMs === undefined ? undefined : this.#firstMs - this.#startedMs;
  }

  get tokensPerSecond(): number | undefined {
    if (this.timings) return speedOf(this.timings.predicted_n, this.timings.predicted_ms);
    const ms = this.#firstMs === undefined ? 0 : performance.now() - this.#firstMs;
    return ms > 200 ? speedOf(this.#written - 1, ms) : undefined;
  }

  /** "41 tokens · 62.1 tok/s · first after 180 ms · stopped". */
  summary(end: AnswerFacts['end']): string {
    const parts: string[] = [];
    const speed = this.tokensPerSecond;
    if (this.tokens > 0) parts.push(this.tokens === 1 ? '1 token' : `${count(this.tokens)} tokens`);
    if (speed !== undefined) parts.push(`${speed.toFixed(1)} tok/s`);
    if (this.firstAfterMs !== undefined) parts.push(`first after ${duration(this.firstAfterMs)}`);
    if (end === 'length') parts.push('cut at the limit');
    if (end === 'stopped') parts.push('stopped');
    return parts.join(' · ');
  }
}

const speedOf = (n: number, ms: number): number | undefined => (n > 0 && ms > 0 ? (1000 * n) / ms : undefined);
