// The values of a template: Python's, as far as Jinja shows them. Numbers are ints, `Float` is a float; text knows, character by
// character, what came from outside the template.
//
//   Str  s "<|user|>Hi <|user|>"
//        u "000000000111111111111"     0: the template's, 1: data's
//
// Rendering is one synchronous run, so its meter is one for the module.

/** What a template does wrong, in Python's words. */
export class PythonError extends Error {}
/** What a template says by `raise_exception`. */
export class Raised extends Error {}
/** A limit of ours. */
export class LimitError extends Error {}

/** Counts the work of a run: steps, items of lists, characters. */
export const meter = {
  steps: 0,
  maxSteps: 0,
  maxChars: 0,
  start(maxSteps: number, maxChars: number): void {
    Object.assign(this, { steps: 0, maxSteps, maxChars });
  },
  spend(steps: number): void {
    if ((this.steps += steps) > this.maxSteps) throw new LimitError(`it took more than ${this.maxSteps} steps`);
  },
  /** For a text about to be made. Putting texts together copies nothing. */
  text(chars: number): void {
    if (chars > this.maxChars)
      throw new LimitError(`a text of ${chars} characters is over the limit of ${this.maxChars}`);
    this.spend(1 + (chars >> 8));
  },
  /** For a text about to be gone through, which makes one piece of it. */
  scan(chars: number): void {
    this.spend(chars >> 5);
  },
};

export class Str {
  readonly s: string;
  readonly u: string;
  /** Jinja's Markup: what is added to it is escaped for HTML. */
  readonly isMarkup: boolean;
  constructor(s: string, u: string, isMarkup = false) {
    meter.text(s.length);
    this.s = s;
    this.u = u;
    this.isMarkup = isMarkup;
  }
}
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}
/** A list or a tuple. */
export class List {
  readonly items: Value[];
  readonly isTuple: boolean;
  constructor(items: Value[], isTuple = false) {
    meter.spend(items.length);
    this.items = items;
    this.isTuple = isTuple;
  }
}
export class Dict {
  /** By `keyOf` the key. */
  readonly entries = new Map<string, [key: Value, value: Value]>();
  constructor(entries: Iterable<[Value, Value]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }
  get(key: Value): Value | undefined {
    return this.entries.get(keyOf(key))?.[1];
  }
  set(key: Value, value: Value): void {
    meter.spend(1);
    const old = this.entries.get(keyOf(key));
    if (old) old[1] = value;
    else this.entries.set(keyOf(key), [key, value]);
  }
}
/** A view of a dict, or a range. */
export class View {
  readonly type: string;
  readonly items: Value[];
  /** How it is printed, if not by its items. */
  readonly shown: string | undefined;
  constructor(type: string, items: Value[], shown?: string) {
    meter.spend(items.length);
    this.type = type;
    this.items = items;
    this.shown = shown;
  }
}
/** What can be gone through once. */
export class Lazy {
  readonly type: string;
  readonly iterator: IterableIterator<Value>;
  constructor(iterator: IterableIterator<Value>, type = 'generator') {
    this.type = type;
    this.iterator = iterator;
  }
}
/** What is not there. Only printing, testing and going through it works. */
export class Undefined {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}
export type Keywords = ReadonlyMap<string, Value>;
export class Fn {
  readonly type: string;
  readonly call: (args: Value[], keywords: Keywords) => Value;
  constructor(type: string, call: Fn['call']) {
    this.type = type;
    this.call = call;
  }
}
/** A thing with attributes: `loop`, a namespace. */
export class Thing {
  readonly type: string;
  readonly get: (name: string) => Value | undefined;
  readonly call: Fn['call'] | undefined;
  /** Of a namespace. */
  readonly fields: Map<string, Value> | undefined;
  constructor(type: string, get: Thing['get'], more: { call?: Fn['call']; fields?: Map<string, Value> } = {}) {
    this.type = type;
    this.get = get;
    this.call = more.call;
    this.fields = more.fields;
  }
}
export type Value = null | boolean | number | Float | Str | List | Dict | View | Lazy | Undefined | Fn | Thing;

/** Text of the template. */
export const own = (s: string): Str => new Str(s, '0'.repeat(s.length));
/** A part of a text, by code units. */
export const cut = (text: Str, from: number, to = text.s.length): Str =>
  new Str(text.s.slice(from, to), text.u.slice(from, to), text.isMarkup);
/** New letters for a text: of the template only if all of it was. */
export function like(text: Str, s: string): Str {
  meter.scan(s.length);
  const mark = text.u.includes('1') ? '1' : '0';
  return new Str(s, s.length === text.s.length ? text.u : mark.repeat(s.length), text.isMarkup);
}

/** A text with everything that `pattern` finds written otherwise. */
export function rewrite(text: Str, pattern: RegExp, to: (found: string) => string): Str {
  let [s, u, at] = ['', '', 0];
  meter.scan(text.s.length);
  for (const { 0: found, index = 0 } of text.s.matchAll(pattern)) {
    const other = to(found);
    const mark = text.u.slice(index, index + found.length).includes('1') ? '1' : '0';
    s += text.s.slice(at, index) + other;
    u += text.u.slice(at, index) + mark.repeat(other.length);
    at = index + found.length;
    meter.spend(1);
  }
  return at === 0 ? text : new Str(s + text.s.slice(at), u + text.u.slice(at), text.isMarkup);
}

export function join(texts: readonly Str[], between = own('')): Str {
  let [s, u] = ['', ''];
  for (const [i, text] of texts.entries()) {
    if (i > 0) {
      s += between.s;
      u += between.u;
    }
    s += text.s;
    u += text.u;
    meter.spend(1);
    if (s.length > meter.maxChars) break;
  }
  return new Str(s, u);
}

/** Plain data from outside as a value. `isOwn`: whether the string at a path of keys counts as the template's. */
export function fromData(
  data: unknown,
  isOwn: (path: readonly string[]) => boolean = () => false,
  path: readonly string[] = [],
): Value {
  if (typeof data === 'string') return isOwn(path) ? own(data) : new Str(data, '1'.repeat(data.length));
  if (typeof data === 'number') return Number.isInteger(data) ? data : new Float(data);
  if (typeof data === 'boolean') return data;
  if (typeof data === 'bigint') return Number(data);
  if (Array.isArray(data)) return new List(data.map((item) => fromData(item, isOwn, path)));
  if (typeof data !== 'object' || data === null) return null;
  const entries = Object.entries(data).filter(([, item]) => item !== undefined);
  return new Dict(
    entries.map(([key, item]) => [new Str(key, '1'.repeat(key.length)), fromData(item, isOwn, [...path, key])]),
  );
}

export function typeOf(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return 'int';
  if (value instanceof Float) return 'float';
  if (value instanceof Str) return value.isMarkup ? 'Markup' : 'str';
  if (value instanceof List) return value.isTuple ? 'tuple' : 'list';
  if (value instanceof Dict) return 'dict';
  if (value instanceof Undefined) return 'Undefined';
  return value.type;
}

/** The value of what counts as a number. */
export function numberOf(value: Value): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return Number(value);
  return value instanceof Float ? value.value : undefined;
}

export function isTrue(value: Value): boolean {
  const number = numberOf(value);
  if (number !== undefined) return number !== 0;
  if (value === null || value instanceof Undefined) return false;
  if (value instanceof Str) return value.s !== '';
  if (value instanceof Dict) return value.entries.size > 0;
  return value instanceof List || value instanceof View ? value.items.length > 0 : true;
}

/** Equal keys of dicts and equal values of sets have the same. */
export function keyOf(value: Value): string {
  if (value instanceof Str) {
    meter.scan(value.s.length);
    return `s${value.s}`;
  }
  const number = numberOf(value);
  if (number !== undefined) return `n${number}`;
  if (value === null) return 'None';
  if (value instanceof Undefined) return 'undefined';
  if (value instanceof List && value.isTuple) return `t${JSON.stringify(value.items.map(keyOf))}`;
  throw new PythonError(`unhashable type: '${typeOf(value)}'`);
}

export function isEqual(a: Value, b: Value): boolean {
  meter.spend(1);
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined || y !== undefined) return x === y;
  if (a instanceof Str && b instanceof Str) {
    if (a.s.length !== b.s.length) return false;
    meter.scan(a.s.length);
    return a.s === b.s;
  }
  if (a instanceof List && b instanceof List)
    return (
      a.isTuple === b.isTuple &&
      a.items.length === b.items.length &&
      a.items.every((item, i) => isEqual(item, b.items[i] as Value))
    );
  if (a instanceof Dict && b instanceof Dict)
    return (
      a.entries.size === b.entries.size &&
      [...a.entries.values()].every(([key, item]) => {
        const other = b.get(key);
        return other !== undefined && isEqual(item, other);
      })
    );
  return a === b || (a instanceof Undefined && b instanceof Undefined);
}

/** Python's order: below 0, 0 or above. */
export function compare(a: Value, b: Value, operator = '<'): number {
  meter.spend(1);
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined && y !== undefined) return x - y;
  if (a instanceof Str && b instanceof Str) return compareText(a.s, b.s);
  if (a instanceof List && b instanceof List && a.isTuple === b.isTuple) {
    for (const [i, item] of a.items.entries()) {
      const other = b.items[i];
      if (other === undefined) return 1;
      if (!isEqual(item, other)) return compare(item, other, operator);
    }
    return a.items.length - b.items.length;
  }
  for (const value of [a, b]) if (value instanceof Undefined) throw new PythonError(value.why);
  throw new PythonError(`'${operator}' not supported between instances of '${typeOf(a)}' and '${typeOf(b)}'`);
}

/** By code points, where `<` goes by code units. */
function compareText(a: string, b: string): number {
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  const [x, y] = [a.codePointAt(i) ?? -1, b.codePointAt(i) ?? -1];
  return x - y;
}

/** The items of what can be gone through. */
export function* iterate(value: Value): IterableIterator<Value> {
  if (value instanceof List || value instanceof View) yield* value.items;
  else if (value instanceof Dict) for (const [key] of value.entries.values()) yield key;
  else if (value instanceof Str) yield* characters(text(value));
  else if (value instanceof Lazy) yield* value.iterator;
  else if (value instanceof Thing && value.type === 'LoopContext') throw new PythonError('a loop cannot be iterated');
  else if (!(value instanceof Undefined)) throw new PythonError(`'${typeOf(value)}' object is not iterable`);
}

export function listOf(value: Value): Value[] {
  const items: Value[] = [];
  for (const item of iterate(value)) {
    meter.spend(1);
    items.push(item);
  }
  return items;
}

export function characters(text: Str): Str[] {
  let at = 0;
  return Array.from(text.s, (point) => cut(text, at, (at += point.length)));
}

export function lengthOf(value: Value): number {
  if (value instanceof Str) {
    meter.scan(value.s.length);
    return value.s.length - (value.s.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
  }
  if (value instanceof List || value instanceof View) return value.items.length;
  if (value instanceof Dict) return value.entries.size;
  if (value instanceof Undefined) return 0;
  throw new PythonError(`object of type '${typeOf(value)}' has no len()`);
}

/** Python's `str`: what printing shows. */
export function text(value: Value): Str {
  if (value instanceof Str) return value.isMarkup ? new Str(value.s, value.u) : value;
  if (value instanceof Undefined) return own('');
  return repr(value);
}

/** Python's `repr`. */
export function repr(value: Value): Str {
  meter.spend(1);
  if (value instanceof Str) {
    const quote = value.s.includes("'") && !value.s.includes('"') ? '"' : "'";
    const inner = rewrite(value, /[\\'"]|(?! )[\p{C}\p{Z}]/gu, (letter) => escapeLetter(letter, quote));
    const quoted = join([own(quote), inner, own(quote)]);
    return value.isMarkup ? join([own('Markup('), quoted, own(')')]) : quoted;
  }
  if (value instanceof List) {
    const items = join(value.items.map(repr), own(', '));
    if (!value.isTuple) return join([own('['), items, own(']')]);
    return join([own('('), items, own(value.items.length === 1 ? ',)' : ')')]);
  }
  if (value instanceof Dict) {
    const items = [...value.entries.values()].map(([key, item]) => join([repr(key), own(': '), repr(item)]));
    return join([own('{'), join(items, own(', ')), own('}')]);
  }
  if (value instanceof Thing && value.fields)
    return join([
      own(`<${value.type} `),
      repr(new Dict([...value.fields].map(([key, item]) => [own(key), item]))),
      own('>'),
    ]);
  if (value instanceof View && value.shown === undefined)
    return join([own(`${value.type}(`), repr(new List(value.items)), own(')')]);
  return own(shortRepr(value));
}

function escapeLetter(letter: string, quote: string): string {
  const short = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' }[letter];
  if (short !== undefined || letter === quote) return short ?? `\\${letter}`;
  if (letter === "'" || letter === '"') return letter;
  const code = letter.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

function shortRepr(value: Value): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : BigInt(value).toString();
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof View && value.shown !== undefined) return value.shown;
  return `<${typeOf(value)} object>`;
}

/** Python writes an exponent below 1e-4 and from 1e16 on. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [digits = '', exponent = '0'] = value.toExponential().split('e');
  const size = Number(exponent);
  if (size < -4 || size >= 16) return `${digits}e${size < 0 ? '-' : '+'}${String(Math.abs(size)).padStart(2, '0')}`;
  const plain = size < 0 ? value.toFixed(Math.min(100, digits.replace(/[-.]/g, '').length - 1 - size)) : String(value);
  return plain.includes('.') ? plain : `${plain}.0`;
}

export class Scope {
  readonly #values = new Map<string, Value>();
  readonly #outer: Scope | undefined;

  constructor(outer?: Scope) {
    this.#outer = outer;
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }

  lookUp(name: string): Value {
    const found = this.#values.get(name);
    if (found !== undefined) return found;
    return this.#outer ? this.#outer.lookUp(name) : new Undefined(`'${name}' is undefined`);
  }
}
