// Drives one engine inside its worker: has it loaded (loading.ts), runs generations slice by slice, and between slices lets
// messages in, so that an abort takes effect at once. Has no globals of its own: worker.ts gives it the wasm module and the
// way to the GPU, tests give it fakes. The truth of a conversation is on the page; this keeps nothing between generations.

import type { EncodeOutput, EncodeRequest, Engine, GenerateEvent, ScoredEvent } from './abi.js';
import type { CallContext, Handlers } from './dispatch.js';
import { isTyped, KingletError, type TypedError } from './errors.js';
import { loadEngine, type Surroundings } from './loading.js';
import { type ContinuationInput, tokenizeItems } from './score-tokens.js';
import type { EngineRequests, GenerateInput, GenerateOutput, LoadInput, LoadOutput } from './protocol.js';
import type { Speed } from './speeds.js';
import type { Profile, ProgressEvent } from './types.js';
import { macrotask, waitForGpu } from './waiting.js';

/** A slice of work whose results nobody watches grow, milliseconds: messages are looked at between two. */
const WHOLE_SLICE_MS = 50;

/** Fewer tokens do not tell how fast it is. */
const LEAST_READ = 64;
const LEAST_WRITTEN = 24;

/** After the first request, or so long after the model is ready, the rest of the binary is fetched, so that nothing has to wait for it. */
const COMPLETE_AFTER_MS = 1_000;

export class EngineHost implements Handlers<EngineRequests> {
  readonly #surroundings: Surroundings;
  #engine: Engine | undefined;
  #busy = false;
  /** Fetches what the binary leaves for later; undefined once that is under way. */
  #complete: (() => Promise<void>) | undefined;
  /** Spent on requests since the last profile. */
  #busyMs = 0;
  /** The GPU is gone: every call says so at once. */
  #lost: TypedError | undefined;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  load = async (input: LoadInput, call: CallContext<ProgressEvent>): Promise<LoadOutput> => {
    const { engine, output, complete } = await loadEngine(input, this.#surroundings, call.emit);
    this.#engine = engine;
    this.#complete = complete;
    setTimeout(() => this.#busy || this.#completeOnce(), COMPLETE_AFTER_MS);
    return output;
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
    const clock = new GenerationClock();
    clock.isUneven = input.request.beams !== undefined; // all of it comes at the end
    let n_given = 0;
    await this.#run(call, {
      start: (engine) => engine.start(input.request),
      advance: async (engine) => {
        while (input.windowTokens > 0 && n_given - call.acknowledged >= input.windowTokens && !call.cancelled) {
          clock.isUneven = true;
          await call.changed();
        }
        throwIfCancelled(call);
        const events = engine.advance(clock.hasFirstToken ? input.sliceMs : 0);
        clock.note(events);
        n_given += events.filter((event) => event.type === 'token').length;
        if (events.length > 0) call.emit(events);
        return events;
      },
    });
    const [one = 0, several = 0] = this.#loaded().foundThreads();
    return { ...clock.output(), ...(one > 0 && { found: [one, several] }) };
  };

  encode = async (request: EncodeRequest, call: CallContext<EncodeOutput[]>): Promise<number> => {
    const startMs = performance.now();
    await this.#run(call, {
      start: (engine) => engine.encode(request),
      advance: async (engine) => {
        throwIfCancelled(call);
        const events = engine.advance(WHOLE_SLICE_MS);
        const outputs = events.filter((event) => event.type === 'output');
        if (outputs.length > 0) call.emit(outputs);
        return events;
      },
    });
    return performance.now() - startMs;
  };

  score = async (
    items: ContinuationInput[][],
    call: CallContext<(ScoredEvent & { tokens: Uint32Array })[]>,
  ): Promise<void> => {
    const { request, tokens } = tokenizeItems(this.#loaded(), items);
    await this.#run(call, {
      start: (engine) => engine.score(request),
      advance: async (engine) => {
        throwIfCancelled(call);
        const events = engine.advance(WHOLE_SLICE_MS);
        const scored = events.filter((event) => event.type === 'scored');
        if (scored.length > 0)
          call.emit(
            scored.map((event) => ({ ...event, tokens: tokens[event.group]?.[event.span] ?? new Uint32Array() })),
          );
        return events;
      },
    });
  };

  snapshot = async (
    { note, tokens }: EngineRequests['snapshot']['input'],
    call: CallContext<never>,
  ): Promise<Uint8Array<ArrayBuffer>> => {
    let bytes: Uint8Array | undefined;
    await this.#run(call, {
      start: () => {},
      advance: async (engine) => {
        throwIfCancelled(call);
        bytes = engine.snapshot(note, tokens);
        return bytes ? [{ type: 'end' }] : [];
      },
    });
    return bytes as Uint8Array<ArrayBuffer>;
  };

  restore = ({ bytes }: EngineRequests['restore']['input']): Uint8Array<ArrayBuffer> =>
    this.#loaded().restore(bytes) as Uint8Array<ArrayBuffer>;

  /** Runs a request, slice by slice, until its last event. */
  async #run(
    call: CallContext<never>,
    { start, advance }: { start(engine: Engine): void; advance(engine: Engine): Promise<{ type: string }[]> },
  ): Promise<void> {
    const engine = this.#loaded();
    if (this.#busy) throw new KingletError('E_BUSY', 'a generation is running already');
    this.#busy = true;
    const startMs = performance.now();
    let running = false;
    try {
      start(engine);
      running = true;
      while (running) {
        const events = await advance(engine);
        running = !events.some((event) => event.type === 'end');
        if (running) await this.#pause(engine, call);
      }
    } catch (thrown) {
      // A trap leaves the instance unusable, and dispatch gives the worker up; after a typed error it goes on with the next call.
      if (isTyped(thrown) && thrown.code === 'E_GPU_LOST') this.#lost = thrown;
      else if (running && isTyped(thrown)) engine.cancel();
      throw thrown;
    } finally {
      this.#busy = false;
      this.#completeOnce();
      this.#busyMs += performance.now() - startMs;
    }
  }

  profile = ({ on }: { on: boolean }): Profile | undefined => {
    const wallMs = this.#busyMs;
    this.#busyMs = 0;
    const profile = this.#loaded().profile(on);
    profile?.kinds.sort((a, b) => b.ms - a.ms);
    return profile ? { wallMs, ...profile } : undefined;
  };

  close = async (): Promise<void> => {
    while (this.#busy) await macrotask(); // the page has cancelled it
    this.#engine?.free();
    this.#engine = undefined;
  };

  /** Between two slices: messages come in, and the GPU gets the time that it needs. */
  async #pause(engine: Engine, call: CallContext<never>): Promise<void> {
    const ready = engine.ready();
    await Promise.all([macrotask(), ready && waitForGpu(ready, () => engine.nudge(), call)]);
  }

  #completeOnce(): void {
    void this.#complete?.();
    this.#complete = undefined;
  }

  #loaded(): Engine {
    if (this.#lost) throw this.#lost;
    if (!this.#engine) throw new KingletError('E_INTERNAL', 'no model is loaded');
    return this.#engine;
  }
}

/** Nobody listens: the page has rejected the call. */
function throwIfCancelled(call: CallContext<never>): void {
  if (call.cancelled) throw new KingletError('E_INTERNAL', 'cancelled');
}

/** When the first token came, and how many came after it. */
class GenerationClock {
  readonly #startMs = performance.now();
  #firstMs: number | undefined;
  #lastMs = this.#startMs;
  #n_prompt = 0;
  #n_tokens = 0;
  #n_drafted = 0;
  readonly #choices = new Set<number>();
  /** Tokens did not come as fast as they can be computed. */
  isUneven = false;

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
      if (event.type === 'end') this.#n_drafted = event.usage.draftedTokens ?? 0;
      this.#lastMs = now;
    }
  }

  output(): GenerateOutput {
    const firstMs = this.#firstMs ?? this.#lastMs;
    const output = {
      promptN: this.#n_prompt,
      promptMs: firstMs - this.#startMs,
      predictedN: this.#n_tokens - this.#choices.size,
      predictedMs: this.#lastMs - firstMs,
    };
    const speed = this.#speed(output);
    return speed ? { ...output, speed } : output;
  }

  /** Of one answer that came token by token. */
  #speed({ promptN, promptMs, predictedN, predictedMs }: GenerateOutput): Speed | undefined {
    if (this.isUneven || this.#n_drafted > 0 || this.#choices.size !== 1 || predictedN < LEAST_WRITTEN)
      return undefined;
    return { readMs: promptN < LEAST_READ ? 0 : promptMs / promptN, writeMs: predictedMs / predictedN };
  }
}
