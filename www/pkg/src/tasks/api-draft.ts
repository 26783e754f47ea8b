// The calls of `kinglet/tasks` while they are being written: index.ts exports functions and a class of these types.

import type {
  Answered,
  Classified,
  ClassifyOptions,
  Completed,
  CompleteOptions,
  EmbedOptions,
  FillMaskOptions,
  MaskFilling,
  Question,
  Ranked,
  RerankOptions,
  SearchDocument,
  SearchOptions,
  SearchResult,
  SummarizeOptions,
  Support,
  TaggedSpan,
  TaskEngine,
  TaskName,
  TaskOptions,
  TranslateOptions,
  WriteOptions,
  Written,
} from './types.js';

export interface Tasks {
  support(engine: Pick<TaskEngine, 'info'>): Record<TaskName, Support>;
  complete(engine: TaskEngine, text: string, options?: CompleteOptions): Promise<Completed>;
  summarize(engine: TaskEngine, text: string, options?: SummarizeOptions): Promise<Written>;
  translate(engine: TaskEngine, text: string, options: TranslateOptions): Promise<Written>;
  answer(engine: TaskEngine, question: Question, options?: WriteOptions): Promise<Answered>;
  classify(engine: TaskEngine, texts: string | readonly string[], options?: ClassifyOptions): Promise<Classified[]>;
  tag(engine: TaskEngine, texts: string | readonly string[], options?: TaskOptions): Promise<TaggedSpan[][]>;
  /** For each mask in the text (`[MASK]` or `<mask>`, whatever the model's own is) what may stand there, best first. */
  fillMask(engine: TaskEngine, text: string, options?: FillMaskOptions): Promise<MaskFilling[][]>;
  embed(engine: TaskEngine, texts: string | readonly string[], options?: EmbedOptions): Promise<Float32Array[]>;
  rerank(engine: TaskEngine, query: string, documents: readonly string[], options?: RerankOptions): Promise<Ranked[]>;
}

export interface SearchIndexShape {
  readonly size: number;
  /** JSON that was given to `create`; saved with the index. */
  readonly metadata: unknown;
  /** The ids of the documents. */
  add(documents: readonly SearchDocument[], options?: TaskOptions): Promise<string[]>;
  remove(id: string): boolean;
  search(query: string, options?: SearchOptions): Promise<SearchResult[]>;
  toBytes(): Uint8Array;
}
export interface SearchIndexConstructor {
  create(engine: TaskEngine, options?: { metadata?: unknown }): SearchIndexShape;
  /** @throws KingletError E_FILE_FORMAT for bytes that are no index, or one of another model. */
  fromBytes(engine: TaskEngine, bytes: Uint8Array): SearchIndexShape;
}
