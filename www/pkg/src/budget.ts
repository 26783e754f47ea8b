// Memory that several engines share: who holds how much of it. Made by the caller; index.ts puts down what each engine takes.

import { KingletError } from './errors.js';

/** A part of a {@link MemoryBudget}. */
export interface MemoryShare {
  /** The model's name, or what the caller said. */
  name: string;
  bytes: number;
}

/**
 * Memory that engines share, each loaded with `Kinglet.load(source, { budget })`. What an engine will take of weights, cache and buffers is
 * put down as soon as the file's header has been read, what it holds (`info.memory`) when it is loaded; and given back when it has ended,
 * however that comes.
 */
export class MemoryBudget {
  readonly bytes: number;
  readonly #shares = new Set<MemoryShare>();

  /** `bytes`: for all of them together. */
  constructor(bytes: number) {
    if (typeof bytes !== 'number') throw new TypeError('bytes must be a number');
    if (!(bytes >= 0)) throw new RangeError(`bytes is ${bytes}, not 0 or more`);
    this.bytes = bytes;
  }

  /** Who holds how much, the oldest first. */
  get shares(): MemoryShare[] {
    return Array.from(this.#shares, (share) => ({ ...share }));
  }

  get usedBytes(): number {
    return this.shares.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Takes a share, for something of the caller's own too; what it returns gives it back.
   *
   * @throws KingletError E_MEMORY where there is not so much left; `details` has `neededBytes`, `budgetBytes`, `usedBytes` and `shares`.
   */
  reserve(name: string, bytes: number): () => void {
    const { usedBytes, shares, bytes: budgetBytes } = this;
    if (!(usedBytes + bytes <= budgetBytes)) {
      const used = shares.map((share) => `${share.name} ${share.bytes}`).join(', ');
      throw new KingletError(
        'E_MEMORY',
        `${name} needs ${bytes} bytes, and ${budgetBytes - usedBytes} of the budget's ${budgetBytes} are left (${used || 'unused'})`,
        { details: { neededBytes: bytes, budgetBytes, usedBytes, shares } },
      );
    }
    const share = { name, bytes };
    this.#shares.add(share);
    return () => void this.#shares.delete(share);
  }
}
