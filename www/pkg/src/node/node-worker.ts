// A Web Worker, as far as client.ts and worker.ts use one, made of a thread of Node.js. The thread begins with thread.ts.

import { Worker as Thread } from 'node:worker_threads';
import type { WorkerLike } from '../client.js';

/** What a thread is told of itself. */
export interface ThreadData {
  href: string;
  name: string;
}

export class NodeWorker implements WorkerLike {
  readonly #thread: Thread;

  constructor(href: string, { name = '' }: { name?: string | undefined } = {}) {
    const workerData: ThreadData = { href, name };
    this.#thread = new Thread(new URL('./node-thread.js', import.meta.url), { workerData, name: name || 'kinglet' });
  }

  postMessage(message: unknown, transfer: Transferable[] = []): void {
    this.#thread.postMessage(message, transfer as never);
  }

  addEventListener(type: 'message' | 'error' | 'messageerror', listener: (event: never) => void): void {
    const hear = listener as (event: unknown) => void;
    if (type === 'error')
      this.#thread.on(type, (error) => hear({ message: error instanceof Error ? error.message : `${error}` }));
    else this.#thread.on(type, (data) => hear({ data }));
  }

  terminate(): void {
    void this.#thread.terminate();
  }
}
