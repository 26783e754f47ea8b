// One loaded engine as the page sees it: its worker, its template worker, what is known of the model, and the queue of
// generations. chat.ts and completions.ts build on it; index.ts makes it. The truth of a conversation is here: prompt ids, seed
// and parameters are made on the page, and every token that was given out is noted on the page.

import type { EncodeOutput, EncodeRequest, GenerateEvent, GenerateRequest } from './abi.js';
import type { Call, Client } from './client.js';
import { KingletError } from './errors.js';
import { oneOf } from './params.js';
import type { EngineRequests, GenerateOutput, LoadOutput } from './protocol.js';
import { type TemplateRenderer, templateOf } from './templates.js';
import type { CallOptions, ChatMessage, Info, Profile, Task, TemplateOptions } from './types.js';

/** Tokens that are computed ahead of a stream's reader. */
const STREAM_WINDOW_TOKENS = 32;
/** Slices of work: short where someone watches the text appear. */
const STREAM_SLICE_MS = 16;
const WHOLE_SLICE_MS = 50;
/** Room for what a template adds to the messages. */
const TEMPLATE_OUTPUT_CHARS = 1 << 20;

export class Core {
  readonly info: Info;
  readonly #client: Client<EngineRequests>;
  readonly #templates: TemplateRenderer;
  readonly #template: LoadOutput['template'];
  /** What calls that do not say do. */
  readonly #speculates: boolean;
  readonly #closing = new AbortController();
  readonly #onMeasured: (output: GenerateOutput) => void;
  /** The newest place in the queue. */
  #newest: { ready: Promise<void>; follow(): void } = { ready: Promise.resolve(), follow: () => {} };
  /** Calls that somebody waits for. */
  #n_calls = 0;

  /** `onMeasured` is told what an answer took. */
  constructor(
    client: Client<EngineRequests>,
    templates: TemplateRenderer,
    loaded: LoadOutput,
    {
      info,
      speculates,
      onMeasured = () => {},
    }: { info: Info; speculates: boolean; onMeasured?: (output: GenerateOutput) => void },
  ) {
    this.#onMeasured = onMeasured;
    this.#client = client;
    this.#templates = templates;
    this.#template = loaded.template;
    this.#speculates = speculates;
    this.info = info;
  }

  /** Throws for a call after `close()`. */
  checkOpen(): void {
    if (this.#closing.signal.aborted) throw new DOMException('the engine was closed', 'InvalidStateError');
  }

  /** Whether the model reads a prompt with one part and writes with another, such as T5. */
  get isEncoderDecoder(): boolean {
    return this.info.tasks.includes('remember');
  }

  /** Throws where the model has no way to chat: a transcript means nothing to an encoder-decoder. */
  checkChats(): void {
    if (this.isEncoderDecoder && this.#template.chatTemplate === undefined)
      throw new KingletError(
        'E_UNSUPPORTED_TASK',
        `${this.info.architecture} is an encoder-decoder without a chat template: use completions.create`,
      );
  }

  /** How long a prompt may be that leaves room for an answer of so many tokens, at most a quarter of the context. */
  promptRoom(maxTokens = Infinity): number {
    const { contextLength } = this.info;
    // The answer of an encoder-decoder has a context of its own.
    return contextLength - (this.isEncoderDecoder ? 0 : Math.min(maxTokens, Math.floor(contextLength / 4)));
  }

  /** Throws for a call that the model is not made for. */
  checkTask(task: Task, call: string): void {
    const { architecture, tasks } = this.info;
    if (tasks.includes(task)) return;
    throw new KingletError(
      'E_UNSUPPORTED_TASK',
      `${call} with a model of ${architecture}, which can ${tasks.join(', ')}`,
      {
        details: { task, architecture, tasks },
      },
    );
  }

  /** Ends the workers. A worker's memory goes with it; the GPU's is given back first. */
  async close(): Promise<void> {
    const reason = new DOMException('the engine was closed', 'AbortError');
    this.#closing.abort(reason);
    this.#templates.close(reason);
    if (this.info.device.kind === 'webgpu') await this.#client.end('close', undefined, reason);
    else this.#client.fail(reason);
  }

  async tokenize(
    text: string,
    options: { addSpecial: boolean; parseSpecial: boolean; joiner?: string },
    signal?: AbortSignal,
  ): Promise<Uint32Array> {
    return this.#client.call('tokenize', { text, ...options }, { signal }).result;
  }

  async profile(on: boolean): Promise<Profile | undefined> {
    return this.#client.call('profile', { on }).result;
  }

  async detokenize(tokens: Uint32Array): Promise<string> {
    return this.#client.call('detokenize', { tokens }).result;
  }

  /** The conversation as text; strings of messages are broken by `joiner` where they hold a special token. */
  async render(messages: ChatMessage[], options: TemplateOptions): Promise<{ text: string; joiner: string }> {
    const { source } = templateOf(this.#template);
    const data = {
      documents: null,
      ...options.variables,
      tools: options.tools ?? null,
      add_generation_prompt: options.addGenerationPrompt ?? true,
    };
    const plain = messages.map((message) => plainMessage(message, source));
    return this.#templates.render(
      {
        template: source,
        messages: plain,
        data,
        specialStrings: this.#template.specialStrings,
        tokens: { bos_token: this.#template.bosToken ?? '', eos_token: this.#template.eosToken ?? '' },
        maxOutputChars: TEMPLATE_OUTPUT_CHARS + 4 * JSON.stringify([plain, data]).length,
      },
      options.signal,
    );
  }

  /** The ids of a conversation: special tokens come from the template only. */
  async chatPrompt(messages: ChatMessage[], options: TemplateOptions): Promise<Uint32Array> {
    const { text, joiner } = await this.render(messages, options);
    // A template writes BOS itself where the model wants it; the default one cannot know.
    return this.tokenize(
      text,
      { addSpecial: this.#template.chatTemplate === undefined, parseSpecial: true, joiner },
      options.signal,
    );
  }

  /** The ids of a plain prompt; an empty one begins with BOS. */
  async textPrompt(prompt: string | number[] | Uint32Array, signal: AbortSignal | undefined): Promise<Uint32Array> {
    const ids =
      typeof prompt === 'string'
        ? await this.tokenize(prompt, { addSpecial: true, parseSpecial: false }, signal)
        : Uint32Array.from(prompt);
    if (ids.length > 0) return ids;
    const { bosToken } = this.#template;
    if (!bosToken) throw new RangeError('the prompt is empty, and this model has no BOS token to begin with');
    return this.tokenize(bosToken, { addSpecial: false, parseSpecial: true }, signal);
  }

  /** Takes the next place in the queue at once; `prepare` makes the prompt while earlier calls still run. */
  async generate(
    request: Omit<GenerateRequest, 'prompt'>,
    prepare: () => Promise<Uint32Array>,
    stream: boolean,
    options: CallOptions,
  ): Promise<Generation> {
    const turn = this.#takeTurn(options);
    const { signal } = options;
    try {
      const prompt = await prepare();
      if (prompt.length > this.info.contextLength) throw overflow(prompt.length, this.info.contextLength);
      const begin = (onEvent: (events: GenerateEvent[]) => void): Call<GenerateOutput> => {
        const call = this.#client.call(
          'generate',
          {
            request: { speculates: this.#speculates, ...request, prompt },
            sliceMs: stream ? STREAM_SLICE_MS : WHOLE_SLICE_MS,
            windowTokens: stream ? STREAM_WINDOW_TOKENS : 0,
          },
          { onEvent },
        );
        call.result.then(
          (output) => this.#onMeasured(output),
          () => {}, // whoever asked is told
        );
        return call;
      };
      return new Generation({
        prompt,
        request,
        turn,
        begin,
        signals: signal ? [signal, this.#closing.signal] : [this.#closing.signal],
      });
    } catch (thrown) {
      turn.leave();
      turn.done();
      throw signal?.aborted ? signal.reason : thrown;
    }
  }

  /** Takes the next place in the queue; resolves when every input is done, to the outputs in order and the milliseconds they took. */
  async encode(request: EncodeRequest, options: CallOptions): Promise<{ outputs: EncodeOutput[]; ms: number }> {
    const outputs: EncodeOutput[] = [];
    const call = (): Call<number> =>
      this.#client.call('encode', request, { signal: options.signal, onEvent: (some) => outputs.push(...some) });
    return { ms: await this.#inTurn(call, options), outputs };
  }

  /** Takes the next place in the queue; resolves when every continuation was told. What `onEvent` throws ends it. */
  async score(
    items: EngineRequests['score']['input'],
    options: CallOptions,
    onEvent: (events: EngineRequests['score']['event']) => void,
  ): Promise<void> {
    const call = (): Call<void> => {
      const running: Call<void> = this.#client.call('score', items, {
        signal: options.signal,
        onEvent: (events) => {
          try {
            onEvent(events);
          } catch (thrown) {
            running.cancel(thrown); // the caller's own exception comes back as it is
          }
        },
      });
      return running;
    };
    await this.#inTurn(call, options);
  }

  /** Takes the next place in the queue; resolves to what the cache has of the tokens that `prepare` makes, with the note. */
  async snapshot(
    note: Uint8Array,
    prepare: () => Promise<Uint32Array>,
    options: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = options;
    return this.#inTurn((tokens) => this.#client.call('snapshot', { note, tokens }, { signal }), options, prepare);
  }

  /** Takes the next place in the queue; resolves to the note when the cache holds what the bytes do. */
  async restore(bytes: Uint8Array, options: CallOptions): Promise<Uint8Array> {
    return this.#inTurn(() => this.#client.call('restore', { bytes }, { signal: options.signal }), options);
  }

  /** Waits for its turn, calls, and lets the next one in when the worker is done. `prepare` runs while earlier calls still do. */
  async #inTurn<T, P = void>(
    begin: (prepared: P) => Call<T>,
    options: CallOptions,
    prepare?: () => Promise<P>,
  ): Promise<T> {
    const turn = this.#takeTurn(options);
    let call: Call<T> | undefined;
    try {
      const prepared = (await prepare?.()) as P;
      options.signal?.throwIfAborted();
      await untilAborted(turn.ready, options.signal);
      call = begin(prepared);
      return await call.result;
    } finally {
      turn.leave();
      // The next one waits while the worker is still at this one, or at those before it.
      void (call?.settled ?? turn.ready).then(turn.done);
    }
  }

  /** The next place in the queue, at once; throws where there is a reason not to take one. */
  #takeTurn({ signal, whenBusy }: CallOptions): Turn {
    signal?.throwIfAborted();
    const calls = this.#n_calls;
    if (oneOf({ whenBusy }, 'whenBusy', ['wait', 'fail']) === 'fail' && calls > 0)
      throw new KingletError('E_BUSY', `the engine is busy: ${calls} calls are not answered yet`, {
        details: { calls },
      });
    const { ready, follow } = this.#newest;
    follow();
    const [mine, done] = latch();
    const [followed, followMine] = latch();
    this.#newest = { ready: ready.then(() => mine), follow: followMine };
    this.#n_calls++;
    let isWanted = true;
    const leave = (): void => {
      if (isWanted) this.#n_calls--;
      isWanted = false;
    };
    return { ready, followed, leave, done };
  }
}

/** A place in the queue. */
interface Turn {
  /** All earlier ones are done. */
  ready: Promise<void>;
  /** Somebody waits behind it. */
  followed: Promise<void>;
  /** Nobody waits for its answer any more. */
  leave(): void;
  /** The worker has done with it. */
  done(): void;
}

/** A promise, and what resolves it. */
function latch(): [Promise<void>, () => void] {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return [opened, open];
}

/** One generation from the queue to its end: its events in order, and the record from which it could be repeated or resumed. */
export class Generation {
  readonly prompt: Uint32Array;
  readonly request: Omit<GenerateRequest, 'prompt'>;
  /** Tokens given out so far, per choice. */
  readonly generated: number[][];
  #events: GenerateEvent[] = [];
  #call: Call<GenerateOutput> | undefined;
  #ended: { output: GenerateOutput } | { error: unknown } | undefined;
  #wake: () => void = () => {};
  readonly #leave: () => void;
  readonly #stopListening: () => void;

  constructor({
    prompt,
    request,
    turn,
    begin,
    signals,
  }: {
    prompt: Uint32Array;
    request: Omit<GenerateRequest, 'prompt'>;
    turn: Turn;
    signals: AbortSignal[];
    begin: (onEvent: (events: GenerateEvent[]) => void) => Call<GenerateOutput>;
  }) {
    this.prompt = prompt;
    this.request = request;
    this.#leave = turn.leave;
    this.generated = Array.from({ length: request.n }, () => []);
    const listeners = signals.map((signal) => {
      const onAbort = (): void => this.cancel(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      return () => signal.removeEventListener('abort', onAbort);
    });
    this.#stopListening = () => listeners.forEach((stop) => stop());
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted) this.cancel(aborted.reason);
    void this.#run(turn, begin);
  }

  /** The next event; undefined after the last. Rejects with what ended the generation early. */
  async next(): Promise<GenerateEvent | undefined> {
    for (;;) {
      if (this.#ended && 'error' in this.#ended) throw this.#ended.error;
      const event = this.#events.shift();
      if (event) {
        if (event.type === 'token') this.#call?.acknowledge(1);
        return event;
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** What the worker measured. Only after `next` gave undefined. */
  get output(): GenerateOutput {
    if (!this.#ended || 'error' in this.#ended) throw new KingletError('E_INTERNAL', 'the generation has not ended');
    return this.#ended.output;
  }

  /** Ends it early; `next` rejects with `reason`. */
  cancel(reason: unknown): void {
    if (this.#ended) return;
    this.#call?.cancel(reason);
    this.#events = [];
    this.#end({ error: reason });
  }

  async #run(turn: Turn, begin: (onEvent: (events: GenerateEvent[]) => void) => Call<GenerateOutput>): Promise<void> {
    await turn.ready;
    if (!this.#ended) {
      const call = (this.#call = begin((events) => this.#receive(events)));
      call.result.then(
        (output) => this.#end({ output }),
        (error: unknown) => this.#end({ error }),
      );
      // Whoever waits behind it does not wait for its reader: the rest is computed and kept here.
      void turn.followed.then(() => call.acknowledge(Infinity));
      await call.settled;
    }
    turn.done();
  }

  #receive(events: GenerateEvent[]): void {
    if (this.#ended) return;
    for (const event of events) if (event.type === 'token') this.generated[event.choice]?.push(event.id);
    this.#events.push(...events);
    this.#wake();
  }

  #end(how: { output: GenerateOutput } | { error: unknown }): void {
    if (this.#ended) return;
    this.#ended = how;
    this.#leave();
    this.#stopListening();
    this.#wake();
  }
}

/** Rejects with the signal's reason as soon as it aborts. */
function untilAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    void promise.then(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
  });
}

function overflow(requestedTokens: number, availableTokens: number): KingletError {
  return new KingletError(
    'E_CONTEXT_OVERFLOW',
    `the prompt of ${requestedTokens} tokens does not fit the context of ${availableTokens}`,
    { details: { requestedTokens, availableTokens } },
  );
}

/** Names under which the reasoning of a message comes; templates read the first or the second. */
const REASONING = ['reasoning_content', 'thinking', 'reasoning'] as const;

/**
 * A message as Hugging Face hands it to templates: without what is null, and with its reasoning under both names. `developer`,
 * which few templates know, is called `system` for the others.
 */
export function plainMessage(message: ChatMessage, template: string): Record<string, unknown> {
  const plain: Record<string, unknown> = Object.fromEntries(
    Object.entries(message).filter(([, value]) => value != null),
  );
  if (message.role === 'developer' && !template.includes('developer')) plain['role'] = 'system';
  const reasoning = REASONING.map((name) => plain[name]).find((value) => value !== undefined);
  return reasoning === undefined ? plain : { thinking: reasoning, ...plain, reasoning_content: reasoning };
}
