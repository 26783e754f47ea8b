// The page's side of reader-worker.ts.
import type { Found, ReadAnswer, ReadRequest } from './reader-worker.js';

/** What could not be read, with the code of the package's error. */
export class ReadError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

type Last = Exclude<ReadAnswer, { kind: 'items' }>;

export class Reader {
  #worker: Worker | undefined;
  #last = 0;
  readonly #waiting = new Map<number, { items: unknown[]; resolve: (last: Last) => void }>();

  /** A benchmark or a report, whichever it is. @throws ReadError */
  async read(fileName: string, bytes: ArrayBuffer): Promise<Found> {
    const id = ++this.#last;
    const items: unknown[] = [];
    const answer = await new Promise<Last>((resolve) => {
      this.#waiting.set(id, { items, resolve });
      const request: ReadRequest = { id, fileName, bytes };
      this.#started().postMessage(request, [bytes]);
    });
    if (answer.kind === 'failed') throw new ReadError(answer.code, answer.message);
    const found = answer.kind === 'report' ? answer.report : answer.benchmark;
    return { ...answer, [answer.kind]: { ...found, items } } as Found;
  }

  #started(): Worker {
    if (this.#worker) return this.#worker;
    const worker = (this.#worker = new Worker(new URL('./reader-worker.js', import.meta.url), { type: 'module' }));
    worker.onmessage = ({ data }: MessageEvent<ReadAnswer>) => {
      const waiting = this.#waiting.get(data.id);
      if (data.kind === 'items') {
        for (const item of data.items) waiting?.items.push(item);
        return;
      }
      waiting?.resolve(data);
      this.#waiting.delete(data.id);
    };
    worker.onerror = ({ message }) => {
      this.#worker = undefined;
      worker.terminate();
      for (const [id, { resolve }] of this.#waiting)
        resolve({ id, kind: 'failed', code: 'E_INTERNAL', message: message || 'the reader of files has failed' });
      this.#waiting.clear();
    };
    return worker;
  }
}
