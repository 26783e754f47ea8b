// Reads the headers of a model in several files, so that everything is decided before any weight is fetched. Of a URL only the
// beginning is asked for; the first file is read on where its header ended. Called by loading.ts.

import type { Engine } from './abi.js';
import { isTyped } from './errors.js';
import type { NamedSource } from './protocol.js';
import { openHead, opensAgain, openSource } from './source.js';
import { SourceFile } from './source-file.js';

/** How many beginnings of files are on their way at once. */
const HEADS_AHEAD = 4;
const OUT_OF_RANGE = 416;

export class Parts {
  readonly #sources: NamedSource[];
  /** A model in parts whose names were made from one URL, which may not be in parts at all. */
  readonly #siblings: boolean;
  readonly files: SourceFile[];
  /** Where the headers come from: the files themselves, or a request of its own for the beginning of one. */
  readonly #heads: SourceFile[];

  constructor(sources: NamedSource[], siblings: boolean) {
    this.#sources = sources;
    this.#siblings = siblings;
    this.files = sources.map((one) => fileOf(one));
    this.#heads = sources.map(({ name, source }, i) => {
      const whole = this.files[i] as SourceFile;
      return source.kind === 'url' && i > 0 ? new SourceFile({ name }, () => openHead(source), true) : whole;
    });
  }

  /** Begins to read the first file. Nothing is known of the length of all. */
  async open(): Promise<undefined> {
    await this.files[0]?.open();
  }

  /** Whether all can be read from their first bytes, after `rewind`. */
  get canRewind(): boolean {
    return this.files.every((file) => file.canRewind);
  }

  async rewind(): Promise<void> {
    for (const file of this.files) await file.rewind();
  }

  /** Feeds every header; gives the files in the order in which they are to be read. */
  async join(engine: Engine, onFile: (number: number) => void): Promise<SourceFile[]> {
    for (let i = 0; i < this.#sources.length; i++) {
      onFile(i + 1);
      if (i > 0) for (const head of this.#heads.slice(i, i + HEADS_AHEAD)) head.open().catch(() => {});
      const count = await this.#header(engine, i);
      if (i === 0 && count === 1 && this.#siblings) break;
    }
    const order = Array.from(engine.join(), (place) => this.files[place] as SourceFile);
    // Nobody knows how long it takes until it is their turn: a connection would not wait for that.
    for (const [i, { source }] of this.#sources.entries()) {
      const file = this.files[i];
      if (source.kind !== 'url' || !file || file === order[0]) continue;
      file.forget();
      await file.rewind();
    }
    return order;
  }

  /** Servers lie about ranges, and a header may be longer: whatever goes wrong with one, the file is asked for as a whole. */
  async #header(engine: Engine, i: number): Promise<number> {
    const head = this.#heads[i] as SourceFile;
    if (head === this.files[i]) return feedHeader(engine, head);
    try {
      return await feedHeader(engine, head);
    } catch (thrown) {
      if (!isTyped(thrown)) throw thrown;
      const status = (thrown.details as { status?: number } | undefined)?.status;
      if (status !== undefined && status !== OUT_OF_RANGE) throw thrown;
      await head.close();
      const whole = (this.#heads[i] = fileOf(this.#sources[i] as NamedSource));
      return await feedHeader(engine, whole);
    } finally {
      await this.#heads[i]?.close();
    }
  }
}

const fileOf = (file: NamedSource): SourceFile =>
  new SourceFile(file, () => openSource(file.source), opensAgain(file.source));

async function feedHeader(engine: Engine, file: SourceFile): Promise<number> {
  engine.beginHeader(file.name);
  for await (const chunk of file.read()) {
    const count = engine.feedHeader(chunk);
    if (count !== undefined) return count;
  }
  engine.endHeader();
  return 0;
}
