// The page's side of a worker: requests with ids in a pending map, events in between, cancelling, errors made anew, and the
// worker's own life: did it start, did it crash, was it closed. Knows nothing of what the requests mean (protocol.ts does).

import { describe, fromPlain, KingletError } from './errors.js';
import type { FromWorker, RequestMap, ToWorker } from './protocol.js';

/** What the client needs of a Worker; tests stand in a message port. */
export interface WorkerLike {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
  addEventListener(type: 'error' | 'messageerror', listener: (event: Event) => void): void;
  terminate(): void;
}

/** A request on its way. */
export interface Call<T> {
  /** The answer; rejects with the signal's reason as soon as the signal aborts. */
  result: Promise<T>;
  /** Resolves, never rejects, when the worker is done with it: then the next one finds it unharmed. */
  settled: Promise<void>;
  /** Asks the worker to stop, and rejects `result` with `reason`. */
  cancel(reason: unknown): void;
  /** Tells the worker that `count` more tokens were taken. */
  acknowledge(count: number): void;
}

interface Pending {
  resolve(output: unknown): void;
  reject(error: unknown): void;
  settle(): void;
  onEvent: ((event: never) => void) | undefined;
}

/** How long a worker may take to load its script. */
export const START_LIMIT_MS = 10_000;
/** How long a worker may take to tidy up. */
const END_LIMIT_MS = 1_000;

export class Client<M extends RequestMap<M>> {
  readonly #worker: WorkerLike;
  readonly #pending = new Map<number, Pending>();
  readonly #started: Promise<void>;
  #markStarted: { resolve(): void; reject(error: unknown): void } | undefined;
  #nextId = 1;
  #failure: { error: unknown } | undefined;
  #onFail: (() => void) | undefined;

  /** `startError` says what to reject with when the worker's script does not run: the page knows more than the event does. */
  constructor(worker: WorkerLike, startError: () => Error, startLimitMs = START_LIMIT_MS) {
    this.#worker = worker;
    this.#started = new Promise<void>((resolve, reject) => {
      this.#markStarted = { resolve, reject };
    });
    this.#started.catch(() => {});
    const timer = setTimeout(() => this.fail(startError()), startLimitMs);
    this.#started.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    );
    worker.addEventListener('message', ({ data }) => this.#receive(data as FromWorker<M>));
    worker.addEventListener('error', (event) => {
      event.preventDefault?.();
      const message = (event as Partial<ErrorEvent>).message;
      this.fail(
        this.#markStarted
          ? startError()
          : new KingletError('E_INTERNAL', `the worker crashed${message ? `: ${message}` : ''}`),
      );
    });
    worker.addEventListener('messageerror', () =>
      this.fail(new KingletError('E_INTERNAL', 'a message from the worker could not be read')),
    );
  }

  /** Resolves when the worker's script runs. */
  get started(): Promise<void> {
    return this.#started;
  }

  call<K extends keyof M & string>(
    name: K,
    input: M[K]['input'],
    options: {
      transfer?: Transferable[];
      onEvent?: (event: M[K]['event']) => void;
      signal?: AbortSignal | undefined;
    } = {},
  ): Call<M[K]['output']> {
    const id = this.#nextId++;
    const { signal } = options;
    let settle = (): void => {};
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    let cancel: (reason: unknown) => void = () => {};
    const result = new Promise<M[K]['output']>((resolve, reject) => {
      if (this.#failure) {
        settle();
        return reject(this.#failure.error);
      }
      if (signal?.aborted) {
        settle();
        return reject(signal.reason);
      }
      cancel = (reason) => {
        if (!this.#pending.has(id)) return;
        reject(reason);
        this.#post({ kind: 'cancel', id });
      };
      const onAbort = (): void => cancel(signal?.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      void settled.then(() => signal?.removeEventListener('abort', onAbort));
      this.#pending.set(id, { resolve, reject, settle, onEvent: options.onEvent });
      try {
        this.#post({ kind: 'request', id, name, input } as ToWorker<M>, options.transfer);
      } catch (cause) {
        // Functions and the like cannot be posted: the caller gave something that is not data.
        this.#finish(id, () =>
          reject(new TypeError(`what was given is not plain data: ${describe(cause)}`, { cause })),
        );
      }
    });
    return {
      result,
      settled,
      cancel: (reason) => cancel(reason),
      acknowledge: (count) => this.#post({ kind: 'ack', id, count }),
    };
  }

  /** Runs `then` when this has ended. */
  whenFailed(then: () => void): void {
    this.#onFail = then;
  }

  /**
   * Ends as `fail` does, but lets the worker answer one last request first, if it does so in time. What is pending rejects at
   * once.
   */
  async end<K extends keyof M & string>(name: K, input: M[K]['input'], error: unknown): Promise<void> {
    if (this.#failure) return;
    this.#rejectPending(error);
    const last = this.call(name, input);
    last.result.catch(() => {});
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, END_LIMIT_MS);
    });
    await Promise.race([last.settled, limit]);
    clearTimeout(timer);
    this.fail(error);
  }

  /** Ends the worker; everything pending and everything later rejects with `error`. Only the first call counts. */
  fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    this.#worker.terminate();
    this.#markStarted?.reject(error);
    this.#markStarted = undefined;
    this.#rejectPending(error);
    this.#onFail?.();
  }

  #rejectPending(error: unknown): void {
    for (const pending of this.#pending.values()) {
      pending.reject(error);
      pending.settle();
    }
    this.#pending.clear();
  }

  #post(message: ToWorker<M>, transfer: Transferable[] = []): void {
    if (!this.#failure) this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker<M>): void {
    if (this.#failure) return;
    switch (message.kind) {
      case 'ready':
        this.#markStarted?.resolve();
        this.#markStarted = undefined;
        return;
      case 'fatal':
        return this.fail(fromPlain(message.error));
      case 'event':
        return this.#pending.get(message.id)?.onEvent?.(message.event as never);
      case 'result':
        return this.#finish(message.id, (pending) => pending.resolve(message.output));
      case 'error':
        return this.#finish(message.id, (pending) => pending.reject(fromPlain(message.error)));
    }
  }

  #finish(id: number, how: (pending: Pending) => void): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    how(pending);
    pending.settle();
  }
}
