// Every message between the page and its workers, in one map per worker: a request's name gives the type of its input, of
// its output and of the events that come in between. The client (page) and the handlers (worker) both take their types from
// here, so that adding a message is one entry here and one handler there.

import type {
  EncodeOutput,
  EncodeRequest,
  EngineInfo,
  GenerateEvent,
  GenerateRequest,
  ScoredEvent,
  TemplateInfo,
} from './abi.js';
import type { PlainError } from './errors.js';
import type { PackageFiles } from './files.js';
import type { LaterStart } from './later.js';
import type { ContinuationInput } from './score-tokens.js';
import type { Speed, Speeds } from './speeds.js';
import type { Guess, Tuning } from './tuning.js';
import type { Build, Device, Info, Profile, ProgressEvent } from './types.js';

/** What a map of requests looks like. */
export type RequestMap<M> = { [K in keyof M]: { input: unknown; output: unknown; event: unknown } };

/** What the engine's worker answers. */
export interface EngineRequests {
  load: { input: LoadInput; output: LoadOutput; event: ProgressEvent };
  tokenize: {
    input: { text: string; addSpecial: boolean; parseSpecial: boolean; joiner?: string };
    output: Uint32Array<ArrayBuffer>;
    event: never;
  };
  detokenize: { input: { tokens: Uint32Array }; output: string; event: never };
  generate: { input: GenerateInput; output: GenerateOutput; event: GenerateEvent[] };
  /** Each output is told as it is there; at the end, how long all took, milliseconds. */
  encode: { input: EncodeRequest; output: number; event: EncodeOutput[] };
  /** Each continuation is told as it is there, with the tokens that it was made to. */
  score: {
    input: ContinuationInput[][];
    output: void;
    event: (ScoredEvent & { tokens: Uint32Array })[];
  };
  /** What the cache has of the beginning of these tokens, as bytes with a note; and back, for the note. */
  snapshot: {
    input: { note: Uint8Array; tokens: Uint32Array };
    output: Uint8Array<ArrayBuffer>;
    event: never;
  };
  restore: { input: { bytes: Uint8Array }; output: Uint8Array<ArrayBuffer>; event: never };
  /** What has been measured since the last request; undefined where nothing was. `on`: whether to measure from now on. */
  profile: { input: { on: boolean }; output: Profile | undefined; event: never };
  /** The last request: gives the GPU's memory back. */
  close: { input: undefined; output: void; event: never };
}

/** What the template's worker answers. */
export interface TemplateRequests {
  /**
   * `event` is sent once, when the untrusted part begins: the time limit counts from there. Undefined where the template asks for what
   * only the larger of the two workers has.
   */
  render: { input: RenderInput; output: RenderOutput | undefined; event: 'rendering' };
}

export interface LoadInput {
  source: SourceDescriptor;
  device: 'auto' | Device;
  /** The binary for the CPU. */
  build: Exclude<Build, 'gpu'>;
  files: Pick<PackageFiles, 'worker' | 'wasm'>;
  /** Where the CPU computes. */
  threads: number;
  /** Without it there is one thread. */
  sharedMemory: boolean;
  /** How many of them work best is found out; without it all do. */
  tuning?: Tuning;
  /** What was found out of the GPU at an earlier time. */
  gpuTuned?: string;
  /** Of 'auto': how fast the devices were. */
  speeds?: Speeds;
  contextLength?: number;
  kvType: 'f16' | 'q8_0' | 'f32';
  /** Of a checkpoint: what its matrices become. */
  quantize?: 'f16' | 'q8_0' | 'q4_0';
  /** Of a source that is one file. */
  sha256?: string;
  /** Name of a BroadcastChannel on which a pool thread tells the page that it crashed: the engine's worker then waits for it in vain. */
  faultChannel: string;
}

export interface LoadOutput {
  info: EngineInfo;
  template: TemplateInfo;
  /** SHA-256 of the file's chat template: of all of it, and without a last newline, which changes nothing. */
  templateSha256?: { whole: string; trimmed: string };
  fileBytes: number;
  device: Omit<Info['device'], 'threads' | 'simd'>;
}

export interface GenerateInput {
  request: GenerateRequest;
  /** How long one slice of work may take before events are given out and messages are looked at, milliseconds. */
  sliceMs: number;
  /** How many tokens may be given out beyond those acknowledged; 0: as many as there are. */
  windowTokens: number;
}

export interface GenerateOutput {
  /** Prompt tokens computed (those from the cache left out), and the milliseconds until the first token. */
  promptN: number;
  promptMs: number;
  /** Tokens after the first of each choice, and the milliseconds they took. */
  predictedN: number;
  predictedMs: number;
  /** With how many threads it is fastest, as far as that has been found out. */
  found?: Guess;
  /** Absent where this answer does not tell. */
  speed?: Speed;
}

export interface RenderInput {
  template: string;
  messages: Record<string, unknown>[];
  /** Other variables of the caller: data, as messages are. */
  data: Record<string, unknown>;
  /** `bos_token` and the like: the model's own, taken as they are. */
  tokens: Record<string, string>;
  specialStrings: string[];
  maxOutputChars: number;
}

export interface RenderOutput {
  /** The rendered text, in which special-token strings that came from `messages` are broken by `joiner`. */
  text: string;
  joiner: string;
}

/**
 * Where the bytes come from, in a form that postMessage can carry. `port`: the page hands over chunks when asked; `again`:
 * also from the first on.
 */
export type FileSource =
  | { kind: 'url'; url: string; headers: Record<string, string> }
  | { kind: 'blob'; blob: Blob }
  | { kind: 'port'; port: MessagePort; again: boolean; totalBytes?: number };

/** One of the files of a model. */
export interface NamedSource {
  /** For messages, and to find a checksum by. */
  name: string;
  source: FileSource;
  sha256?: string;
}

/**
 * A model: one file, or several. `siblings`: the other URLs were made from one, so the first file decides whether it is a part.
 * `tokenizer`, a tokenizer.json, takes the place of the vocabulary in the file.
 */
export type SourceDescriptor =
  | FileSource
  | CheckpointSource
  | {
      kind: 'files';
      files: NamedSource[];
      siblings: boolean;
      tokenizer?: NamedSource;
      tokenizerConfig?: NamedSource;
    };

/** A checkpoint as published: its files, or the folder in which they are, with the checksums of some of them. */
export interface CheckpointSource {
  kind: 'checkpoint';
  files: NamedSource[];
  folder?: { url: string; headers: Record<string, string>; sha256: Record<string, string> };
}

/** On a source's port, worker to page. */
export type SourcePull = { kind: 'pull' } | { kind: 'again' } | { kind: 'cancel' };
/** On a source's port, page to worker. */
export type SourcePush =
  { kind: 'chunk'; bytes: Uint8Array<ArrayBuffer> } | { kind: 'end' } | { kind: 'error'; error: PlainError };

/** Page to worker. */
export type ToWorker<M extends RequestMap<M>> =
  | { [K in keyof M]: { kind: 'request'; id: number; name: K; input: M[K]['input'] } }[keyof M]
  | { kind: 'cancel'; id: number }
  | { kind: 'ack'; id: number; count: number };

/** Worker to page. `fatal`: the worker cannot go on; everything pending has failed. */
export type FromWorker<M extends RequestMap<M>> =
  | { kind: 'ready' }
  | { kind: 'event'; id: number; event: M[keyof M]['event'] }
  | { kind: 'result'; id: number; output: M[keyof M]['output'] }
  | { kind: 'error'; id: number; error: PlainError }
  | { kind: 'fatal'; error: PlainError };

/** Engine's worker to a thread of its pool, once. */
export interface PoolStart {
  module: WebAssembly.Module;
  later: LaterStart;
  memory: WebAssembly.Memory;
  address: number;
  index: number;
  faultChannel: string;
}
/** A thread of the pool to the engine's worker. */
export type PoolReply = { kind: 'started' } | { kind: 'error'; error: PlainError };
