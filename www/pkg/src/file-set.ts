// The files of a model of which all beginnings are read before any of them is read to its end. Of a URL only the beginning is asked
// for; the first file is read on where its beginning ended. Base of parts.ts and checkpoint/files.ts.

import { isTyped } from './errors.js';
import type { NamedSource } from './protocol.js';
import { openHead, opensAgain, openSource } from './source.js';
import { SourceFile } from './source-file.js';

/** How many beginnings of files are on their way at once. */
const HEADS_AHEAD = 4;
const OUT_OF_RANGE = 416;

export class FileSet {
  readonly #sources: NamedSource[];
  readonly files: SourceFile[];
  /** Where the beginnings come from: the files themselves, or a request of its own for the beginning of one. */
  readonly #heads: SourceFile[];

  constructor(sources: NamedSource[]) {
    this.#sources = sources;
    this.files = sources.map((one) => fileOf(one));
    this.#heads = sources.map(({ name, source }, i) => {
      const whole = this.files[i] as SourceFile;
      return source.kind === 'url' && i > 0 ? new SourceFile({ name }, () => openHead(source), true) : whole;
    });
  }

  /** Begins to read the first file; resolves when its transport has answered. */
  async open(): Promise<void> {
    await this.files[0]?.open();
  }

  /** Whether all can be read from their first bytes, after `rewind`. */
  get canRewind(): boolean {
    return this.files.every((file) => file.canRewind);
  }

  async rewind(): Promise<void> {
    for (const file of this.files) await file.rewind();
  }

  /**
   * What `read` finds at the beginning of file `i`; those of the next ones are asked for. Servers lie about ranges, and a beginning
   * may be longer: whatever goes wrong with one, the file is asked for as a whole.
   */
  async beginning<T>(i: number, read: (file: SourceFile) => Promise<T>): Promise<T> {
    if (i > 0) for (const head of this.#heads.slice(i, i + HEADS_AHEAD)) head.open().catch(() => {});
    const head = this.#heads[i] as SourceFile;
    if (head === this.files[i]) return read(head);
    try {
      return await read(head);
    } catch (thrown) {
      if (!isTyped(thrown)) throw thrown;
      const status = (thrown.details as { status?: number } | undefined)?.status;
      if (status !== undefined && status !== OUT_OF_RANGE) throw thrown;
      await head.close();
      const whole = (this.#heads[i] = fileOf(this.#sources[i] as NamedSource));
      return await read(whole);
    } finally {
      await this.#heads[i]?.close();
    }
  }

  /** Nobody knows how long it takes until it is the others' turn: a connection would not wait for that. */
  async keepOnly(first: SourceFile | undefined): Promise<void> {
    for (const [i, { source }] of this.#sources.entries()) {
      const file = this.files[i];
      if (source.kind !== 'url' || !file || file === first) continue;
      file.forget();
      await file.rewind();
    }
  }
}

const fileOf = (file: NamedSource): SourceFile =>
  new SourceFile(file, () => openSource(file.source), opensAgain(file.source));
