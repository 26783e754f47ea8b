// Reads the headers of a model in several files, so that everything is decided before any weight is fetched. Called by loading.ts.

import type { Engine } from './abi.js';
import { FileSet } from './file-set.js';
import type { NamedSource } from './protocol.js';
import type { SourceFile } from './source-file.js';

export class Parts extends FileSet {
  /** A model in parts whose names were made from one URL, which may not be in parts at all. */
  readonly #siblings: boolean;

  constructor(sources: NamedSource[], siblings: boolean) {
    super(sources);
    this.#siblings = siblings;
  }

  /** Feeds every header; gives the files in the order in which they are to be read. */
  async join(engine: Engine, onFile: (number: number) => void): Promise<SourceFile[]> {
    for (let i = 0; i < this.files.length; i++) {
      onFile(i + 1);
      const count = await this.beginning(i, (file) => feedHeader(engine, file));
      if (i === 0 && count === 1 && this.#siblings) break;
    }
    const order = Array.from(engine.join(), (place) => this.files[place] as SourceFile);
    await this.keepOnly(order[0]);
    return order;
  }
}

async function feedHeader(engine: Engine, file: SourceFile): Promise<number> {
  engine.beginHeader(file.name);
  for await (const chunk of file.read()) {
    const count = engine.feedHeader(chunk);
    if (count !== undefined) return count;
  }
  engine.endHeader();
  return 0;
}
