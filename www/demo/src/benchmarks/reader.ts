// The page's side of reader-worker.ts.
import type { ReadAnswer, ReadRequest } from './reader-worker.js';

/** What could not be read, with the code of the package's error. */
export class ReadError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class Reader {
  #worker: Worker | undefined;
  #last = 0;
  readonly #waiting = new Map<number, (answer: ReadAnswer) => void>();

  /** A benchmark or a report, whichever it is. @throws ReadError */
  async read(fileName: string, bytes: ArrayBuffer): Promise<Exclude<ReadAnswer, { kind: 'failed' }>> {
    const id = ++this.#last;
    const answer = await new Promise<ReadAnswer>((resolve) => {
      this.#waiting.set(id, resolve);
      const request: ReadRequest = { id, fileName, bytes };
      this.#started().postMessage(request, [bytes]);
    });
    if (answer.kind === 'failed') throw new ReadError(answer.code, answer.message);
    return answer;
  }

  #started(): Worker {
    if (this.#worker) return this.#worker;
    const worker = (this.#worker = new Worker(new URL('./reader-worker.js', import.meta.url), { type: 'module' }));
    worker.onmessage = ({ data }: MessageEvent<ReadAnswer>) => {
      this.#waiting.get(data.id)?.(data);
      this.#waiting.delete(data.id);
    };
    worker.onerror = ({ message }) => {
      this.#worker = undefined;
      worker.terminate();
      for (const [id, resolve] of this.#waiting)
        resolve({ id, kind: 'failed', code: 'E_INTERNAL', message: message || 'the reader of files has failed' });
      this.#waiting.clear();
    };
    return worker;
  }
}
