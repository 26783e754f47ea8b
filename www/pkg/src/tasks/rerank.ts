// rerank: documents in the order in which they go with a query.

import { overflow } from './chunks.js';
import { dot, Embedder } from './embed.js';
import { checkOptions, checkText, checkTexts, whole } from './options.js';
import { inBatches, measureOf, type Passage, passagesOf, roomOf, withSignal } from './passages.js';
import { Progress } from './progress.js';
import { supported } from './support.js';
import type { Ranked, RerankOptions, TaskEngine } from './types.js';

/** Pairs of a call of the engine. */
const BATCH = 16;
/** A long query leaves a document so much of the context at least. */
const LEAST_SHARE = 0.25;

/**
 * The documents, the best first: by a cross-encoder with one label (its score is 1 / (1 + e^-logit)), or else by the cosine of
 * embeddings. A document that does not fit the context counts by its best part.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that does neither; E_CONTEXT_OVERFLOW where the query leaves no room for a document.
 */
export async function rerank(
  engine: TaskEngine,
  query: string,
  documents: readonly string[],
  options: RerankOptions = {},
): Promise<Ranked[]> {
  checkOptions('rerank', options);
  const by = supported(engine, 'rerank');
  checkText(query, 'query');
  const list = checkTexts(documents, 'documents');
  const top = whole(options.top, 'top', 1) ?? list.length;
  const progress = new Progress(list.length, options.onProgress);
  const scores = await (by === 'head' ? byHead : byCosine)(engine, query, list, progress, options.signal);
  progress.finish();
  return list
    .map((document, index) => ({ index, score: scores[index] ?? 0, document }))
    .sort((a, b) => b.score - a.score || a.index - b.index)
    .slice(0, top);
}

async function byHead(
  engine: TaskEngine,
  query: string,
  documents: string[],
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const measure = measureOf(engine, signal);
  const n_query = await measure(query);
  // A pair has a mark or two between its texts.
  const room = (await roomOf(engine)) - 2;
  const limit = room - n_query;
  if (limit < LEAST_SHARE * room) throw overflow(n_query, Math.floor((1 - LEAST_SHARE) * room));
  const passages = await passagesOf(documents, limit, measure);
  const scores = await inBatches(passages, BATCH, async (some) => {
    const found = await engine.classify(
      some.map(({ text }) => ({ text: query, text_pair: text })),
      withSignal(signal),
    );
    some.forEach(({ isLast }) => isLast && progress.step());
    return found.map(([score]) => score?.score ?? 0);
  });
  return bestOf(passages, scores);
}

async function byCosine(
  engine: TaskEngine,
  query: string,
  documents: string[],
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const asker = new Embedder(engine, 'query', signal);
  const [asked = new Float32Array()] = await asker.whole([query], undefined, () => {});
  const embedder = new Embedder(engine, 'document', signal);
  const passages = await embedder.passages(documents, (room) => room);
  const vectors = await embedder.embed(passages, undefined, ({ isLast }) => isLast && progress.step());
  return bestOf(
    passages,
    vectors.map((vector) => dot(asked, vector)),
  );
}

/** Of each document the best score of its passages. */
function bestOf(passages: readonly Passage[], scores: readonly number[]): number[] {
  const best: number[] = [];
  passages.forEach(({ index }, i) => {
    best[index] = Math.max(best[index] ?? -Infinity, scores[i] ?? -Infinity);
  });
  return best;
}
