// The types of `kinglet/tasks`: what the calls take and give. The calls themselves are declared where they are written, and
// index.ts gives all of them out.

import type { Kinglet } from '../index.js';
import type { FinishReason, ItemProgress, Timings, Usage } from '../types.js';

/** What the tasks use of an engine; every {@link Kinglet} has it. */
export type TaskEngine = Pick<
  Kinglet,
  | 'info'
  | 'tokenize'
  | 'applyChatTemplate'
  | 'chat'
  | 'completions'
  | 'embeddings'
  | 'classify'
  | 'label'
  | 'fillMask'
  | 'score'
>;

export type TaskName =
  'complete' | 'summarize' | 'translate' | 'answer' | 'classify' | 'tag' | 'fillMask' | 'embed' | 'search' | 'rerank';

/**
 * How a model does a task: with a head that was trained for it; by the prefix that T5 was trained with; by a prompt in words; by
 * how probable it finds each choice; by embeddings. Or not at all, and why, in words for a page.
 */
export type Support = { by: 'head' | 'prefix' | 'prompt' | 'score' | 'embedding' } | { by: null; reason: string };

/** What every task takes. */
export interface TaskOptions {
  /** Ends the call, also within a part of a long text; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Told when a text, or a part of a long one, is done: `done` never falls, `total` never changes, and at the end they are equal. */
  onProgress?(progress: ItemProgress): void;
}

/** What the tasks take that write a text. */
export interface WriteOptions extends TaskOptions {
  /** Brings the text as it appears; the pieces together are `text`. With `num_beams` it comes at the end. */
  onText?(piece: string): void;
  /** Most tokens of the text, or of each part that is written by itself. Default by task. */
  max_tokens?: number;
  /** 0…100. Default 0: always the most probable token. */
  temperature?: number;
  /** 1…8: a search for the most probable text instead, as in Hugging Face's `generate`. */
  num_beams?: number;
}

/** A text that was written. */
export interface Written {
  text: string;
  /** Parts in which the text was read. */
  chunks: number;
  /** `'length'`: it, or a part of it, was ended by `max_tokens` or the context. */
  finish_reason: FinishReason;
  /** Of all calls together. */
  usage: Usage;
  /** Of all calls together. */
  timings: Timings;
}

export interface CompleteOptions extends WriteOptions {
  /** Up to 16 strings; the text ends before the first that appears. */
  stop?: string[];
}

export interface Completed extends Written {
  /** Where in the text (UTF-16) the model began to read: above 0 where only its end fits the context. */
  from: number;
}

export interface SummarizeOptions extends WriteOptions {
  /** Default `'medium'`. */
  length?: 'short' | 'medium' | 'long';
}

export interface TranslateOptions extends WriteOptions {
  /** English name (`'German'`) or language tag (`'de'`, `'pt-BR'`). */
  from: string;
  to: string;
}

export interface Question {
  question: string;
  /** The text that has the answer. */
  context?: string;
}

export interface Answered extends Written {
  /** The part of the context (UTF-16) from which the model answered; absent without a context. */
  source?: { start: number; end: number };
}

/** How much a label applies. The scores of a text sum to 1, unless the model has a single label. */
export interface LabelScore {
  label: string;
  score: number;
}

/** Every label, the best first. */
export type Classified = LabelScore[];

export interface ClassifyOptions extends TaskOptions {
  /** Needed where the model has no labels of its own; else only these of them. */
  labels?: readonly string[];
  /**
   * For labels that the model was not trained for: a sentence with `{}` for the label, such as `'This text is about {}.'`, or with two
   * `{}`, the first for the text.
   */
  template?: string;
}

/** A part of a text with its label. */
export interface TaggedSpan {
  label: string;
  /** UTF-16: `text.slice(start, end)`. */
  start: number;
  end: number;
  text: string;
  /** Mean probability of the label over the words. */
  score: number;
}

export interface FillMaskOptions extends TaskOptions {
  /** How many to give, 1…1,000; default 5, or all candidates. */
  top?: number;
  /** Only these words are compared, also words of several tokens; their scores sum to 1. */
  candidates?: readonly string[];
}

/** What may stand in a mask. */
export interface MaskFilling {
  text: string;
  score: number;
  /** The whole text with this in the place of the mask. */
  filled: string;
}

/**
 * Of an embedding what the text is for. Models that were trained with words before the text get them (E5 `query: ` and `passage: `,
 * nomic-embed-text `search_query: ` and `search_document: `, BGE's English instruction for queries), known by `info.name`; `'text'`
 * adds none.
 */
export type EmbeddingRole = 'text' | 'query' | 'document';

export interface EmbedOptions extends TaskOptions {
  /** Only the first so many numbers. */
  dimensions?: number;
  /** Default `'text'`. */
  as?: EmbeddingRole;
}

export interface RerankOptions extends TaskOptions {
  /** Only so many, the best. */
  top?: number;
}

export interface Ranked {
  /** In `documents`. */
  index: number;
  score: number;
  document: string;
}

/** A document of a {@link SearchIndex}. `data` is any JSON value; it is kept, and saved with the index. */
export interface SearchDocument {
  /** Default: a new one. A document with the id of an earlier one replaces it. */
  id?: string;
  text: string;
  data?: unknown;
}

export interface SearchOptions {
  /** Default 10. */
  top?: number;
  /** -1…1, cosine; worse ones are left out. */
  minScore?: number;
  signal?: AbortSignal;
}

export interface SearchResult {
  id: string;
  /** Cosine of the query and the document's nearest passage. */
  score: number;
  text: string;
  data?: unknown;
  /** The passage, as in `text.slice(start, end)`. */
  passage: { start: number; end: number; text: string };
}
