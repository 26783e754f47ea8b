// What few templates ask for (rare-….ts) is in the larger of the two workers for templates alone: here is where the rest calls it. Of the
// templates of known models, those that need it are named in test/rare.test.ts.

import type { Filter } from './filters.js';
import type { Method } from './methods.js';
import type { Fn, Str, Value } from './values.js';

export interface Rare {
  /** `"%s" % value`. */
  printf(format: Str, values: Value): Str;
  filters: Record<string, Filter>;
  /** Of str. */
  methods: Record<string, Method<Str>>;
  joiner: Fn['call'];
  cycler: Fn['call'];
  ofLoop(name: 'cycle' | 'changed', loop: LoopState): Value;
  /** Of a date, by its letter in a format: what gives its text, where there is such a field. */
  field(letter: string, now: Date): (() => string) | undefined;
}

/** What `loop` keeps for its own functions. */
export interface LoopState {
  index0: number;
  changed: Value | undefined;
}

/** Where there is none of it: the template has to be rendered by the larger worker. Nothing that runs a template may catch it. */
export class NeedsRare extends Error {}

/** The names of the methods. Any name of a filter that is not known may be one of these. */
export const RARE_METHODS =
  'casefold title swapcase rsplit splitlines partition rpartition removeprefix removesuffix ljust rjust center zfill isdigit isdecimal isnumeric isalpha isalnum isspace istitle isidentifier format'.split(
    ' ',
  );

let provided: Rare | undefined;

export function provideRare(all: Rare | undefined): void {
  provided = all;
}

/** @throws NeedsRare where it was not provided. */
export function rare(): Rare {
  if (!provided) throw new NeedsRare();
  return provided;
}
