// embed: embeddings of texts of any length, and the passages that a search looks through.

import { checkOptions, checkTexts, oneOf, whole } from './options.js';
import { inBatches, measureOf, type Passage, passagesOf, roomOf, withSignal } from './passages.js';
import { Progress } from './progress.js';
import { supported } from './support.js';
import type { EmbeddingRole, EmbedOptions, TaskEngine } from './types.js';

/** Texts of a call of the engine: few enough that progress is seen and an abort leaves little undone. */
const BATCH = 32;
type Prefixes = Record<Exclude<EmbeddingRole, 'text'>, string>;

/** Words before a text that models were trained with, by what is in their names; as their model cards say. */
const PREFIXES: [name: RegExp, prefixes: Prefixes][] = [
  [/\be5\b/i, { query: 'query: ', document: 'passage: ' }],
  [/nomic.?embed/i, { query: 'search_query: ', document: 'search_document: ' }],
  [/\bbge\b.*\ben\b/i, { query: 'Represent this sentence for searching relevant passages: ', document: '' }],
];

function prefixOf(name: string, role: EmbeddingRole): string {
  if (role === 'text') return '';
  return PREFIXES.find(([pattern]) => pattern.test(name))?.[1][role] ?? '';
}

/**
 * An embedding of each text, of length 1. A text that does not fit the context is read in parts, cut where sentences end, and has the
 * mean of their embeddings, each weighted by its tokens.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that gives no embeddings.
 */
export async function embed(
  engine: TaskEngine,
  texts: string | readonly string[],
  options: EmbedOptions = {},
): Promise<Float32Array[]> {
  checkOptions('embed', options);
  supported(engine, 'embed');
  const list = checkTexts(texts);
  const dimensions = whole(options.dimensions, 'dimensions', 1, engine.info.embeddingLength);
  const role = oneOf(options.as, 'as', ['text', 'query', 'document'] as const) ?? 'text';
  const embedder = new Embedder(engine, role, options.signal);
  const progress = new Progress(list.length, options.onProgress);
  const vectors = await embedder.whole(list, dimensions, () => progress.step());
  progress.finish();
  return vectors;
}

/** Makes embeddings of texts in parts that fit. */
export class Embedder {
  readonly #engine: TaskEngine;
  readonly #prefix: string;
  readonly #signal: AbortSignal | undefined;

  constructor(engine: TaskEngine, role: EmbeddingRole, signal: AbortSignal | undefined) {
    this.#engine = engine;
    this.#prefix = prefixOf(engine.info.name, role);
    this.#signal = signal;
  }

  /** The parts of each text, of at most the tokens that `limitOf` makes of the room in the context. */
  async passages(texts: readonly string[], limitOf: (room: number) => number): Promise<Passage[]> {
    const room = await roomOf(this.#engine, this.#prefix);
    return passagesOf(texts, limitOf(room), measureOf(this.#engine, this.#signal));
  }

  /** One embedding for each text, however long it is; `onDone` is told of each. */
  async whole(texts: readonly string[], dimensions: number | undefined, onDone: () => void): Promise<Float32Array[]> {
    const passages = await this.passages(texts, (room) => room);
    return means(passages, await this.embed(passages, dimensions, ({ isLast }) => isLast && onDone()));
  }

  /** The embedding of each passage; `onDone` is told of each. */
  async embed(
    passages: readonly Passage[],
    dimensions: number | undefined,
    onDone: (passage: Passage) => void,
  ): Promise<Float32Array[]> {
    return inBatches(passages, BATCH, async (some) => {
      const input = some.map(({ text }) => this.#prefix + text);
      const { data } = await this.#engine.embeddings.create(
        { input, ...(dimensions !== undefined && { dimensions }) },
        withSignal(this.#signal),
      );
      some.forEach(onDone);
      return data.map(({ embedding }) => Float32Array.from(embedding as number[]));
    });
  }
}

/** For each text the mean of the embeddings of its passages, by their tokens, of length 1; passages are in the order of the texts. */
function means(passages: readonly Passage[], vectors: readonly Float32Array[]): Float32Array[] {
  const found: Float32Array[] = [];
  let sum: Float64Array | undefined;
  for (const [i, { n_tokens, start, isLast }] of passages.entries()) {
    const vector = vectors[i] ?? new Float32Array();
    if (isLast && start === 0) found.push(vector);
    else {
      sum ??= new Float64Array(vector.length);
      for (const [d, x] of vector.entries()) sum[d] = (sum[d] ?? 0) + n_tokens * x;
      if (!isLast) continue;
      const length = Math.hypot(...sum) || 1;
      found.push(Float32Array.from(sum, (x) => x / length));
      sum = undefined;
    }
  }
  return found;
}

/** Of vectors of length 1 their cosine. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}
