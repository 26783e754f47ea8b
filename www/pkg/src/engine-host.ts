// Drives one engine inside its worker: loads a source into it, runs generations slice by slice, and between slices lets
// messages in, so that an abort takes effect at once. Has no globals of its own: worker.ts gives it the wasm module, tests a
// fake. The truth of a conversation is on the page; this keeps nothing between generations.

import type { Engine, EngineOptions, GenerateEvent } from './abi.js';
import type { CallContext, Handlers } from './dispatch.js';
import { isTyped, KingletError } from './errors.js';
import type { EngineRequests, GenerateInput, GenerateOutput, LoadInput, LoadOutput } from './protocol.js';
import { openSource } from './source.js';
import type { ProgressEvent } from './types.js';

/** A running wasm module. */
export interface Runtime {
  createEngine(options: EngineOptions): Engine;
  /** Starts the pool's other threads; resolves when all of them run. */
  startPool(engine: Engine, threads: number): Promise<void>;
  createSha256(): { update(bytes: Uint8Array): void; hex(): string };
}

/** Shortest time between two progress events, so that a fast download does not flood the page. */
const PROGRESS_EVERY_MS = 50;

export class EngineHost implements Handlers<EngineRequests> {
  readonly #instantiate: (input: LoadInput) => Promise<Runtime>;
  #engine: Engine | undefined;
  #busy = false;

  constructor(instantiate: (input: LoadInput) => Promise<Runtime>) {
    this.#instantiate = instantiate;
  }

  load = async (input: LoadInput, call: CallContext<ProgressEvent>): Promise<LoadOutput> => {
    const progress = new Progress(call.emit);
    progress.report('start', true);
    const opening = openSource(input.source);
    opening.catch(() => {}); // awaited below, when the engine is there to take the bytes
    const runtime = await this.#instantiate(input);
    const engine = runtime.createEngine({
      kvType: input.kvType,
      threads: input.threads,
      ...(input.contextLength === undefined ? {} : { contextLength: input.contextLength }),
    });
    const pool = input.threads > 1 ? runtime.startPool(engine, input.threads) : Promise.resolve();
    pool.catch(() => {}); // awaited below
    const hash = input.sha256 === undefined ? undefined : runtime.createSha256();

    const source = await opening;
    progress.totalBytes = source.totalBytes;
    for await (const chunk of source.chunks) {
      const header = engine.feed(chunk);
      if (header?.fileBytes) progress.totalBytes = header.fileBytes;
      hash?.update(chunk);
      progress.loadedBytes += chunk.byteLength;
      progress.report('download');
    }
    progress.report('finish', true);
    const actual = hash?.hex();
    if (actual !== input.sha256) {
      throw new KingletError('E_INTEGRITY', `the file's SHA-256 is ${actual}, not ${input.sha256}`, {
        details: { expected: input.sha256, actual },
      });
    }
    engine.finish();
    await pool;
    this.#engine = engine;
    progress.report('ready', true);
    return {
      info: withoutNulls(engine.info()),
      template: withoutNulls(engine.template()),
      fileBytes: progress.loadedBytes,
    };
  };

  tokenize = ({
    text,
    addSpecial,
    parseSpecial,
    joiner,
  }: EngineRequests['tokenize']['input']): Uint32Array<ArrayBuffer> =>
    this.#loaded().tokenize(text, addSpecial, parseSpecial, joiner) as Uint32Array<ArrayBuffer>;

  detokenize = ({ tokens }: { tokens: Uint32Array }): string => this.#loaded().detokenize(tokens);

  generate = async (input: GenerateInput, call: CallContext<GenerateEvent[]>): Promise<GenerateOutput> => {
    const engine = this.#loaded();
    if (this.#busy) throw new KingletError('E_BUSY', 'a generation is running already');
    this.#busy = true;
    const clock = new GenerationClock();
    let n_given = 0;
    let running = false;
    try {
      engine.start(input.request);
      running = true;
      while (running) {
        while (input.windowTokens > 0 && n_given - call.acknowledged >= input.windowTokens && !call.cancelled)
          await call.changed();
        if (call.cancelled) throw new KingletError('E_INTERNAL', 'cancelled'); // nobody listens: the page has rejected the call
        const events = engine.advance(clock.hasFirstToken ? input.sliceMs : 0);
        clock.note(events);
        n_given += events.filter((event) => event.type === 'token').length;
        running = !events.some((event) => event.type === 'end');
        if (events.length > 0) call.emit(events);
        if (running) await macrotask();
      }
      return clock.output();
    } catch (thrown) {
      // A trap leaves the instance unusable, and dispatch gives the worker up; after a typed error it goes on with the next call.
      if (running && isTyped(thrown)) engine.cancel();
      throw thrown;
    } finally {
      this.#busy = false;
    }
  };

  #loaded(): Engine {
    if (!this.#engine) throw new KingletError('E_INTERNAL', 'no model is loaded');
    return this.#engine;
  }
}

/** The engine writes null for what is absent. */
function withoutNulls<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null)) as T;
}

/** Counts bytes and gives out progress events, at most one per PROGRESS_EVERY_MS. */
class Progress {
  loadedBytes = 0;
  totalBytes: number | undefined;
  readonly #emit: (event: ProgressEvent) => void;
  readonly #startMs = performance.now();
  #lastMs = -Infinity;

  constructor(emit: (event: ProgressEvent) => void) {
    this.#emit = emit;
  }

  report(phase: ProgressEvent['phase'], always = false): void {
    const now = performance.now();
    if (!always && now - this.#lastMs < PROGRESS_EVERY_MS) return;
    this.#lastMs = now;
    const bytesPerSecond = now > this.#startMs ? (this.loadedBytes / (now - this.#startMs)) * 1000 : 0;
    this.#emit({
      phase,
      loadedBytes: this.loadedBytes,
      bytesPerSecond,
      ...(this.totalBytes === undefined ? {} : { totalBytes: this.totalBytes }),
    });
  }
}

/** When the first token came, and how many came after it. */
class GenerationClock {
  readonly #startMs = performance.now();
  #firstMs: number | undefined;
  #lastMs = this.#startMs;
  #n_prompt = 0;
  #n_tokens = 0;
  readonly #choices = new Set<number>();

  get hasFirstToken(): boolean {
    return this.#firstMs !== undefined;
  }

  note(events: GenerateEvent[]): void {
    const now = performance.now();
    for (const event of events) {
      if (event.type === 'prefill') this.#n_prompt = event.total - event.cached;
      if (event.type === 'token') {
        this.#firstMs ??= now;
        this.#n_tokens += 1;
        this.#choices.add(event.choice);
      }
      this.#lastMs = now;
    }
  }

  output(): GenerateOutput {
    const firstMs = this.#firstMs ?? this.#lastMs;
    return {
      promptN: this.#n_prompt,
      promptMs: firstMs - this.#startMs,
      predictedN: this.#n_tokens - this.#choices.size,
      predictedMs: this.#lastMs - firstMs,
    };
  }
}

const channel = new MessageChannel();
const resumed: (() => void)[] = [];
channel.port1.onmessage = () => resumed.shift()?.();

/** Lets every message that has already arrived be handled, without the 4 ms that a timer would cost. */
function macrotask(): Promise<void> {
  return new Promise((resolve) => {
    resumed.push(resolve);
    channel.port2.postMessage(0);
  });
}
