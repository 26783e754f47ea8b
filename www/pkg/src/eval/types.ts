// The types of `kinglet/eval`: benchmarks, results of items, reports, comparisons.

import type { CallOptions, Continuation, Info, ScoredContinuation, TokenizeOptions } from '../types.js';

/** What is needed of a loaded model; {@link Kinglet} has it. */
export interface ScoringEngine {
  readonly info: Info;
  tokenize(text: string, options?: TokenizeOptions): Promise<number[]>;
  score(items: readonly (readonly Continuation[])[], options?: CallOptions): Promise<ScoredContinuation[][]>;
}

/** Benchmarks that are known by name. `perplexity` is that of any text, `wikitext` that of WikiText's articles. */
export type BenchmarkName =
  'arc_easy' | 'arc_challenge' | 'copa' | 'wsc273' | 'wsc285' | 'lambada' | 'wikitext' | 'perplexity';

/**
 * `choices`: which of several continuations is the most probable; `greedy`: whether greedy decoding writes the continuation;
 * `perplexity`: how probable whole texts are.
 */
export type BenchmarkKind = 'choices' | 'greedy' | 'perplexity';

/** One question, schema, passage or text. */
export interface BenchmarkItem {
  /** The file's own, or else the item's number from 1. Unique in a benchmark. */
  id: string;
  /** Where it begins in the file, from 1. */
  line: number;
  /** What a person reads: the question, the premise, the schema with its pronoun in square brackets; of `perplexity` what is scored. */
  text: string;
  /** `choices`: what a person reads; `greedy`: the one word. Otherwise empty. */
  choices: readonly string[];
  /** `choices`: which of the choices is right. Otherwise 0. */
  gold: number;
  /** For each choice exactly what is scored. Empty with `perplexity`, where `text` is. */
  requests: readonly { context: string; continuation: string }[];
  /** `perplexity`: bytes of UTF-8 and words of the text as published, by which its perplexity is counted. */
  n_bytes?: number;
  n_words?: number;
}

/** What a file holds. */
export interface Benchmark {
  /** One of {@link BenchmarkName}, or `arc` where neither the file nor its name says which. */
  name: BenchmarkName | 'arc';
  kind: BenchmarkKind;
  /** Which published form the file has, in words, such as `COPA, XML`. */
  form: string;
  conventions: Conventions;
  items: BenchmarkItem[];
  /** What is in the file and not among the items, and why. */
  skipped: { line: number; reason: string }[];
}

/**
 * lm-evaluation-harness 0.4 (seen: 0.4.13) scores COPA's and Winograd's continuations behind two spaces, because its tasks bring one and
 * its delimiter is another; 0.3.0, with which most published figures were made, and the papers have one. Nothing else differs.
 */
export type Conventions = 'lm-eval-0.3' | 'lm-eval-0.4';

/** Options of {@link readBenchmark}. */
export interface ReadOptions {
  /** Default: by what the file looks like. A file that cannot be this is refused. */
  name?: BenchmarkName;
  /** Tells ARC-Easy from ARC-Challenge. */
  fileName?: string;
  /** Default `'lm-eval-0.3'`. */
  conventions?: Conventions;
}

/** A figure of a report. */
export interface Metric {
  value: number;
  /** As lm-evaluation-harness gives it; null where it gives none. */
  stderr: number | null;
  /** Items that it is about; of `perplexity` tokens, words or bytes. */
  n: number;
}

/** Figures by name; accuracies are 0…1. */
export interface Metrics {
  /** `acc`: the most probable choice, or the greedy word, is right. */
  accuracy?: Metric;
  /** `acc_norm`: by ln P divided by the choice's characters. */
  accuracy_norm?: Metric;
  /** `acc_bytes`: by ln P divided by the choice's bytes. */
  accuracy_bytes?: Metric;
  /** LAMBADA: of the last words; texts: of the tokens. */
  perplexity?: Metric;
  word_perplexity?: Metric;
  byte_perplexity?: Metric;
  bits_per_byte?: Metric;
}

/** How one item went. */
export interface ItemResult {
  /** In `benchmark.items`. */
  index: number;
  id: string;
  /** Of `perplexity` only how it begins. */
  text: string;
  /** With `choices` and `greedy`. */
  choices: { text: string; logprob: number; n_tokens: number }[];
  /** `choices`: the right one. Otherwise 0. */
  gold: number;
  /** `choices`: the most probable one; that by characters; that by bytes. Otherwise 0. */
  choice: number;
  choice_norm: number;
  choice_bytes: number;
  /** Whether the model was right; false with `perplexity`. */
  correct: boolean;
  /** ln P of the right choice, of the word, of the text. */
  logprob: number;
  /** Tokens of that. */
  n_tokens: number;
  /** `perplexity`: the spread of ln P of the tokens (sum of squares), and what it is counted by. */
  logprob_squares?: number;
  n_bytes?: number;
  n_words?: number;
}

/** Told while {@link evaluate} runs. */
export interface EvaluateProgress {
  /** Items that are done; of `perplexity` windows of text. */
  done: number;
  total: number;
  elapsed_ms: number;
  /** By the length of what is left; null before anything is done. */
  remaining_ms: number | null;
  /** So far; null with `perplexity` and before anything is done. */
  accuracy: number | null;
  /** So far, of words (LAMBADA) or tokens; null with `choices` and before anything is done. */
  perplexity: number | null;
}

/** Options of {@link evaluate}. */
export interface EvaluateOptions extends CallOptions {
  /** Only so many items. Default all. */
  limit?: number;
  /** From this item on, counted from 0. Default 0. */
  offset?: number;
  /** `perplexity`: tokens of a window, 2 to the context length, which is the default. */
  windowTokens?: number;
  onProgress?(progress: EvaluateProgress): void;
  /** Each result as soon as it is there: after an abort, {@link reportOf} makes a report of what was done. */
  onItem?(result: ItemResult): void;
}

/** What a benchmark has shown of a model. */
export interface Report {
  /** Version of this form. */
  version: 1;
  benchmark: string;
  form: string;
  conventions: string;
  kind: BenchmarkKind;
  model: { name: string; architecture: string; quantization: string; parameters: number; file_bytes: number };
  /** What computed it, in words, such as `cpu, 2 threads`. */
  device: string;
  /** Version of the package and the binary. */
  build: string;
  metrics: Metrics;
  items: ItemResult[];
  n_items: number;
  /** Items that the benchmark has, and where the evaluation began among them. */
  n_benchmark: number;
  offset: number;
  /** `perplexity`: tokens of a window. */
  window_tokens?: number;
  /** Items that do not fit into the model's context. They are in no figure. */
  too_long: { index: number; id: string }[];
  seconds: number;
  items_per_second: number;
  /** ISO 8601. */
  date: string;
}

/** How an item went in two reports. */
export interface ComparedItem {
  id: string;
  text: string;
  a: ItemResult;
  b: ItemResult;
}

/** Two reports on the same benchmark, item by item. */
export interface Comparison {
  benchmark: string;
  kind: BenchmarkKind;
  /** Items that are in both. */
  n_items: number;
  /** Items that are in one only. */
  n_only_in_a: number;
  n_only_in_b: number;
  /** How many items both, only one or neither have right. All 0 with `perplexity`. */
  both: number;
  only_a: number;
  only_b: number;
  neither: number;
  /** `choices`: items in which both made the same choice, right or wrong; `greedy`: in which both are right or both wrong. */
  same_choice: number;
  /** Accuracy of b less that of a over the common items, with the standard error of paired differences; null with `perplexity`. */
  difference: { value: number; stderr: number | null } | null;
  /** McNemar's exact test, two-sided: how likely so uneven a split of the items that only one has right is by chance; null with `perplexity`. */
  p_value: number | null;
  /** The figures of both over the common items. */
  metrics_a: Metrics;
  metrics_b: Metrics;
  /** Items that only one has right, in the order of the benchmark; `perplexity`: all, the greatest difference first. */
  items: ComparedItem[];
}
