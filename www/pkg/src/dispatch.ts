// The worker's side of client.ts: a table of handlers typed by the protocol's map, cancelling, acknowledgements, and errors in
// the form that crosses. Used by worker.ts and template-worker.ts; tests run it over a message port.

import { isTyped, toPlain } from './errors.js';
import type { FromWorker, RequestMap, ToWorker } from './protocol.js';

/** What a handler knows of the call that it answers. */
export interface CallContext<E> {
  /** Set once the page has lost interest; the handler then stops as soon as it can, by throwing or returning. */
  readonly cancelled: boolean;
  /** Tokens that the page has taken so far. */
  readonly acknowledged: number;
  /** Resolves at the next cancel or acknowledgement. */
  changed(): Promise<void>;
  emit(event: E): void;
}

export type Handlers<M extends RequestMap<M>> = {
  [K in keyof M]: (input: M[K]['input'], call: CallContext<M[K]['event']>) => M[K]['output'] | Promise<M[K]['output']>;
};

/** What the dispatcher needs of the worker's global scope; tests stand in a message port. */
export interface ScopeLike {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}

class RunningCall<E> implements CallContext<E> {
  cancelled = false;
  acknowledged = 0;
  readonly emit: (event: E) => void;
  #waiting: (() => void)[] = [];

  constructor(emit: (event: E) => void) {
    this.emit = emit;
  }

  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  change(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/**
 * Answers messages that arrive at `scope`. A handler that throws a typed error fails its call; with `trapsAreFatal`, anything
 * else that is thrown means that the wasm instance cannot be trusted any more, and the whole worker is given up.
 */
export function serve<M extends RequestMap<M>>(
  scope: ScopeLike,
  handlers: Handlers<M>,
  { trapsAreFatal }: { trapsAreFatal: boolean },
): void {
  const running = new Map<number, RunningCall<M[keyof M]['event']>>();
  const post = (message: FromWorker<M>): void => scope.postMessage(message);

  const answer = async (message: Extract<ToWorker<M>, { kind: 'request' }>): Promise<void> => {
    const { id, name, input } = message;
    const call = new RunningCall<M[keyof M]['event']>((event) => post({ kind: 'event', id, event }));
    running.set(id, call);
    try {
      post({ kind: 'result', id, output: await handlers[name](input, call) });
    } catch (thrown) {
      post(
        trapsAreFatal && !isTyped(thrown)
          ? { kind: 'fatal', error: toPlain(thrown) }
          : { kind: 'error', id, error: toPlain(thrown) },
      );
    } finally {
      running.delete(id);
    }
  };

  scope.addEventListener('message', ({ data }) => {
    const message = data as ToWorker<M>;
    if (message.kind === 'request') return void answer(message);
    const call = running.get(message.id);
    if (!call) return;
    if (message.kind === 'cancel') call.cancelled = true;
    else call.acknowledged += message.count;
    call.change();
  });
  post({ kind: 'ready' });
}
