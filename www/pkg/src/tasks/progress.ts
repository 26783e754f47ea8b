// How far a call is, for its caller: `done` never falls, `total` never changes, and the last report has both the same.

import type { ItemProgress } from '../types.js';

export class Progress {
  readonly #tell: ((progress: ItemProgress) => void) | undefined;
  readonly #total: number;
  #done = 0;

  /** `total` may be more than there will be to do: `finish` makes up for it. */
  constructor(total: number, tell: ((progress: ItemProgress) => void) | undefined) {
    this.#total = total;
    this.#tell = tell;
    this.#report();
  }

  step(n = 1): void {
    this.#done = Math.min(this.#done + n, this.#total);
    this.#report();
  }

  /** So many are done; fewer than before count for nothing. */
  reach(done: number): void {
    if (done > this.#done) this.step(done - this.#done);
  }

  finish(): void {
    if (this.#done < this.#total) this.step(this.#total);
  }

  #report(): void {
    this.#tell?.({ done: this.#done, total: this.#total });
  }
}
