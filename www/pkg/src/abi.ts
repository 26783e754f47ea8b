// The interface of the wasm module, written down once for TypeScript: what `src/wasm/` in Rust exports. Used by the engine's
// worker and by tests that stand in a fake engine. Nothing here is public.

/** Options of the engine's constructor. */
export interface EngineOptions {
  /** Tokens; without it the smaller of the trained length and 4,096. */
  contextLength?: number;
  kvType: 'f16' | 'f32';
  /** How many threads compute, this one included. */
  threads: number;
}

/** What is known once the file's header has been read and everything has been decided. */
export interface HeaderInfo {
  /** Length of the whole file as its header promises it, bytes. */
  fileBytes?: number;
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
  memory: Record<string, number>;
  simd?: string;
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
  | { type: 'done'; choice: number; reason: 'stop' | 'length'; text: string }
  | { type: 'end'; usage: { promptTokens: number; completionTokens: number; cachedTokens: number } };

/** The engine, one per worker. What it throws is `{ code, message, details }`; anything else is a trap. */
export interface Engine {
  feed(bytes: Uint8Array): HeaderInfo | undefined;
  finish(): void;
  info(): EngineInfo;
  template(): TemplateInfo;
  tokenize(text: string, addSpecial: boolean, parseSpecial: boolean, joiner?: string): Uint32Array;
  detokenize(ids: Uint32Array): string;
  start(request: GenerateRequest): void;
  advance(budgetMs: number): GenerateEvent[];
  cancel(): void;
  poolAddress(): number;
  free(): void;
}
