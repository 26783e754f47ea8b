// A file of a model as loading.ts reads it: what has been read is kept as long as it may be needed again, so that a look at the
// header, or a device that fails its check, costs no second request.

import { KingletError } from './errors.js';
import type { OpenSource } from './source.js';

interface Opened {
  totalBytes: number | undefined;
  chunks: AsyncIterator<Uint8Array>;
  recycle(chunk: Uint8Array): void;
}

export class SourceFile {
  readonly name: string;
  /** Of this file, in hexadecimal. */
  readonly sha256: string | undefined;
  readonly #open: () => Promise<OpenSource>;
  readonly #opensAgain: boolean;
  #opening: Promise<Opened> | undefined;
  /** What has been read, from the first byte on; undefined once it is not kept. */
  #kept: Uint8Array[] | undefined = [];

  constructor(
    { name, sha256 }: { name: string; sha256?: string | undefined },
    open: () => Promise<OpenSource>,
    opensAgain: boolean,
  ) {
    this.name = name;
    this.sha256 = sha256;
    this.#open = open;
    this.#opensAgain = opensAgain;
  }

  /** Begins to read, if it has not begun; resolves to what the transport says of the length. */
  async open(): Promise<number | undefined> {
    return (await this.#opened()).totalBytes;
  }

  /**
   * Every chunk from the first on: those that were kept, and those still to come. Leaving the loop does not end the file. Once
   * nothing is kept, a chunk is there only until the next one is asked for.
   */
  async *read(): AsyncGenerator<Uint8Array> {
    yield* [...(this.#kept ?? [])];
    const { chunks, recycle } = await this.#opened();
    for (;;) {
      const { done, value } = await chunks.next();
      if (done) return;
      this.#kept?.push(value);
      yield value;
      if (!this.#kept) recycle(value);
    }
  }

  /** From here on nothing has to be kept. */
  forget(): void {
    this.#kept = undefined;
  }

  /** Whether `read` can give every byte, after `rewind`. */
  get canRewind(): boolean {
    return this.#kept !== undefined || this.#opensAgain;
  }

  /** Makes `read` begin with the first byte again. */
  async rewind(): Promise<void> {
    if (this.#kept) return;
    await this.close();
    this.#kept = [];
  }

  /** Gives the connection back; what was kept stays. */
  async close(): Promise<void> {
    const opening = this.#opening;
    this.#opening = undefined;
    await opening?.then(({ chunks }) => chunks.return?.()).catch(() => {});
  }

  #opened(): Promise<Opened> {
    if (!this.#opening) {
      this.#opening = this.#open().then(({ totalBytes, chunks, recycle = () => {} }) => ({
        totalBytes,
        chunks: chunks[Symbol.asyncIterator](),
        recycle,
      }));
      this.#opening.catch(() => {}); // whoever reads awaits it
    }
    return this.#opening;
  }
}

/** E_INTEGRITY where a file's checksum is not the promised one. */
export function checkSum(
  { name, sha256 }: { name: string; sha256?: string | undefined },
  actual: string | undefined,
): void {
  if (actual === sha256) return;
  const what = name ? `${name}: its` : "the file's";
  throw new KingletError('E_INTEGRITY', `${what} SHA-256 is ${actual}, not ${sha256}`, {
    details: { expected: sha256, actual, ...(name && { file: name }) },
  });
}
