// Figures from results, as lm-evaluation-harness counts them (release 0.4.13, api/metrics.py and `process_results` in api/task.py).

import type { ScoredContinuation } from '../types.js';
import type { Benchmark, BenchmarkItem, ItemResult, Metric, Metrics } from './types.js';

/** The result of an item with choices or of a greedy one. */
export function resultOf(
  index: number,
  item: BenchmarkItem,
  kind: Benchmark['kind'],
  scores: readonly ScoredContinuation[],
): ItemResult {
  const logprobs = scores.map(({ logprob }) => logprob);
  const best = (lengthOf: (text: string) => number) =>
    argmax(logprobs.map((logprob, i) => logprob / lengthOf(item.choices[i] ?? '')));
  const [choice, choice_norm, choice_bytes] = [best(() => 1), best(characters), best(bytes)];
  const right = scores[item.gold];
  return {
    index,
    id: item.id,
    text: item.text,
    choices: scores.map(({ logprob, token_ids }, i) => ({
      text: item.choices[i] ?? '',
      logprob,
      n_tokens: token_ids.length,
    })),
    gold: item.gold,
    choice,
    choice_norm,
    choice_bytes,
    correct: kind === 'greedy' ? right?.is_greedy === true : choice === item.gold,
    logprob: right?.logprob ?? 0,
    n_tokens: right?.token_ids.length ?? 0,
  };
}

/** Letters of a text that a report keeps. */
const N_BEGINNING = 80;

/** The result of a whole text, from the probabilities of all its tokens. */
export function textResult(index: number, item: BenchmarkItem, tokenLogprobs: readonly number[]): ItemResult {
  return {
    index,
    id: item.id,
    text: item.text.trim().slice(0, N_BEGINNING),
    choices: [],
    gold: 0,
    choice: 0,
    choice_norm: 0,
    choice_bytes: 0,
    correct: false,
    logprob: sum(tokenLogprobs),
    n_tokens: tokenLogprobs.length,
    logprob_squares: sum(tokenLogprobs.map((x) => x * x)),
    n_bytes: item.n_bytes ?? 0,
    n_words: item.n_words ?? 0,
  };
}

/** As Python's `len` counts: code points. */
const characters = (text: string): number => [...text].length;
const bytes = (text: string): number => new TextEncoder().encode(text).length;
const sum = (numbers: readonly number[]): number => numbers.reduce((total, x) => total + x, 0);

/** The first of the largest, as numpy has it. */
const argmax = (numbers: readonly number[]): number =>
  numbers.reduce((best, x, i) => (x > (numbers[best] ?? Number.NEGATIVE_INFINITY) ? i : best), 0);

/** All figures of a benchmark. Empty where there are no results. */
export function metricsOf(
  { name, kind }: Pick<Benchmark, 'kind'> & { name: string },
  results: readonly ItemResult[],
): Metrics {
  if (results.length === 0) return {};
  if (kind === 'perplexity') return textMetrics(results);
  const metrics: Metrics = { accuracy: meanOf(results.map(({ correct }) => Number(correct))) };
  if (kind === 'greedy') metrics.perplexity = perplexityOf(results.map(({ logprob }) => logprob));
  // The harness's COPA and Winograd have no length-normalised accuracy.
  if (kind === 'choices' && name.startsWith('arc')) {
    metrics.accuracy_norm = meanOf(results.map(({ choice_norm, gold }) => Number(choice_norm === gold)));
    metrics.accuracy_bytes = meanOf(results.map(({ choice_bytes, gold }) => Number(choice_bytes === gold)));
  }
  return metrics;
}

/** Mean, with `mean_stderr`: the sample's standard deviation over the root of n. */
export function meanOf(numbers: readonly number[]): Metric {
  const n = numbers.length;
  const value = sum(numbers) / n;
  const squares = sum(numbers.map((x) => (x - value) ** 2));
  return { value, stderr: n > 1 ? Math.sqrt(squares / (n - 1) / n) : null, n };
}

/**
 * exp of the negative mean. The harness finds the standard error by drawing again 100,000 times; this is what that tends to, the
 * perplexity times the standard error of the mean (delta method), without chance.
 */
function perplexityOf(logprobs: readonly number[]): Metric {
  const { value, stderr, n } = meanOf(logprobs);
  const perplexity = Math.exp(-value);
  return { value: perplexity, stderr: stderr === null ? null : perplexity * stderr, n };
}

/** `word_perplexity`, `byte_perplexity`, `bits_per_byte`: weighted over all texts; the harness gives them no standard error. Perplexity of tokens beside them. */
function textMetrics(results: readonly ItemResult[]): Metrics {
  const total = (of: (result: ItemResult) => number | undefined) => sum(results.map((result) => of(result) ?? 0));
  const logprob = total((r) => r.logprob);
  const [n_tokens, n_words, n_bytes] = [total((r) => r.n_tokens), total((r) => r.n_words), total((r) => r.n_bytes)];
  const weighted = (n: number): Metric => ({ value: Math.exp(-logprob / n), stderr: null, n });
  const variance = (total((r) => r.logprob_squares) - logprob ** 2 / n_tokens) / (n_tokens - 1);
  const perplexity = weighted(n_tokens);
  if (n_tokens > 1) perplexity.stderr = perplexity.value * Math.sqrt(Math.max(variance, 0) / n_tokens);
  return {
    word_perplexity: weighted(n_words),
    byte_perplexity: weighted(n_bytes),
    bits_per_byte: { value: -logprob / n_bytes / Math.LN2, stderr: null, n: n_bytes },
    perplexity,
  };
}
