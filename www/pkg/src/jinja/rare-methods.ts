// Methods of Python's str that few templates call, `format` among them; a part of rare.ts.

import { cased, lower, type Method, SPACE, split, strip, textArgument, wholeArgument, bind } from './methods.js';
import { getAttribute, getItem } from './operators.js';
import { formatNumber } from './rare-numbers.js';
import {
  characters,
  cut,
  Float,
  join,
  type Keywords,
  lengthOf,
  like,
  List,
  meter,
  numberOf,
  own,
  PythonError,
  repr,
  Str,
  text,
  type Value,
} from './values.js';

const LINES = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g;

function splitFromRight(self: Str, args: Value[], keywords: Keywords): Value {
  const [by, most] = bind('rsplit', 'sep maxsplit', args, keywords);
  const limit = wholeArgument(most, -1);
  const all = split(self, by == null ? [] : [by], new Map()) as List;
  if (limit < 0 || all.items.length <= limit + 1) return all;
  const kept = limit === 0 ? [] : (all.items.slice(-limit) as Str[]);
  const gap = by instanceof Str ? by.s.length : 0;
  const tail = kept.reduce((n, part) => n + part.s.length + gap, 0);
  if (by != null) return new List([cut(self, 0, self.s.length - tail), ...kept]);
  const first = kept[0] ? self.s.lastIndexOf(kept.map((part) => part.s)[0] ?? '') : self.s.length;
  return new List([strip(cut(self, 0, first), undefined, 'right'), ...kept]);
}

function partition(self: Str, args: Value[], from: 'indexOf' | 'lastIndexOf'): Value {
  const by = textArgument(args[0], 'sep');
  if (by.s === '') throw new PythonError('empty separator');
  const at = self.s[from](by.s);
  if (at < 0) return new List(from === 'indexOf' ? [self, own(''), own('')] : [own(''), own(''), self], true);
  return new List([cut(self, 0, at), cut(self, at, at + by.s.length), cut(self, at + by.s.length)], true);
}

function fill(self: Str, args: Value[], left: (missing: number) => number): Value {
  const missing = Math.max(0, wholeArgument(args[0], 0) - lengthOf(self));
  meter.text(missing);
  const letter = args[1] === undefined ? own(' ') : textArgument(args[1], 'The fill character');
  const some = (n: number): Str => join(Array.from({ length: n }, () => letter));
  const n_left = left(missing);
  return missing === 0 ? self : join([some(n_left), self, some(missing - n_left)]);
}

/** Whether there are letters and every one is so. */
const all =
  (pattern: RegExp): Method<Str> =>
  (self) =>
    self.s !== '' && characters(self).every((letter) => pattern.test(letter.s));

const title = (self: Str): Str =>
  like(
    self,
    self.s.toLowerCase().replace(/(?<!\p{L})\p{L}/gu, (letter) => letter.toUpperCase()),
  );

export const METHODS: Record<string, Method<Str>> = {
  casefold: lower,
  title,
  swapcase: (self) =>
    like(self, Array.from(self.s, (c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())).join('')),
  rsplit: splitFromRight,
  splitlines: (self, args, keywords) => {
    const keep = bind('splitlines', 'keepends', args, keywords)[0] === true;
    const lines: Str[] = [];
    let at = 0;
    for (const { 0: end, index = 0 } of self.s.matchAll(LINES)) {
      lines.push(cut(self, at, keep ? index + end.length : index));
      at = index + end.length;
    }
    return new List(at < self.s.length ? [...lines, cut(self, at)] : lines);
  },
  partition: (self, args) => partition(self, args, 'indexOf'),
  rpartition: (self, args) => partition(self, args, 'lastIndexOf'),
  removeprefix: (self, [part]) =>
    self.s.startsWith(textArgument(part, 'argument').s) ? cut(self, (part as Str).s.length) : self,
  removesuffix: (self, [part]) =>
    self.s.endsWith(textArgument(part, 'argument').s) ? cut(self, 0, self.s.length - (part as Str).s.length) : self,
  ljust: (self, args) => fill(self, args, () => 0),
  rjust: (self, args) => fill(self, args, (n) => n),
  center: (self, args) => fill(self, args, (n) => (n >> 1) + (n & wholeArgument(args[0], 0) & 1)),
  zfill: (self, args) => {
    const signs = /^[-+]?/.exec(self.s)?.[0].length ?? 0;
    const width = wholeArgument(args[0], 0) - signs;
    return join([cut(self, 0, signs), fill(cut(self, signs), [width, own('0')], (n) => n) as Str]);
  },
  isdigit: all(/^\p{Nd}|[²³¹⁰-⁹₀-₉]$/u),
  isdecimal: all(/^\p{Nd}$/u),
  isnumeric: all(/^\p{N}$/u),
  isalpha: all(/^\p{L}$/u),
  isalnum: all(/^[\p{L}\p{N}]$/u),
  isspace: all(SPACE),
  istitle: (self) => cased(self) && self.s === title(self).s,
  isidentifier: (self) => /^[\p{L}_][\p{L}\p{N}\p{M}_]*$/u.test(self.s),
  format,
};

/** `str.format`. */
function format(self: Str, args: Value[], keywords: Keywords): Value {
  const parts: Str[] = [];
  let [at, next] = [0, 0];
  for (const found of self.s.matchAll(/\{\{|\}\}|\{([^{}!:]*)(?:!([rsa]))?(?::([^{}]*))?\}/g)) {
    const [whole, field = '', conversion, spec = ''] = found;
    parts.push(cut(self, at, found.index));
    at = found.index + whole.length;
    if (whole === '{{' || whole === '}}') {
      parts.push(own(whole[0] ?? ''));
      continue;
    }
    const [, name = '', path = ''] = /^([^.[]*)(.*)$/s.exec(field) ?? [];
    let value = name === '' ? args[next++] : /^\d+$/.test(name) ? args[Number(name)] : keywords.get(name);
    if (value === undefined) {
      if (/^\d*$/.test(name)) throw new PythonError('tuple index out of range');
      throw new PythonError(`'${name}'`);
    }
    for (const step of path.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g)) {
      const key = step[2] ?? '';
      value =
        step[1] !== undefined
          ? getAttribute(value, step[1])
          : getItem(value, /^\d+$/.test(key) ? Number(key) : own(key));
    }
    parts.push(formatted(conversion === 'r' || conversion === 'a' ? repr(value) : value, spec));
  }
  return join([...parts, cut(self, at)]);
}

/** `format(value, spec)`. */
function formatted(value: Value, spec: string): Str {
  if (spec === '') return text(value);
  const found = /^(?:(.)?([<>=^]))?([-+ ]?)#?(0?)(\d*)([,_]?)(?:\.(\d+))?([a-zA-Z%]?)$/su.exec(spec);
  if (!found) throw new PythonError('Invalid format specifier');
  const [, filler, align, sign = '', zero, width = '', group = '', precision, type = ''] = found;
  const number = value instanceof Str ? undefined : numberOf(value);
  let body: Str;
  if (number === undefined) {
    const shown = text(value);
    body = precision === undefined ? shown : join(characters(shown).slice(0, Number(precision)));
  } else {
    const isFloat = value instanceof Float;
    const plain =
      type === '' && precision === undefined
        ? text(value).s
        : formatNumber(
            number,
            type === '' ? (isFloat ? 'g' : 'd') : type,
            precision === undefined ? undefined : Number(precision),
          );
    const grouped = group === '' ? plain : plain.replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, group);
    body = own(number >= 0 && sign !== '-' ? sign + grouped : grouped);
  }
  const side = align ?? (zero ? '=' : number === undefined ? '<' : '>');
  const letter = own(filler ?? (zero || ' '));
  if (side === '=') return METHODS['zfill']?.(body, [Number(width)], new Map()) as Str;
  return fill(body, [Number(width), letter], (n) => (side === '<' ? 0 : side === '>' ? n : n >> 1)) as Str;
}
