// What Jinja's operators do with Python's values: arithmetic, membership, attributes and items, slices.

import { methodOf } from './methods.js';
import { rare } from './rare.js';
import {
  compare,
  cut,
  Dict,
  Float,
  Fn,
  isEqual,
  iterate,
  join,
  keyOf,
  type Keywords,
  lengthOf,
  List,
  meter,
  numberOf,
  own,
  PythonError,
  repr,
  rewrite,
  Str,
  text,
  Thing,
  typeOf,
  Undefined,
  type Value,
  View,
} from './values.js';

const HTML: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&#39;', '"': '&#34;' };

/** As Markup, which is what escaping gives. */
export function escapeHtml(value: Str): Str {
  if (value.isMarkup) return value;
  const { s, u } = rewrite(value, /[&<>'"]/g, (letter) => HTML[letter] ?? letter);
  return new Str(s, u, true);
}

export function concatenate(parts: readonly Str[]): Str {
  if (!parts.some((part) => part.isMarkup)) return join(parts);
  const { s, u } = join(parts.map(escapeHtml));
  return new Str(s, u, true);
}

/** `~`: everything as plain text. */
export const tilde = (values: readonly Value[]): Str => join(values.map(text));

export function binary(operator: string, a: Value, b: Value): Value {
  meter.spend(1);
  for (const value of [a, b]) if (value instanceof Undefined) throw new PythonError(value.why);
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined && y !== undefined) return arithmetic(operator, x, y, a instanceof Float || b instanceof Float);
  if (operator === '+') return add(a, b);
  if (operator === '%' && a instanceof Str) return rare().printf(a, b);
  if (operator === '*') {
    const [items, n] = typeof b === 'number' || typeof b === 'boolean' ? [a, y] : [b, x];
    const isWhole = typeof (items === a ? b : a) !== 'object';
    if (isWhole && n !== undefined && (items instanceof Str || items instanceof List))
      return repeat(items, Math.max(0, n));
  }
  if (operator === '*' && (a instanceof Str || a instanceof List || b instanceof Str || b instanceof List)) {
    const by = a instanceof Str || a instanceof List ? b : a;
    throw new PythonError(`can't multiply sequence by non-int of type '${typeOf(by)}'`);
  }
  const name = operator === '**' ? '** or pow()' : operator;
  throw new PythonError(`unsupported operand type(s) for ${name}: '${typeOf(a)}' and '${typeOf(b)}'`);
}

function add(a: Value, b: Value): Value {
  if (a instanceof Str) {
    if (b instanceof Str) return concatenate([a, b]);
    throw new PythonError(`can only concatenate str (not "${typeOf(b)}") to str`);
  }
  if (a instanceof List) {
    if (b instanceof List && a.isTuple === b.isTuple) return new List([...a.items, ...b.items], a.isTuple);
    throw new PythonError(`can only concatenate ${typeOf(a)} (not "${typeOf(b)}") to ${typeOf(a)}`);
  }
  throw new PythonError(`unsupported operand type(s) for +: '${typeOf(a)}' and '${typeOf(b)}'`);
}

function repeat(value: Str | List, n: number): Value {
  if (value instanceof Str) {
    meter.text(value.s.length * n);
    return new Str(value.s.repeat(n), value.u.repeat(n), value.isMarkup);
  }
  meter.spend(value.items.length * n);
  return new List(Array.from({ length: n }, () => value.items).flat(), value.isTuple);
}

function arithmetic(operator: string, x: number, y: number, isFloat: boolean): Value {
  if (y === 0 && (operator === '/' || operator === '//' || operator === '%'))
    throw new PythonError(byZero(operator, isFloat));
  const results: Record<string, () => number> = {
    '+': () => x + y,
    '-': () => x - y,
    '*': () => x * y,
    '/': () => x / y,
    '//': () => Math.floor(x / y),
    '%': () => x - y * Math.floor(x / y),
    '**': () => x ** y,
  };
  const result = results[operator]?.() ?? 0;
  return isFloat || operator === '/' || (operator === '**' && y < 0) ? new Float(result) : result;
}

/** As Python 3.11 says it. */
function byZero(operator: string, isFloat: boolean): string {
  if (operator === '/') return isFloat ? 'float division by zero' : 'division by zero';
  if (operator === '%') return isFloat ? 'float modulo' : 'integer modulo by zero';
  return isFloat ? 'float floor division by zero' : 'integer division or modulo by zero';
}

export function negate(value: Value, sign: '+' | '-'): Value {
  if (value instanceof Undefined) throw new PythonError(value.why);
  const number = numberOf(value);
  if (number === undefined) throw new PythonError(`bad operand type for unary ${sign}: '${typeOf(value)}'`);
  const result = sign === '-' ? -number : number;
  return value instanceof Float ? new Float(result) : result + 0;
}

/** `==` and its kin, `in` and `not in`. */
export function isSo(operator: string, a: Value, b: Value): boolean {
  switch (operator) {
    case '==':
      return isEqual(a, b);
    case '!=':
      return !isEqual(a, b);
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
    default: {
      const order = compare(a, b, operator);
      if (operator === '<') return order < 0;
      if (operator === '>') return order > 0;
      return operator === '<=' ? order <= 0 : order >= 0;
    }
  }
}

export function contains(container: Value, item: Value): boolean {
  meter.spend(1);
  if (container instanceof Str) {
    meter.scan(container.s.length);
    if (item instanceof Str) return container.s.includes(item.s);
    if (item instanceof Undefined)
      throw new PythonError(`'in <string>' requires string as left operand, not Undefined`);
    throw new PythonError(`'in <string>' requires string as left operand, not ${typeOf(item)}`);
  }
  if (container instanceof Dict) return container.entries.has(keyOf(item));
  if (numberOf(container) !== undefined || container === null || container instanceof Fn)
    throw new PythonError(`argument of type '${typeOf(container)}' is not iterable`);
  for (const other of iterate(container)) if (isEqual(other, item)) return true;
  return false;
}

const objectName = (value: Value): string => (value === null ? 'None' : `${typeOf(value)} object`);

/** `value.name`: Python's attribute first, then the item. */
export function getAttribute(value: Value, name: string): Value {
  meter.spend(1);
  if (value instanceof Undefined) throw new PythonError(value.why);
  let found = attributeOf(value, name);
  if (found === undefined && value instanceof Dict) found = value.get(own(name));
  return found === undefined ? new Undefined(`'${objectName(value)}' has no attribute '${name}'`) : found;
}

function attributeOf(value: Value, name: string): Value | undefined {
  return value instanceof Thing ? value.get(name) : methodOf(value, name);
}

/** `value[key]`: the item first, then Python's attribute. */
export function getItem(value: Value, key: Value): Value {
  meter.spend(1);
  if (value instanceof Undefined) throw new PythonError(value.why);
  if (value instanceof Dict) {
    const item = key instanceof Undefined || isHashable(key) ? value.get(key) : undefined;
    if (item !== undefined) return item;
  }
  const at = typeof key === 'boolean' ? Number(key) : key;
  if (typeof at === 'number') {
    const length = value instanceof Str || hasPlaces(value) ? lengthOf(value) : 0;
    const place = at < 0 ? at + length : at;
    if (hasPlaces(value) && value.items[place] !== undefined) return value.items[place];
    if (value instanceof Str && place >= 0 && place < length) return sliceText(value, place, place + 1, 1);
  }
  if (key instanceof Str) {
    const found = attributeOf(value, key.s);
    return found === undefined ? new Undefined(`'${objectName(value)}' has no attribute ${repr(key).s}`) : found;
  }
  return new Undefined(`${objectName(value)} has no element ${repr(key).s}`);
}

const hasPlaces = (value: Value): value is List | View =>
  value instanceof List || (value instanceof View && value.type === 'range');

function isHashable(key: Value): boolean {
  return !(key instanceof Dict) && !(key instanceof List && !key.isTuple);
}

/** `value[start:stop:step]`. */
export function slice(value: Value, bounds: readonly Value[]): Value {
  if (value instanceof Undefined) throw new PythonError(value.why);
  const [start, stop, step] = bounds.map((bound) => {
    if (bound === null) return undefined;
    if (typeof bound === 'number' || typeof bound === 'boolean') return Number(bound);
    throw new PythonError('slice indices must be integers or None or have an __index__ method');
  });
  if (value instanceof Dict) throw new PythonError("unhashable type: 'slice'");
  if (!(value instanceof Str) && !hasPlaces(value))
    throw new PythonError(`'${typeOf(value)}' object is not subscriptable`);
  const by = step ?? 1;
  if (by === 0) throw new PythonError('slice step cannot be zero');
  const length = lengthOf(value);
  const [least, most] = by > 0 ? [0, length] : [-1, length - 1];
  const clamp = (bound: number | undefined, other: number): number =>
    bound === undefined ? other : Math.min(Math.max(bound < 0 ? bound + length : bound, least), most);
  const from = clamp(start, by > 0 ? 0 : length - 1);
  const to = clamp(stop, by > 0 ? length : -1);
  if (value instanceof Str) return sliceText(value, from, to, by);
  const items: Value[] = [];
  for (let i = from; by > 0 ? i < to : i > to; i += by) items.push(value.items[i] as Value);
  return value instanceof View ? rangeOf(value, items, by) : new List(items, value.isTuple);
}

/** A part of a range is a range. */
function rangeOf(whole: View, items: Value[], by: number): View {
  const step = by * (Number(whole.items[1] ?? 1) - Number(whole.items[0] ?? 0));
  const from = Number(items[0] ?? 0);
  return new View('range', items, `range(${from}, ${from + step * items.length}${step === 1 ? '' : `, ${step}`})`);
}

/** By code points. */
export function sliceText(value: Str, from: number, to: number, by: number): Str {
  const isPlain = !/[\ud800-\udbff]/.test(value.s);
  if (isPlain && by === 1) return cut(value, from, Math.max(from, to));
  const points = Array.from(value.s);
  const offsets = [0];
  for (const point of points) offsets.push((offsets.at(-1) ?? 0) + point.length);
  if (by === 1) return cut(value, offsets[from] ?? 0, offsets[Math.max(from, to)] ?? 0);
  const letters: Str[] = [];
  for (let i = from; by > 0 ? i < to : i > to; i += by) letters.push(cut(value, offsets[i] ?? 0, offsets[i + 1]));
  return join(letters);
}

/** Calls what can be called. */
export function callValue(value: Value, args: Value[], keywords: Keywords): Value {
  meter.spend(1);
  if (value instanceof Undefined) throw new PythonError(value.why);
  const call = value instanceof Fn || value instanceof Thing ? value.call : undefined;
  if (!call) throw new PythonError(`'${typeOf(value)}' object is not callable`);
  return call(args, keywords);
}
