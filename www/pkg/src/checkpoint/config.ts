// config.json with typed access: a value of the wrong kind is an error that names it, an absent one is undefined. Pure.

import { KingletError } from '../errors.js';
import { isObject, type Json, malformed, show } from './json.js';

const FILE = 'config.json';

/** What a family asks of a config. Of several names the first that is there counts; `null` is as good as absent. */
export class Config {
  readonly #json: Json;

  constructor(json: unknown) {
    if (!isObject(json)) throw malformed(FILE, `is ${show(json)}, expected an object`);
    this.#json = json;
  }

  raw(name: string): unknown {
    return this.#json[name] ?? undefined;
  }

  /** What counts where a key is absent, which is not the same as `null`: transformers fills its own default in. */
  absent<T>(name: string, fallback: T): T | undefined {
    return Object.hasOwn(this.#json, name) ? undefined : fallback;
  }

  /** A part of it. */
  child(name: string): Config | undefined {
    const value = this.raw(name);
    return value === undefined ? undefined : new Config(value);
  }

  /** A whole number ≥ 0. */
  count(...names: string[]): number | undefined {
    return this.#find(names, (value) => Number.isSafeInteger(value) && (value as number) >= 0, 'a whole number');
  }

  number(...names: string[]): number | undefined {
    return this.#find(names, (value) => typeof value === 'number', 'a number');
  }

  bool(name: string): boolean | undefined {
    return this.#find([name], (value) => typeof value === 'boolean', 'true or false');
  }

  string(...names: string[]): string | undefined {
    return this.#find(names, (value) => typeof value === 'string', 'a string');
  }

  numbers(name: string): number[] | undefined {
    return this.#find([name], (value) => Array.isArray(value) && value.every((n) => typeof n === 'number'), 'numbers');
  }

  strings(name: string): string[] | undefined {
    return this.#find([name], (value) => Array.isArray(value) && value.every((n) => typeof n === 'string'), 'strings');
  }

  /** As `count`, but it has to be there, and be > 0. */
  need(...names: string[]): number {
    const value = this.count(...names);
    if (value === undefined || value === 0) throw malformed(FILE, `${names.join(' or ')} is ${show(value ?? null)}`);
    return value;
  }

  needNumber(...names: string[]): number {
    const value = this.number(...names);
    if (value === undefined) throw malformed(FILE, `${names.join(' or ')} is missing`);
    return value;
  }

  /** For what would be computed otherwise than the model was trained: `name` may be absent or one of `values`. */
  only(name: string, ...values: unknown[]): void {
    const value = this.raw(name);
    if (value !== undefined && !values.includes(value))
      throw unsupportedArch(
        `${FILE}: ${name} is ${show(value)}, which is not supported (${values.map(show).join(', ')})`,
      );
  }

  #find<T>(names: string[], is: (value: unknown) => boolean, kind: string): T | undefined {
    for (const name of names) {
      const value = this.raw(name);
      if (value === undefined) continue;
      if (!is(value)) throw malformed(FILE, `${name} is ${show(value)}, expected ${kind}`);
      return value as T;
    }
    return undefined;
  }
}

export function unsupportedArch(what: string): KingletError {
  return new KingletError('E_UNSUPPORTED_ARCH', what);
}
