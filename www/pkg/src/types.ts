// The public types of the package: options, parameters and answers. The names of parameters and of the fields of answers are
// OpenAI's, with extensions named as such.

import type { MemoryBudget } from './budget.js';
import type { ChatMessage } from './messages.js';

export type * from './heads.js';
export type * from './messages.js';
export type { Profile } from './profile.js';

/**
 * What a model can do: write text; read a prompt as a whole before it writes (encoder-decoders); make an embedding of a text; fill
 * in masks; classify a text or a pair of texts; label each token.
 */
export type Task = 'generate' | 'remember' | 'embed' | 'fill-mask' | 'classify' | 'label';

/** What computes the model. */
export type Device = 'webgpu' | 'cpu';

/** Which of the wasm binaries runs: on the CPU with SIMD128 alone or with relaxed SIMD, or on the GPU. */
export type Build = 'simd' | 'relaxed' | 'gpu';

/** Where a file comes from: a URL (relative ones against the page), a file, bytes, or a stream of bytes. */
export type FileSource = string | URL | Blob | ArrayBuffer | Uint8Array | ReadableStream<Uint8Array>;

/**
 * Where a model comes from. Of a model in parts (`name-00001-of-00003.gguf`, as llama.cpp's gguf-split writes them) the URL of any
 * part is enough: the others are fetched from beside it. Files may also be given as a list, or by name in `files`, in any order;
 * a `tokenizer.json` among them, with or without its `tokenizer_config.json`, takes the place of the vocabulary in the GGUF file.
 *
 * A checkpoint as published (`config.json`, `tokenizer.json`, `model.safetensors`, in one file or several with their index, and what
 * else is there of `tokenizer_config.json`, `generation_config.json`, `chat_template.jinja`) is the URL of its folder, ending in `/`,
 * or of its `config.json`, or its files as a list or by name.
 */
export type Source = FileSource | readonly Blob[] | FileList | { files: Readonly<Record<string, FileSource>> };

/** Told while a model loads. `totalBytes` is absent while it is not known. */
export interface ProgressEvent {
  /**
   * `start`: the engine is fetched and compiled; `check`: the GPU shows that it computes right, before most of the file has
   * arrived; `download`: the file arrives; `finish`: the last checks; `ready`.
   */
  phase: 'start' | 'check' | 'download' | 'finish' | 'ready';
  /** Falls back to 0 where the CPU takes over from a GPU that has failed. */
  loadedBytes: number;
  totalBytes?: number;
  bytesPerSecond: number;
  /** Which file is being read, where the model is several; bytes are counted over all of them. `number` from 1. */
  file?: { name: string; number: number; count: number };
  /** Told once, when the header has been read and before the weights are: what it is, and the bytes that it will take, as in {@link Info}. */
  model?: { name: string; memory: Readonly<Record<string, number>> };
}

/** Options of {@link Kinglet.load}. */
export interface LoadOptions {
  /**
   * `'auto'` (default): a hardware GPU with WebGPU, or else the CPU; `info.device.reason` says why. It never takes a software
   * adapter, and goes on with the CPU where the GPU has no room for the model, fails the self-check or stops answering while
   * the model is loaded. Where earlier answers have shown that the CPU is faster with models of this size (at most 1 GiB), it takes
   * the CPU; the page keeps what was measured in `localStorage` (`kinglet.speeds`). `'webgpu'` takes a software adapter too and never
   * falls back: E_GPU_UNAVAILABLE, E_GPU_WRONG, E_MEMORY or E_GPU_LOST. `'cpu'` does not look for a GPU.
   */
  device?: 'auto' | Device;
  /**
   * Threads, where the CPU computes; more than 1 needs a cross-origin isolated page. Default: up to one for each logical core, at most 8;
   * with how many it is fastest, the engine finds out while it works, and the page keeps that in `localStorage` (`kinglet.threads`). A
   * number that is given is kept to.
   */
  threads?: number;
  /** Tokens that fit in memory at once. Default: the smaller of the trained length and 4,096. */
  contextLength?: number;
  /**
   * Number format of the attention's keys and values. Default `'f16'`. `'q8_0'`, blocks of 32 with a scale, takes about half as much
   * memory; heads have to be a multiple of 32 elements (else E_UNSUPPORTED_FEATURE).
   */
  kvType?: 'f16' | 'q8_0' | 'f32';
  /** Accepted for later; does nothing until storage is built. */
  cache?: boolean | 'revalidate';
  /**
   * What the matrices of a checkpoint become while they arrive: 16-bit floats, or blocks of 8 or 4 bits, as llama.cpp's quantizer
   * makes them (with `'q4_0'` the table of embeddings and the head have 8). Default: as they are stored, F32, F16 or BF16.
   */
  quantize?: 'f16' | 'q8_0' | 'q4_0';
  /**
   * Whether tokens are guessed ahead from earlier places in the prompt and the answer that read alike, and verified several at a time.
   * The answer is the same. `'auto'` (default): on the CPU, where it pays by what was measured here, as it does where an answer copies
   * much of its prompt; on the GPU not yet. `'off'`: never.
   */
  speculation?: 'auto' | 'off';
  /**
   * The file's SHA-256 in hexadecimal, or one for each of several files, by name (of a URL the last part of its path): a file
   * that differs is refused with E_INTEGRITY. Of a checkpoint's folder those files are checked that are named.
   */
  sha256?: string | Record<string, string>;
  /** Extra headers for fetching a URL. */
  headers?: Record<string, string> | Headers | [string, string][];
  /** Ends the loading; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  onProgress?: (event: ProgressEvent) => void;
  /** Memory that it shares with other engines: where it needs more than is left, it is refused with E_MEMORY as soon as that is known. */
  budget?: MemoryBudget;
  /**
   * Where the wasm files are: their folder's URL, ending in `/`, or the URL of one of them, which is then taken for its device. Default: beside
   * `workerUrl` if that is given, or else where the package's own files are.
   */
  wasmUrl?: string | URL;
  /** URL of the second wasm file, `…_later.wasm`, where `wasmUrl` names the first and this one is not beside it under such a name. */
  wasmLaterUrl?: string | URL;
  /** URL of `worker.js`, where a bundler has not copied it or it is elsewhere; the other `…worker.js` are expected beside it. */
  workerUrl?: string | URL;
}

/** What is loaded and what it runs on. */
export interface Info {
  /** GGUF `general.architecture`, such as `llama`. */
  architecture: string;
  name: string;
  /** Number of weights. */
  parameters: number;
  /** Such as `Q4_1`. */
  quantization: string;
  /** Of all files of weights together. */
  fileBytes: number;
  /**
   * What the model can do; the first is what it is for. A call that it is not made for rejects with E_UNSUPPORTED_TASK.
   * `['generate', 'remember']` is an encoder-decoder, such as T5: it reads the whole prompt before it writes, answers `completions`,
   * and has no chat unless its file has a template.
   */
  tasks: readonly Task[];
  /** Names of a classifier's labels, in the order of its logits; empty where the model is none. */
  labels: readonly string[];
  /** Numbers of an embedding. */
  embeddingLength: number;
  /** Tokens of prompt and answer together; of an encoder-decoder, each by itself. */
  contextLength: number;
  vocabularySize: number;
  /**
   * `'file'`: the model's own chat template. Where the file has none: `'chatml'` if the vocabulary has ChatML's marks, or else
   * `'plain'`, a transcript (`User: …`, `Assistant: …`) for a model that was not trained to chat; an answer then ends
   * where the model would begin the user's next turn.
   */
  chatTemplate: 'file' | 'chatml' | 'plain';
  /** Where the chat template comes from. It decides what the model is told besides the messages. */
  template: {
    source: 'file' | 'default';
    /** SHA-256 of the file's template, in hexadecimal. */
    sha256?: string;
    /** Whether it is one that is known for this model, by its hash, the architecture and the model's name. */
    known: boolean;
    /** The model whose template it is known to be, if any. */
    name?: string;
  };
  /** What a careful user would want to know about the file, in words; mostly empty. */
  notices: string[];
  device: {
    kind: Device;
    /** Threads that compute the model, at most; 0 on the GPU. */
    threads: number;
    /** Which WebAssembly instructions the build has. */
    simd: 'relaxed' | 'simd128';
    /** The GPU, as far as the browser names it. */
    adapter?: string;
    /** The GPU is played by the CPU: right results, slowly. Only after `device: 'webgpu'`. */
    software?: boolean;
    /** The kernel variants in use: the same ones on the same adapter give the same results. */
    features?: string[];
    /** Why this device and not another, in words; on the CPU also why this build and number of threads. */
    reason: string;
  };
  /** Bytes by purpose. */
  memory: Readonly<Record<string, number>>;
  /** Version of the package and the binary that runs, such as `0.1.0 relaxed`. */
  build: string;
}

/** The second argument of every `create`, and the options of the other calls that compute. */
export interface CallOptions {
  /**
   * Ends the call within 100 ms, also while the GPU is busy; it rejects with the signal's reason. One that still waits for its turn leaves
   * the queue at once.
   */
  signal?: AbortSignal;
  /**
   * What to do while the engine has other calls to answer. `'wait'` (default): calls are answered in their order. `'fail'`: reject with
   * E_BUSY at once; `details.calls` says how many there are. A call that was aborted is none of them.
   */
  whenBusy?: 'wait' | 'fail';
}

/** Parameters that chat and plain completions share. Unknown or unbuilt ones throw E_UNSUPPORTED_FEATURE; none is ignored. */
export interface GenerationParams {
  /** Any name, as code for OpenAI's server has it: an engine has one model, and answers say what that is called. */
  model?: string | null;
  /** Most tokens to generate. Chat: default as many as the context holds; completions: default 16, as OpenAI has it. */
  max_tokens?: number | null;
  /** Another name of `max_tokens`. */
  max_completion_tokens?: number | null;
  /** 0…100; 0 is greedy. Default 0.8. */
  temperature?: number | null;
  /** 0…1. Default 0.95. */
  top_p?: number | null;
  /** Extension. At least 1. Default 40. */
  top_k?: number | null;
  /** Extension. 0…1. Default 0.05. */
  min_p?: number | null;
  /** Extension. Above 0, at most 10; 1 (default) is off. */
  repeat_penalty?: number | null;
  /** -2…2. Default 0. */
  frequency_penalty?: number | null;
  /** -2…2. Default 0. */
  presence_penalty?: number | null;
  /** Token id to a bias of -100…100. */
  logit_bias?: Record<string, number> | null;
  /** 0…2^53-1. Default: drawn at random. */
  seed?: number | null;
  /** Up to 16 strings, none empty; the answer ends before the first that appears. */
  stop?: string | string[] | null;
  /** 1…128 answers to the same prompt. Default 1. */
  n?: number | null;
  stream?: boolean | null;
  /** Only with `stream: true`. */
  stream_options?: { include_usage?: boolean } | null;
  /** Extension. Go on past the model's end-of-text token. */
  ignore_eos?: boolean | null;
  /** Extension. Reuse what earlier calls have computed of this prompt, and keep it for later ones (default true). The answer is the same. */
  cache_prompt?: boolean | null;
  /**
   * Extension, with the three names that Hugging Face's `generate` has. 1…8: with 2 or more, a search for the most probable answers
   * among so many at a time, instead of a draw; `n` (at most `num_beams`) of them are given, the best first, and a stream brings
   * them at the end. `temperature` is then 0 and may not be another; penalties, `logit_bias` and `logprobs` are not built for it.
   */
  num_beams?: number | null;
  /** Extension, with `num_beams`. Scores are divided by length^this: above 0 (default 1) longer answers gain. -100…100. */
  length_penalty?: number | null;
  /**
   * Extension, with `num_beams`: whether the search ends as soon as it has `num_beams` answers. `false` (default): when a better one
   * is unlikely; `'never'`: when none is possible.
   */
  early_stopping?: boolean | 'never' | null;
  /** Extension. Whether tokens are guessed ahead; the answer is the same. Default: as the model was loaded ({@link LoadOptions}). */
  speculation?: 'auto' | 'off' | null;
}

/** Parameters of `chat.completions.create`. */
export interface ChatParams extends GenerationParams {
  messages: ChatMessage[];
  logprobs?: boolean | null;
  /** 0…20 alternatives per token; needs `logprobs: true`. */
  top_logprobs?: number | null;
  /** Only `{ type: 'text' }` is built. */
  response_format?: { type: 'text' } | null;
  /** Not built yet: only the empty list. */
  tools?: never[] | null;
  /** Only `'none'` is built. */
  tool_choice?: 'none' | null;
  /**
   * Extension (vLLM's and llama-server's name). Variables for the chat template, such as `{ enable_thinking: false }` or
   * `{ documents: […] }`; what the template does not know does nothing.
   */
  chat_template_kwargs?: Record<string, unknown> | null;
  /**
   * Where the messages do not fit the context (the name is from OpenAI's Responses): `'disabled'` (default) is E_CONTEXT_OVERFLOW; with `'auto'`
   * the oldest turns are left out, whole, until the rest leaves room for `max_tokens`, at most a quarter of the context. System and developer
   * messages at the beginning stay, and the newest turn: a message of the user with all that follows. If that alone does not fit, it is
   * E_CONTEXT_OVERFLOW. The answer's `truncated_messages` says how many messages were left out.
   */
  truncation?: 'auto' | 'disabled' | null;
}

/** Parameters of `completions.create`. */
export interface CompletionParams extends GenerationParams {
  /**
   * Text, taken literally (it is never read for special tokens), or token ids. An encoder-decoder answers to it; other models go on
   * from it.
   */
  prompt: string | number[] | Uint32Array;
  /** 0…20 alternatives per token. */
  logprobs?: number | null;
  /** Give the prompt back before the answer (not with an encoder-decoder); with `max_tokens: 0` and `logprobs` this scores the prompt. */
  echo?: boolean | null;
}

/** Parameters of `embeddings.create`. */
export interface EmbeddingParams {
  /** Any name, as in {@link GenerationParams}. */
  model?: string | null;
  /**
   * A text, texts, the token ids of a text, or of several; at most 2,048. Ids are taken as they are, so those that the model
   * wants at the ends have to be among them (`tokenize` puts them there). A text that is longer than the context is
   * E_CONTEXT_OVERFLOW: nothing is cut off.
   */
  input: string | readonly string[] | readonly number[] | readonly (readonly number[])[];
  /** Only the first so many numbers, brought to length 1 again: for models that were trained for it. Default all. */
  dimensions?: number | null;
  /** `'base64'`: the numbers as little-endian f32 in base64. Default `'float'`. */
  encoding_format?: 'float' | 'base64' | null;
}

/** `E` is `string` where `encoding_format` is `'base64'`: OpenAI's server answers so, too; its client reads the numbers from that. */
export interface EmbeddingResponse<E extends number[] | string = number[]> {
  object: 'list';
  /** In the order of the input. */
  data: { object: 'embedding'; index: number; embedding: E }[];
  model: string;
  usage: { prompt_tokens: number; total_tokens: number };
  /** Extension. */
  timings: Timings;
}

/** A text, and what it is to go on with. Strings are made to tokens together: spaces at the end of the context go to the continuation. */
export interface Continuation {
  /** Empty stands for the model's BOS token, or where it has none for its EOS token. */
  context: string | readonly number[];
  continuation: string | readonly number[];
}

/** How probable a continuation is. */
export interface ScoredContinuation {
  /** ln P(continuation | context): the sum over its tokens. */
  logprob: number;
  token_logprobs: number[];
  token_ids: number[];
  /** Whether greedy decoding would have written just this. */
  is_greedy: boolean;
}

/** How far a call with many items is. */
export interface ItemProgress {
  done: number;
  total: number;
}

export interface ScoreOptions extends CallOptions {
  onProgress?(progress: ItemProgress): void;
  /** An item is done; the items come in no certain order. */
  onItem?(index: number, scores: ScoredContinuation[]): void;
}

/** Why an answer ended: the model or a stop string ended it, or the limit or the context did. */
export type FinishReason = 'stop' | 'length';

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Prompt tokens that were still there from an earlier call. */
  prompt_tokens_details: { cached_tokens: number };
}

/** Extension: measured inside the worker. */
export interface Timings {
  /** Prompt tokens computed, and the time until the first token was there. */
  prompt_n: number;
  prompt_ms: number;
  /** Tokens after the first, and their time. */
  predicted_n: number;
  predicted_ms: number;
  /** Where tokens were guessed ahead (`speculation`): how many were, and how many of these were right. llama.cpp's names. */
  draft_n?: number;
  draft_n_accepted?: number;
}

export interface TopLogprob {
  /** Extension, as llama-server has it: the token itself, which its text may not say. */
  id: number;
  token: string;
  logprob: number;
  bytes: number[];
}

export interface ChatLogprobs {
  content: (TopLogprob & { top_logprobs: TopLogprob[] })[];
  /** In OpenAI's answers; always null. */
  refusal: null;
}

/**
 * OpenAI's legacy form, with the prompt's tokens first where `echo` was asked for. Nothing comes before the first of them: its entries are
 * null, as in what OpenAI's server answers, though its client's types do not say so.
 */
export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  /** Extension: the ids of the tokens in `top_logprobs`. */
  top_token_ids: (Record<string, number> | null)[];
  text_offset: number[];
}

interface Answer<O extends string, C> {
  id: string;
  object: O;
  /** Seconds since 1970. */
  created: number;
  model: string;
  choices: C[];
}

/** Extension, with `truncation: 'auto'`: how many of the messages were left out. In a stream the first chunk says it. */
interface Truncated {
  truncated_messages?: number;
}

export type ChatCompletion = Answer<
  'chat.completion',
  {
    index: number;
    message: { role: 'assistant'; content: string; refusal: null };
    finish_reason: FinishReason;
    logprobs: ChatLogprobs | null;
    /** Extension. */
    token_ids: number[];
  }
> & { usage: Usage; timings: Timings } & Truncated;

export type ChatCompletionChunk = Answer<
  'chat.completion.chunk',
  {
    index: number;
    delta: { role?: 'assistant'; content?: string };
    finish_reason: FinishReason | null;
    logprobs: ChatLogprobs | null;
    /** Extension: tokens that this chunk brings. */
    token_ids: number[];
  }
> & { usage?: Usage | null; timings?: Timings } & Truncated;

export type Completion = Answer<
  'text_completion',
  {
    index: number;
    text: string;
    finish_reason: FinishReason;
    logprobs: CompletionLogprobs | null;
    /** Extension. Generated tokens; an echoed prompt is not among them. */
    token_ids: number[];
  }
> & { usage: Usage; timings: Timings };

export type CompletionChunk = Answer<
  'text_completion',
  {
    index: number;
    text: string;
    /** Null until the last one, as OpenAI's server answers, though its client's types do not say so. */
    finish_reason: FinishReason | null;
    logprobs: CompletionLogprobs | null;
    /** Extension: tokens that this chunk brings. */
    token_ids: number[];
  }
> & { usage?: Usage | null; timings?: Timings };

/**
 * The chunks of an answer, once. Reading holds the engine back: it stops computing when the reader falls behind. But no other call waits
 * for a reader: as soon as one is behind it in the queue, the rest of the answer is computed and kept for the reader. Leaving the
 * loop (`break`), `return()` or `cancel()` ends the generation.
 */
export interface Stream<T> extends AsyncIterableIterator<T> {
  /** The same chunks as a stream of objects. */
  toReadableStream(): ReadableStream<T>;
}

export interface TokenizeOptions {
  /** Add what the model's tokenizer adds at the ends, such as BOS. Default true. */
  addSpecial?: boolean;
  /** Read special-token strings in the text as special tokens. Default false. Never for text that a user wrote. */
  parseSpecial?: boolean;
}

export interface TemplateOptions {
  /** End with the opening of the assistant's turn. Default true. */
  addGenerationPrompt?: boolean;
  /** Tool definitions for the template. */
  tools?: unknown[];
  /**
   * More variables for the template, such as `enable_thinking` or `documents`. Strings in them are data, as those of messages
   * are.
   */
  variables?: Record<string, unknown>;
  signal?: AbortSignal;
}
