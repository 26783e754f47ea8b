// The interface of the wasm module, written down once for TypeScript: what `src/wasm/` in Rust exports. Used by the engine's
// worker and by tests that stand in a fake engine. Nothing here is public.

import type { Device, Profile, Task } from './types.js';

/** What the engine is told of the GPU: subgroups are used only where they are there, with sizes from 4 to 128. */
export interface GpuOptions {
  subgroups: boolean;
  subgroupMinSize: number;
  subgroupMaxSize: number;
  f16: boolean;
  packedDot: boolean;
  /** What it is called. */
  name: string;
  /** Where it is to be tuned while the model arrives: what `EngineInfo.tuned` was at an earlier time, or anything. */
  tuned?: string;
}

/** Options of `Engine.create`. */
export interface EngineOptions {
  device: Device;
  /** With device 'webgpu'. */
  gpu?: GpuOptions;
  /** Tokens; without it the smaller of the trained length and 4,096. */
  contextLength?: number;
  kvType: 'f16' | 'q8_0' | 'f32';
  /** How many threads compute, this one included; 1 with device 'webgpu'. */
  threads: number;
  /** A GGUF header whose keys `tokenizer.…` take the place of the file's: what `vocabularyFromTokenizerJson` gives. */
  vocabulary?: Uint8Array;
}

/** What is known once the file's header has been read and everything has been decided. */
export interface HeaderInfo {
  /** Length of the whole file as its header promises it, bytes. */
  fileBytes?: number;
  /** Name of the format that most of the weights are in. */
  quantization?: string;
}

/** What the engine says about the loaded model. */
export interface EngineInfo {
  architecture: string;
  name: string;
  parameters: number;
  quantization: string;
  fileBytes?: number;
  contextLength: number;
  vocabularySize: number;
  /** Names of tasks, the first is what the model is for. */
  tasks: Task[];
  /** Of a classifier. */
  labels: string[];
  embeddingLength: number;
  memory: Record<string, number>;
  /** In words. */
  notices?: string[];
  device: Device;
  /** The instructions that the binary was made of. */
  simd: 'relaxed' | 'simd128';
  /** With device 'webgpu': what the device calls itself, where it does. */
  adapter?: string;
  /** With device 'webgpu': the kernel variants in use, which together with the adapter fix the results. */
  features?: string[];
  /** Where the GPU is tuned: what is to be told at the next load. */
  tuned?: string;
}

/** What the file says about chat. */
export interface TemplateInfo {
  chatTemplate?: string;
  bosToken?: string;
  eosToken?: string;
  /** Text of every token that must never come out of a user's text. */
  specialStrings: string[];
}

/** One generation. All values have been validated on the page; the engine validates them again. */
export interface GenerateRequest {
  prompt: Uint32Array;
  maxTokens?: number;
  stop: string[];
  n: number;
  seed: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repeatPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
  logitBias: [number, number][];
  /** How many alternatives to report per token; without it no logprobs at all. */
  logprobs?: number;
  echo: boolean;
  ignoreEos: boolean;
  cachePrompt: boolean;
  /** Tokens already given out, per choice, to go on from. */
  generated?: number[][];
  /** Whether tokens may be guessed ahead where it pays, which changes only the time. Default true. */
  speculates?: boolean;
  /** Look for the most probable answers; only with temperature 0. */
  beams?: { width: number; lengthPenalty: number; earlyStopping: 'yes' | 'no' | 'never' };
}

/** Texts for an encoder. All values have been validated on the page; the engine validates them again. */
export interface EncodeRequest {
  task: Exclude<Task, 'generate' | 'remember'>;
  /** A text, two texts that are looked at together, or tokens as they are. */
  inputs: ({ text: string; pair?: string } | { tokens: Uint32Array })[];
  /** Of an embedding only so many numbers. */
  dimensions?: number;
  /** Tokens to propose for each mask. */
  candidates: number;
  /** Of each mask only these tokens instead. */
  only?: number[];
}

/** A text as it is, or its tokens. */
export type TokensOrText = string | Uint32Array;

/** A text whose tokens from `first` on are scored; of an encoder-decoder what it writes, where `first` may be 0. */
export interface Span {
  tokens: Uint32Array;
  first: number;
}

/** Texts to score: what the spans of a group have in common is computed once. The engine validates everything. */
export interface ScoreRequest {
  /** `source`: what an encoder-decoder reads. */
  groups: { source?: Uint32Array; spans: Span[] }[];
}

/** A span is scored: ln P of each token, and whether greedy decoding would have written the same. */
export interface ScoredEvent {
  type: 'scored';
  group: number;
  span: number;
  logprobs: number[];
  isGreedy: boolean;
}

/** What became of an input. */
export interface EncodeOutput {
  type: 'output';
  input: number;
  tokenCount: number;
  /** [rows, width]: an embedding, or the logits of the labels, with task 'label' a row for each of `ids`. */
  values: Float32Array<ArrayBuffer>;
  width: number;
  ids: Uint32Array<ArrayBuffer>;
  /** Start and end of each of `ids` in the text, UTF-16 code units; -1 where they are not known. */
  places: Int32Array<ArrayBuffer>;
  /** With task 'fill-mask' for each mask, best first, or in the order of `only`. */
  candidates: Alternative[][];
}

/** One candidate for a position. */
export interface Alternative {
  id: number;
  text: string;
  bytes: Uint8Array | number[];
  logprob: number;
}

/**
 * What happened in a slice of work, in order. A token's `text` is what can be shown now (nothing while a character or a possible
 * stop string is incomplete); `bytes`, there with logprobs, are the token's own, not always whole characters.
 */
export type GenerateEvent =
  | { type: 'prefill'; processed: number; total: number; cached: number }
  | { type: 'echo'; ids: number[]; texts: string[]; logprobs: (number | null)[]; top?: Alternative[][] }
  | {
      type: 'token';
      choice: number;
      id: number;
      text: string;
      bytes?: Uint8Array | number[];
      logprob?: number;
      top?: Alternative[];
    }
  | EncodeOutput
  | ScoredEvent
  | { type: 'done'; choice: number; reason: 'stop' | 'length'; text: string }
  | { type: 'end'; usage: EngineUsage };

/** Tokens that a request took. */
export interface EngineUsage {
  promptTokens: number;
  completionTokens: number;
  cachedTokens: number;
  /** Guessed ahead, and of those that were right; absent: none. */
  draftedTokens?: number;
  acceptedTokens?: number;
}

/**
 * A model on a device. What it throws, and what its promises reject with, is `{ code, message, details }`; anything else is a
 * trap. Made by `Engine.create(options: EngineOptions): Promise<Engine>`.
 */
export interface Engine {
  feed(bytes: Uint8Array): HeaderInfo | undefined;
  /**
   * Of a model in several files the headers come first: each file is begun and fed until the number of files is given that the
   * model has by it; `endHeader` throws where it ends before that. After an error a file may be begun again.
   */
  beginHeader(name: string): void;
  feedHeader(bytes: Uint8Array): number | undefined;
  endHeader(): void;
  /** Decides, when all headers are there, and gives the order in which the files are then fed, each ended by `endFile`. */
  join(): Uint32Array;
  endFile(): void;
  /** Decides about a checkpoint, whose header this is (checkpoint/header.ts); then the data of its tensors is fed. */
  beginCheckpoint(header: Uint8Array): void;
  /** The device's self-check, once, after `feed` has given the header or after `join`. Rejects with E_GPU_WRONG, E_MEMORY, E_GPU_LOST. */
  check(): Promise<void>;
  /** Uses some milliseconds in which nothing arrives; false where there is nothing to do until more has come. */
  warm(): boolean;
  finish(): void;
  info(): EngineInfo;
  template(): TemplateInfo;
  tokenize(text: string, addSpecial: boolean, parseSpecial: boolean, joiner?: string): Uint32Array;
  detokenize(ids: Uint32Array): string;
  start(request: GenerateRequest): void;
  /** Starts the encoding of texts: an event `output` for each, in order, and `end`. */
  encode(request: EncodeRequest): void;
  /** Starts the scoring of texts: an event `scored` for each span, and `end`. */
  score(request: ScoreRequest): void;
  /** On the CPU works for about so long; on the GPU hands work over and returns at once. Gives what has happened. */
  advance(budgetMs: number): GenerateEvent[];
  /** What to wait for before `advance` can go on; undefined: nothing. Rejects as `advance` throws. */
  ready(): Promise<void> | undefined;
  /** Makes a browser look whether the device is done that would otherwise look every 100 ms. Cheap. */
  nudge(): void;
  /**
   * What the cache has of the beginning of these tokens, as bytes with a note; undefined while a device is waited for (`ready`), and
   * then it is called again with the same.
   */
  snapshot(note: Uint8Array, tokens: Uint32Array): Uint8Array | undefined;
  /** Puts such bytes into the cache; gives the note. Other bytes are E_INTEGRITY. */
  restore(bytes: Uint8Array): Uint8Array;
  cancel(): void;
  poolAddress(): number;
  /** From now on finds out how many threads steps of one row and of several rows are fastest with, beginning with these. */
  tune(one: number, several: number): void;
  /** What was found, in that order; 0 where nothing is yet. */
  foundThreads(): Uint32Array;
  /** What has been measured since the last call; null where nothing was. `on`: whether to measure from now on. */
  profile(on: boolean): Omit<Profile, 'wallMs'> | null;
  free(): void;
}
