// Runs a benchmark on a model: items in batches through `engine.score`, so that progress, the time left and the end of a call come
// between them. The choices of an item are one item of the engine's, which computes their common beginning once.

import { KingletError } from '../errors.js';
import { metricsOf, resultOf, textResult } from './metrics.js';
import { reportOf } from './report.js';
import type { Continuation, ScoredContinuation } from '../types.js';
import type { Benchmark, EvaluateOptions, ItemResult, Report, ScoringEngine } from './types.js';

/** How long a batch should take: short enough for a lively display, long enough that calls cost nothing. */
const BATCH_MS = 400;
/** Items of the first batch, whose speed nobody knows. */
const N_FIRST_BATCH = 2;
const N_LARGEST_BATCH = 64;

/** What is scored in one piece: an item's choices, or a window of a text. */
interface Job {
  requests: Continuation[];
  /** About how much there is to compute, in letters or tokens. */
  weight: number;
  /** In `benchmark.items`. */
  index: number;
  /** Whether it is the last of its item. */
  isLast: boolean;
}

/**
 * Runs a benchmark, or a part of it, on a loaded model.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that gives no probabilities of texts, and for perplexity of an encoder-decoder;
 * RangeError or TypeError for wrong options; the signal's reason after an abort (the results so far have been given to `onItem`).
 */
export async function evaluate(
  engine: ScoringEngine,
  benchmark: Benchmark,
  options: EvaluateOptions = {},
): Promise<Report> {
  const { offset, end } = checkEvaluate(engine, benchmark, options);
  const run = new Run(engine, benchmark, options);
  const jobs =
    benchmark.kind === 'perplexity'
      ? await windowsOf(engine, benchmark, options, offset, end)
      : jobsOf(benchmark, offset, end);
  await run.all(jobs);
  const facts = { offset, tooLong: run.tooLong, seconds: run.seconds };
  const window = benchmark.kind === 'perplexity' ? { windowTokens: windowOf(engine, options) } : {};
  return reportOf(engine.info, benchmark, run.results, { ...facts, ...window });
}

/** Which items are meant. */
function checkEvaluate(
  { info }: ScoringEngine,
  { kind, name, items }: Benchmark,
  { limit, offset = 0, windowTokens }: EvaluateOptions,
): { offset: number; end: number } {
  if (limit !== undefined && !(Number.isInteger(limit) && limit > 0))
    throw new RangeError('limit must be a whole number above 0');
  if (!Number.isInteger(offset) || offset < 0 || offset >= items.length)
    throw new RangeError(`offset must be a whole number below the ${items.length} items of the benchmark`);
  if (
    windowTokens !== undefined &&
    !(Number.isInteger(windowTokens) && windowTokens >= 2 && windowTokens <= info.contextLength)
  )
    throw new RangeError(`windowTokens must be a whole number from 2 to ${info.contextLength}, the context length`);
  if (!info.tasks.includes('generate'))
    throw new KingletError(
      'E_UNSUPPORTED_TASK',
      `${info.name} gives no probabilities of texts: benchmarks need a model that writes`,
    );
  if (kind === 'perplexity' && info.tasks.includes('remember'))
    throw new KingletError(
      'E_UNSUPPORTED_TASK',
      `${info.name} reads a text before it writes: ${name} is for models that only go on`,
    );
  return { offset, end: limit === undefined ? items.length : Math.min(items.length, offset + limit) };
}

const windowOf = ({ info }: ScoringEngine, { windowTokens }: EvaluateOptions): number =>
  windowTokens ?? info.contextLength;

function jobsOf({ items }: Benchmark, offset: number, end: number): Job[] {
  return items.slice(offset, end).map(({ requests }, i) => {
    const longest = Math.max(...requests.map(({ context }) => context.length));
    const weight = requests.reduce((total, { continuation }) => total + continuation.length, longest);
    return { requests: [...requests], weight, index: offset + i, isLast: true };
  });
}

/**
 * lm_eval/utils.py, `get_rolling_token_windows` with `context_len` 1 and `make_disjoint_window`: each token is predicted once; the
 * first window begins with BOS, another with the last token of the one before. In its last window the harness goes back as far
 * as the window allows, so that these tokens have more before them: so does this. (`windowTokens` is its `max_length` and 1: it counts
 * the last token, which is only predicted.) The harness lets the tokenizer put
 * a BOS among the tokens that are predicted; here only the text's own are.
 */
async function windowsOf(
  engine: ScoringEngine,
  { items }: Benchmark,
  options: EvaluateOptions,
  offset: number,
  end: number,
): Promise<Job[]> {
  // Context and continuation share the context length.
  const n = windowOf(engine, options) - 1;
  const jobs: Job[] = [];
  for (let index = offset; index < end; index++) {
    options.signal?.throwIfAborted();
    const ids = await engine.tokenize(items[index]?.text ?? '', { addSpecial: false });
    for (let at = 0; at < ids.length; at += n) {
      const stop = Math.min(ids.length, at + n);
      const context = at === 0 ? [] : ids.slice(stop - n - 1, at);
      const requests = [{ context, continuation: ids.slice(at, stop) }];
      jobs.push({ requests, weight: Math.min(stop, n), index, isLast: stop === ids.length });
    }
  }
  return jobs;
}

/** One evaluation under way. */
class Run {
  readonly results: ItemResult[] = [];
  readonly tooLong: number[] = [];
  readonly #engine: ScoringEngine;
  readonly #benchmark: Benchmark;
  readonly #options: EvaluateOptions;
  readonly #started = performance.now();
  #done = { jobs: 0, weight: 0 };
  #total = { jobs: 0, weight: 0 };
  /** Tokens of the text whose windows are being computed. */
  #logprobs: number[] = [];

  constructor(engine: ScoringEngine, benchmark: Benchmark, options: EvaluateOptions) {
    this.#engine = engine;
    this.#benchmark = benchmark;
    this.#options = options;
  }

  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  async all(jobs: readonly Job[]): Promise<void> {
    this.#total = { jobs: jobs.length, weight: jobs.reduce((total, { weight }) => total + weight, 0) };
    const started = performance.now();
    this.#report(started);
    for (let at = 0; at < jobs.length;) {
      const batch = this.#nextBatch(jobs, at, started);
      await this.#score(batch);
      at += batch.length;
      this.#report(started);
    }
  }

  /** As many as will take about BATCH_MS. */
  #nextBatch(jobs: readonly Job[], at: number, started: number): Job[] {
    if (this.#done.jobs === 0) return jobs.slice(at, at + (this.#benchmark.kind === 'perplexity' ? 1 : N_FIRST_BATCH));
    const wanted = (BATCH_MS * this.#done.weight) / (performance.now() - started);
    let weight = 0;
    let n = 0;
    while (at + n < jobs.length && n < N_LARGEST_BATCH && (n === 0 || weight + (jobs[at + n]?.weight ?? 0) <= wanted)) {
      weight += jobs[at + n]?.weight ?? 0;
      n += 1;
    }
    return jobs.slice(at, at + n);
  }

  /** Where one item is too long, each is tried by itself, so that only that one is left out. */
  async #score(batch: readonly Job[]): Promise<void> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const pieces = batch.map(({ requests }) => this.#pieces(requests));
    let scores: ScoredContinuation[][];
    try {
      scores = await this.#engine.score(pieces.flat(), signal ? { signal } : {});
    } catch (thrown) {
      if (!(thrown instanceof KingletError) || thrown.code !== 'E_CONTEXT_OVERFLOW') throw thrown;
      if (this.#benchmark.kind === 'perplexity') throw thrown;
      const [only, ...others] = batch;
      if (others.length > 0) for (const job of batch) await this.#score([job]);
      else if (only) {
        this.tooLong.push(only.index);
        this.#count(only);
      }
      return;
    }
    for (const [i, job] of batch.entries()) this.#take(job, scores.splice(0, pieces[i]?.length).flat());
  }

  /** The engine's items for one job: one, except that an encoder-decoder reads only one context for each. */
  #pieces(requests: Continuation[]): Continuation[][] {
    const isSplit =
      this.#engine.info.tasks.includes('remember') && requests.some(({ context }) => context !== requests[0]?.context);
    return isSplit ? requests.map((request) => [request]) : [requests];
  }

  #count({ weight }: Job): void {
    this.#done = { jobs: this.#done.jobs + 1, weight: this.#done.weight + weight };
  }

  #take(job: Job, scores: readonly ScoredContinuation[]): void {
    this.#count(job);
    const { kind, items } = this.#benchmark;
    const item = items[job.index];
    if (!item) return;
    if (kind === 'perplexity') {
      for (const { token_logprobs } of scores) this.#logprobs.push(...token_logprobs);
      if (!job.isLast) return;
    }
    const result =
      kind === 'perplexity' ? textResult(job.index, item, this.#logprobs) : resultOf(job.index, item, kind, scores);
    this.#logprobs = [];
    this.results.push(result);
    this.#options.onItem?.(result);
  }

  #report(started: number): void {
    const { onProgress } = this.#options;
    if (!onProgress) return;
    const elapsed_ms = performance.now() - started;
    const { jobs: done, weight } = this.#done;
    const metrics = metricsOf(this.#benchmark, this.results);
    const underWay = this.#logprobs.length > 0 ? textPerplexity(this.results, this.#logprobs) : undefined;
    onProgress({
      done,
      total: this.#total.jobs,
      elapsed_ms,
      remaining_ms: weight === 0 ? null : (elapsed_ms * (this.#total.weight - weight)) / weight,
      accuracy: metrics.accuracy?.value ?? null,
      perplexity: underWay ?? metrics.perplexity?.value ?? null,
    });
  }
}

/** Perplexity of the tokens of what is done and of a text under way. */
function textPerplexity(results: readonly ItemResult[], logprobs: readonly number[]): number {
  const logprob = results.reduce((total, result) => total + result.logprob, 0) + logprobs.reduce((a, b) => a + b, 0);
  const n_tokens = results.reduce((total, result) => total + result.n_tokens, logprobs.length);
  return Math.exp(-logprob / n_tokens);
}
