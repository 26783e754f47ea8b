// The engine's binaries for the CPU import shared memory. Some pages get none; there the binary is changed, while it is loaded, into one
// that imports memory of its own: one bit of the import. Atomic instructions are as valid on such memory, save `memory.atomic.wait`, which nothing
// reaches where there is one thread. Used by wasm-module.ts.
//
//   section 2 (imports): n × (module name, field name, kind, …)        a memory's limits: flags, minimum, maximum
//                                             └ 2: memory                                 └ bit 0: has a maximum, bit 1: is shared

const IMPORTS = 2;
const MAGIC = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const SHARED = 2;

/**
 * Makes the memory that a module imports unshared, in place. Throws an Error where `bytes` are no module, or one that imports no
 * memory; what else is wrong with it, compiling finds.
 */
export function unshareMemory(bytes: Uint8Array): void {
  if (MAGIC.some((byte, i) => bytes[i] !== byte)) throw new Error('it does not begin as a module does');
  const cursor = new Cursor(bytes, MAGIC.length);
  while (cursor.at < bytes.length) {
    const section = cursor.byte();
    const length = cursor.number();
    if (section === IMPORTS) return unshareIn(cursor);
    cursor.skip(length);
  }
  throw new Error('it has no imports');
}

function unshareIn(cursor: Cursor): void {
  for (let n_left = cursor.number(); n_left > 0; n_left--) {
    cursor.skip(cursor.number()); // the name of the module
    cursor.skip(cursor.number()); // and of the field
    switch (cursor.byte()) {
      case 0: // a function: its type
        cursor.number();
        break;
      case 1: // a table: what it holds, its limits
        cursor.skip(1);
        if (cursor.number() & 1) cursor.number();
        cursor.number();
        break;
      case 2:
        return cursor.clear(SHARED);
      case 3: // a global: its type, whether it changes
        cursor.skip(2);
        break;
      default:
        throw new Error('it has an import of an unknown kind');
    }
  }
  throw new Error('it imports no memory');
}

class Cursor {
  readonly #bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  byte(): number {
    const byte = this.#bytes[this.at++];
    if (byte === undefined) throw new Error('it ends too early');
    return byte;
  }

  /** An unsigned LEB128 of at most 32 bits. */
  number(): number {
    let value = 0;
    for (let factor = 1; factor < 2 ** 35; factor *= 128) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new Error('it has a number of more than 32 bits');
  }

  skip(n_bytes: number): void {
    this.at += n_bytes;
  }

  clear(bits: number): void {
    this.#bytes[this.at] = this.byte() & ~bits;
  }
}
