// Measures the speed of a loaded model by the public API alone. No DOM. The engine's own clock, which every answer brings, is read.
import type { Info } from 'kinglet';
import type { Engine } from '../loader.js';

export interface Case {
  /** Reading a prompt, or writing behind one. */
  readonly measure: 'prefill' | 'decode';
  /** Tokens that are timed. */
  readonly tokens: number;
  /** Tokens that stand before them. */
  readonly depth: number;
}

/** One run of a case. */
export interface Timing {
  tokens: number;
  ms: number;
}

export const CASES: readonly Case[] = [
  { measure: 'prefill', tokens: 132, depth: 0 },
  { measure: 'prefill', tokens: 512, depth: 0 },
  { measure: 'decode', tokens: 64, depth: 132 },
  { measure: 'decode', tokens: 64, depth: 2000 },
];

/** Whether the model's context holds it, the token that ends a prefill included. */
export function fits(
  { tokens, depth }: Case,
  { contextLength, tasks }: Pick<Info, 'contextLength' | 'tasks'>,
): boolean {
  // An encoder-decoder has a context for what it reads and one for what it writes.
  const needed = tasks.includes('remember') ? Math.max(tokens, depth) : tokens + depth;
  return needed + 1 <= contextLength;
}

export interface MeasureOptions {
  runs: number;
  signal: AbortSignal;
  /** A run is done, or the one that warms up. */
  onRun(): void;
}

/** The timings of `runs` runs, after one that warms up. The first token of an answer counts as read, not as written. */
export async function measureCase(engine: Engine, one: Case, options: MeasureOptions): Promise<Timing[]> {
  const { runs, signal, onRun } = options;
  const isPrefill = one.measure === 'prefill';
  const timings: Timing[] = [];
  for (let run = 0; run <= runs; run++) {
    const params = {
      prompt: promptOf(isPrefill ? one.tokens : one.depth, engine.info.vocabularySize),
      max_tokens: isPrefill ? 1 : one.tokens + 1,
      temperature: 0,
      ignore_eos: true,
      speculation: 'off' as const,
      cache_prompt: !isPrefill, // what stands before the tokens that are timed is read once
    };
    const { timings: took } = await engine.completions.create(params, { signal });
    if (run > 0)
      timings.push(
        isPrefill ? { tokens: took.prompt_n, ms: took.prompt_ms } : { tokens: took.predicted_n, ms: took.predicted_ms },
      );
    onRun();
  }
  return timings;
}

/** Ids that are the same on every machine; what they say does not matter. The first of a vocabulary, where marks are, are left out. */
export function promptOf(n_tokens: number, vocabularySize: number): number[] {
  const first = Math.min(1000, vocabularySize >> 2);
  const range = Math.min(20_000, vocabularySize - first);
  return Array.from({ length: n_tokens }, (_, t) => first + ((37 * t) % range));
}
