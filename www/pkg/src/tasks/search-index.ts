// SearchIndex: documents that are found by what they mean. Everything is in the page's memory: a vector for each passage, compared with
// the query's one after the other, which is quick up to some tens of thousands.

import { KingletError } from '../errors.js';
import type { Span } from './chunks.js';
import { dot, Embedder } from './embed.js';
import { fromBytes, toBytes } from './index-format.js';
import { checkOptions, checkText, whole } from './options.js';
import type { Passage } from './passages.js';
import { Progress } from './progress.js';
import { supported } from './support.js';
import type { SearchDocument, SearchOptions, SearchResult, TaskEngine, TaskOptions } from './types.js';

/** A document is searched by passages of at most so many tokens: an embedding of more says little of any of it. */
const PASSAGE_TOKENS = 256;
const TOP = 10;

interface Entry {
  text: string;
  /** JSON. */
  data: string | undefined;
  passages: Span[];
  /** One for each passage, of length 1. */
  vectors: Float32Array[];
}

export class SearchIndex {
  readonly #engine: TaskEngine;
  readonly #metadata: string | undefined;
  readonly #entries = new Map<string, Entry>();

  private constructor(engine: TaskEngine, metadata: string | undefined) {
    this.#engine = engine;
    this.#metadata = metadata;
  }

  /**
   * An empty index. `metadata` is any JSON value; it is saved with the index.
   *
   * @throws KingletError E_UNSUPPORTED_TASK for a model that gives no embeddings.
   */
  static create(engine: TaskEngine, options: { metadata?: unknown } = {}): SearchIndex {
    checkOptions('create', options);
    supported(engine, 'search');
    return new SearchIndex(engine, jsonOf(options.metadata, 'metadata'));
  }

  /**
   * An index that was saved.
   *
   * @throws KingletError E_FILE_FORMAT for bytes that are no index, or one that another model made: its vectors mean nothing to this one.
   */
  static fromBytes(engine: TaskEngine, bytes: Uint8Array): SearchIndex {
    supported(engine, 'search');
    const { header, vectors } = fromBytes(bytes);
    const { name, embeddingLength } = engine.info;
    if (header.model !== name || header.dimension !== embeddingLength)
      throw new KingletError(
        'E_FILE_FORMAT',
        `the search index was made by ${header.model} (${header.dimension} numbers), not by ${name} (${embeddingLength}): make it anew`,
        { details: { model: header.model, dimension: header.dimension } },
      );
    const index = new SearchIndex(engine, jsonOf(header.metadata, 'metadata'));
    let row = 0;
    for (const { id, text, data, passages } of header.documents) {
      const own = passages.map(() => vectors.subarray(row * embeddingLength, ++row * embeddingLength));
      index.#entries.set(id, { text, data: jsonOf(data, 'data'), passages, vectors: own });
    }
    return index;
  }

  /** How many documents there are. */
  get size(): number {
    return this.#entries.size;
  }

  /** What was given to `create`. */
  get metadata(): unknown {
    return valueOf(this.#metadata);
  }

  /** The ids of the documents, in the order in which they came. */
  get ids(): string[] {
    return [...this.#entries.keys()];
  }

  /** The document with this id. */
  get(id: string): SearchDocument | undefined {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    const { text, data } = entry;
    return { id, text, ...(data !== undefined && { data: valueOf(data) }) };
  }

  /**
   * Takes documents in, and gives their ids. All of them, or after an error or an abort none. One whose id is there already takes its
   * place.
   */
  async add(documents: readonly SearchDocument[], options: TaskOptions = {}): Promise<string[]> {
    checkOptions('add', options);
    if (!Array.isArray(documents)) throw new TypeError('documents must be a list');
    const checked = documents.map(checkedDocument);
    const texts = checked.map(({ text }) => text);
    const progress = new Progress(texts.length, options.onProgress);
    const embedder = new Embedder(this.#engine, 'document', options.signal);
    const passages = await embedder.passages(texts, (room) => Math.min(room, PASSAGE_TOKENS));
    const vectors = await embedder.embed(passages, undefined, ({ isLast }) => isLast && progress.step());

    const entries = checked.map(({ text, data }): Entry => ({ text, data, passages: [], vectors: [] }));
    passages.forEach(({ index, start, end }: Passage, i) => {
      entries[index]?.passages.push({ start, end });
      entries[index]?.vectors.push(vectors[i] ?? new Float32Array());
    });
    const ids = checked.map(({ id }) => id ?? newId());
    entries.forEach((entry, i) => this.#entries.set(ids[i] ?? '', entry));
    progress.finish();
    return ids;
  }

  /** Whether there was such a document. */
  remove(id: string): boolean {
    return this.#entries.delete(id);
  }

  /** The documents that are nearest to a query in what they mean, the best first, each with its nearest passage. */
  async search(query: string, options: SearchOptions = {}): Promise<SearchResult[]> {
    checkOptions('search', options);
    checkText(query, 'query');
    const top = whole(options.top, 'top', 1) ?? TOP;
    const { minScore = -Infinity } = options;
    if (typeof minScore !== 'number') throw new TypeError('minScore must be a number');
    const asker = new Embedder(this.#engine, 'query', options.signal);
    const [asked = new Float32Array()] = await asker.whole([query], undefined, () => {});
    const found: { id: string; entry: Entry; score: number; best: number }[] = [];
    for (const [id, entry] of this.#entries) {
      let [best, score] = [0, -Infinity];
      for (const [i, vector] of entry.vectors.entries()) {
        const cosine = dot(asked, vector);
        if (cosine > score) [best, score] = [i, cosine];
      }
      if (score >= minScore) found.push({ id, entry, score, best });
    }
    return found
      .sort((a, b) => b.score - a.score)
      .slice(0, top)
      .map(({ id, entry: { text, data, passages }, score, best }) => {
        const { start, end } = passages[best] ?? { start: 0, end: text.length };
        const passage = { start, end, text: text.slice(start, end) };
        return { id, score, text, ...(data !== undefined && { data: valueOf(data) }), passage };
      });
  }

  /** The whole index, to be saved; `fromBytes` reads it with the same model. */
  toBytes(): Uint8Array<ArrayBuffer> {
    const { name: model, embeddingLength: dimension } = this.#engine.info;
    const entries = [...this.#entries];
    const documents = entries.map(([id, { text, data, passages }]) => ({
      id,
      text,
      ...(data !== undefined && { data: valueOf(data) }),
      passages,
    }));
    const vectors = new Float32Array(dimension * documents.reduce((sum, { passages }) => sum + passages.length, 0));
    entries.flatMap(([, entry]) => entry.vectors).forEach((vector, row) => vectors.set(vector, row * dimension));
    const metadata = this.metadata;
    return toBytes({ model, dimension, ...(metadata !== undefined && { metadata }), documents }, vectors);
  }
}

function checkedDocument(document: SearchDocument, i: number): { id?: string; text: string; data: string | undefined } {
  if (typeof document !== 'object' || document === null) throw new TypeError(`documents[${i}] must be an object`);
  const { id, text, data } = document;
  if (id !== undefined && typeof id !== 'string') throw new TypeError(`documents[${i}].id must be a string`);
  if (typeof text !== 'string') throw new TypeError(`documents[${i}].text must be a string`);
  return { ...(id !== undefined && { id }), text, data: jsonOf(data, `documents[${i}].data`) };
}

/** What is kept is a copy, as it would come back from bytes. */
function jsonOf(value: unknown, name: string): string | undefined {
  if (value === undefined) return undefined;
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (cause) {
    throw new TypeError(`${name} must be a JSON value`, { cause });
  }
  if (json === undefined) throw new TypeError(`${name} must be a JSON value`);
  return json;
}

/** Unlike crypto.randomUUID, on pages without TLS too. */
const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const valueOf = (json: string | undefined): unknown => (json === undefined ? undefined : JSON.parse(json));
