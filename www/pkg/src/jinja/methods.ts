// The methods of Python's str, list and dict that a sandboxed template may call. Those that would change a list or a dict are
// there and cannot be called, as in Jinja's immutable sandbox.

import { rare, RARE_METHODS } from './rare.js';
import {
  cut,
  Dict,
  Fn,
  isEqual,
  iterate,
  join,
  type Keywords,
  lengthOf,
  like,
  List,
  listOf,
  meter,
  PythonError,
  repr,
  Str,
  typeOf,
  Undefined,
  type Value,
  View,
} from './values.js';

export type Method<T> = (self: T, args: Value[], keywords: Keywords) => Value;

export const SPACE = /[\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const CHANGING: Record<string, string> = {
  list: 'append extend insert pop remove reverse sort clear',
  dict: 'pop popitem clear update setdefault',
};

/** An attribute that Python's type has. */
export function methodOf(value: Value, name: string): Value | undefined {
  const type = typeOf(value);
  if (value instanceof Str) meter.scan(value.s.length);
  const method =
    value instanceof Str
      ? (entry(TEXT, name) ?? (RARE_METHODS.includes(name) ? rare().methods[name] : undefined))
      : value instanceof List
        ? entry(LIST, name)
        : value instanceof Dict
          ? entry(DICT, name)
          : undefined;
  if (method)
    return new Fn('builtin_function_or_method', (args, keywords) => (method as Method<Value>)(value, args, keywords));
  if (CHANGING[type]?.split(' ').includes(name))
    return new Undefined(`access to attribute '${name}' of '${type}' object is unsafe.`);
  return undefined;
}

const entry = <T>(table: Record<string, T>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

/** Arguments by their names; `names` in Python's order. */
export function bind(what: string, names: string, args: readonly Value[], keywords: Keywords): (Value | undefined)[] {
  const list = names.split(' ');
  if (args.length > list.length)
    throw new PythonError(`${what}() takes at most ${list.length} arguments (${args.length} given)`);
  for (const name of keywords.keys())
    if (!list.includes(name)) throw new PythonError(`${what}() got an unexpected keyword argument '${name}'`);
  return list.map((name, i) => (i < args.length ? args[i] : keywords.get(name)));
}

export function textArgument(value: Value | undefined, what: string): Str {
  if (value instanceof Str) return value;
  if (value instanceof Undefined) throw new PythonError(value.why);
  throw new PythonError(`${what} must be str, not ${value === undefined ? 'NoneType' : typeOf(value)}`);
}

export function wholeArgument(value: Value | undefined, other: number): number {
  if (value === undefined) return other;
  if (typeof value === 'number' || typeof value === 'boolean') return Number(value);
  if (value instanceof Undefined) throw new PythonError(value.why);
  throw new PythonError(`'${typeOf(value)}' object cannot be interpreted as an integer`);
}

/** `str.strip` and its halves. */
export function strip(self: Str, letters: Value | undefined, sides: 'both' | 'left' | 'right'): Str {
  const set = letters == null ? undefined : new Set(textArgument(letters, 'strip arg').s);
  const falls = (point: string): boolean => (set ? set.has(point) : SPACE.test(point));
  let [from, to] = [0, self.s.length];
  const at = (i: number): string => String.fromCodePoint(self.s.codePointAt(i) ?? 0);
  const before = (i: number): string =>
    /[\udc00-\udfff]/.test(self.s[i - 1] ?? '') && i > 1 ? at(i - 2) : (self.s[i - 1] ?? '');
  if (sides !== 'right') while (from < to && falls(at(from))) from += at(from).length;
  if (sides !== 'left') while (to > from && falls(before(to))) to -= before(to).length;
  meter.spend(self.s.length - (to - from));
  return cut(self, from, to);
}

export function split(self: Str, args: Value[], keywords: Keywords): Value {
  const [by, most] = bind('split', 'sep maxsplit', args, keywords);
  const limit = wholeArgument(most, -1);
  const parts: Str[] = [];
  let at = 0;
  if (by == null) {
    const word = new RegExp(`(?:(?!${SPACE.source})[^])+`, 'g');
    for (const { 0: found, index = 0 } of self.s.matchAll(word)) {
      if (limit >= 0 && parts.length === limit) {
        parts.push(cut(self, index));
        return new List(parts);
      }
      parts.push(cut(self, index, index + found.length));
    }
    return new List(parts);
  }
  const separator = textArgument(by, 'sep').s;
  if (separator === '') throw new PythonError('empty separator');
  for (
    let next = self.s.indexOf(separator);
    next >= 0 && parts.length !== limit;
    next = self.s.indexOf(separator, at)
  ) {
    parts.push(cut(self, at, next));
    at = next + separator.length;
  }
  return new List([...parts, cut(self, at)]);
}

export function replace(self: Str, old: Str, other: Str, most = -1): Str {
  const parts: Str[] = [];
  let at = 0;
  const step = old.s === '' ? 1 : 0;
  for (let n = 0; n !== most; n++) {
    const next = step ? (n === 0 ? 0 : at + 1) : self.s.indexOf(old.s, at);
    if (next < 0 || next > self.s.length) break;
    parts.push(cut(self, at, next), other);
    at = next + old.s.length;
  }
  return parts.length === 0 ? self : join([...parts, cut(self, at)]);
}

/** `startswith` and `endswith`. */
function edge(self: Str, args: Value[], isIt: 'startsWith' | 'endsWith'): Value {
  const name = isIt.toLowerCase();
  const options = args[0] instanceof List && args[0].isTuple ? args[0].items : [args[0]];
  return options.some((option) => {
    if (option instanceof Str) return self.s[isIt](option.s);
    if (option instanceof Undefined)
      throw new PythonError(`${name} first arg must be str or a tuple of str, not Undefined`);
    throw new PythonError(
      `${name} first arg must be str or a tuple of str, not ${option === undefined ? 'NoneType' : typeOf(option)}`,
    );
  });
}

/** A place by code points. */
const place = (self: Str, unit: number): number => (unit <= 0 ? unit : lengthOf(cut(self, 0, unit)));

function find(self: Str, args: Value[], from: 'indexOf' | 'lastIndexOf', must: boolean): Value {
  const found = place(self, self.s[from](textArgument(args[0], 'argument').s));
  if (must && found < 0) throw new PythonError('substring not found');
  return found;
}

export const cased = (self: Str): boolean => self.s.toLowerCase() !== self.s.toUpperCase();

export const upper = (self: Str): Str => like(self, self.s.toUpperCase());
export const lower = (self: Str): Str => like(self, self.s.toLowerCase());
export function capitalize(self: Str): Str {
  const [first = '', ...rest] = Array.from(self.s);
  return like(self, first.toUpperCase() + rest.join('').toLowerCase());
}
const TEXT: Record<string, Method<Str>> = {
  upper,
  lower,
  capitalize,
  strip: (self, [letters]) => strip(self, letters, 'both'),
  lstrip: (self, [letters]) => strip(self, letters, 'left'),
  rstrip: (self, [letters]) => strip(self, letters, 'right'),
  split,
  replace: (self, args, keywords) => {
    if (args.length < 2) throw new PythonError(`replace expected at least 2 arguments, got ${args.length}`);
    const [old, other, most] = bind('replace', 'old new count', args, keywords);
    return replace(
      self,
      textArgument(old, 'replace() argument 1'),
      textArgument(other, 'replace() argument 2'),
      wholeArgument(most, -1),
    );
  },
  startswith: (self, args) => edge(self, args, 'startsWith'),
  endswith: (self, args) => edge(self, args, 'endsWith'),
  find: (self, args) => find(self, args, 'indexOf', false),
  rfind: (self, args) => find(self, args, 'lastIndexOf', false),
  index: (self, args) => find(self, args, 'indexOf', true),
  rindex: (self, args) => find(self, args, 'lastIndexOf', true),
  count: (self, [part]) => {
    const what = textArgument(part, 'argument').s;
    return what === '' ? lengthOf(self) + 1 : self.s.split(what).length - 1;
  },
  join: (self, [items]) =>
    join(
      listOf(items ?? null).map((item, i) => {
        if (item instanceof Str) return item;
        throw new PythonError(`sequence item ${i}: expected str instance, ${typeOf(item)} found`);
      }),
      self,
    ),
  isupper: (self) => cased(self) && self.s === self.s.toUpperCase(),
  islower: (self) => cased(self) && self.s === self.s.toLowerCase(),
};

const LIST: Record<string, Method<List>> = {
  index: (self, [item]) => {
    const at = self.items.findIndex((other) => isEqual(other, item ?? null));
    if (at < 0) throw new PythonError(`${repr(item ?? null).s} is not in list`);
    return at;
  },
  count: (self, [item]) => self.items.filter((other) => isEqual(other, item ?? null)).length,
  copy: (self) => new List([...self.items], self.isTuple),
};

const pairs = (self: Dict): Value[] => [...self.entries.values()].map((pair) => new List([...pair], true));
const DICT: Record<string, Method<Dict>> = {
  get: (self, args) => {
    if (args[0] === undefined) throw new PythonError('get expected at least 1 argument, got 0');
    const found = self.get(args[0]);
    return found === undefined ? (args[1] ?? null) : found;
  },
  items: (self) => new View('dict_items', pairs(self)),
  keys: (self) => new View('dict_keys', [...iterate(self)]),
  values: (self) =>
    new View(
      'dict_values',
      [...self.entries.values()].map(([, value]) => value),
    ),
  copy: (self) => new Dict(self.entries.values()),
};
