// Numbers to text, as Python's printf and `format` write them, and back; a part of rare.ts.

import { concatenate, getItem, sliceText } from './operators.js';
import {
  cut,
  Dict,
  join,
  lengthOf,
  List,
  meter,
  numberOf,
  own,
  PythonError,
  repr,
  Str,
  text,
  typeOf,
  type Value,
} from './values.js';

/** `"%s" % value`. */
export function printf(format: Str, values: Value): Str {
  const list = values instanceof List && values.isTuple ? values.items : [values];
  const pattern = /%(?:\(([^)%]*)\))?([-+ #0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g;
  const parts: Str[] = [];
  let [at, next] = [0, 0];
  for (const found of format.s.matchAll(pattern)) {
    const [whole, key, flags = '', width = '', precision, type = 's'] = found;
    parts.push(cut(format, at, found.index));
    at = found.index + whole.length;
    if (type === '%') {
      parts.push(own('%'));
      continue;
    }
    const value = key === undefined ? list[next++] : getItem(values, own(key));
    if (value === undefined) throw new PythonError('not enough arguments for format string');
    parts.push(pad(printed(value, type, precision, flags), Number(width), flags));
  }
  if (next < list.length && !(values instanceof Dict || (values instanceof List && !values.isTuple)))
    throw new PythonError('not all arguments converted during string formatting');
  return concatenate([...parts, cut(format, at)]);
}

function printed(value: Value, type: string, precision: string | undefined, flags: string): Str {
  if (type === 's' || type === 'r' || type === 'a') {
    const shown = type === 's' ? text(value) : repr(value);
    return precision === undefined ? shown : sliceText(shown, 0, Math.min(lengthOf(shown), Number(precision)), 1);
  }
  const number = numberOf(value);
  if (number === undefined) throw new PythonError(`%${type} format: a real number is required, not ${typeOf(value)}`);
  const sign = number >= 0 && flags.includes('+') ? '+' : number >= 0 && flags.includes(' ') ? ' ' : '';
  const kind = type === 'i' || type === 'u' ? 'd' : type;
  return own(
    sign +
      formatNumber(
        kind === 'd' ? Math.trunc(number) : number,
        kind,
        precision === undefined ? undefined : Number(precision),
      ),
  );
}

function pad(value: Str, width: number, flags: string): Str {
  const missing = Math.max(0, width - lengthOf(value));
  meter.text(missing);
  if (flags.includes('-')) return join([value, own(' '.repeat(missing))]);
  if (!flags.includes('0')) return join([own(' '.repeat(missing)), value]);
  const signs = /^[-+ ]?/.exec(value.s)?.[0].length ?? 0;
  return join([cut(value, 0, signs), own('0'.repeat(missing)), cut(value, signs)]);
}

const FIXED = 6;

/** `type`: d, f, F, e, E, g, G, x, X, o, b, %, n or nothing. */
export function formatNumber(value: number, type: string, precision?: number): string {
  const whole = (base: number): string => {
    if (!Number.isInteger(value)) throw new PythonError(`Unknown format code '${type}' for object of type 'float'`);
    return value.toString(base);
  };
  const digits = Math.min(precision ?? FIXED, 100);
  switch (type) {
    case 'd':
    case 'n':
      return whole(10);
    case 'x':
      return whole(16);
    case 'X':
      return whole(16).toUpperCase();
    case 'o':
      return whole(8);
    case 'b':
      return whole(2);
    case 'f':
    case 'F':
      return fixed(value, digits);
    case '%':
      return `${fixed(value * 100, digits)}%`;
    case 'e':
    case 'E': {
      const written = value.toExponential(digits).replace(/e([+-])(\d)$/, 'e$10$2');
      return type === 'E' ? written.toUpperCase() : written;
    }
    case 'g':
    case 'G':
      return general(value, Math.max(1, digits));
    default:
      throw new PythonError(`Unknown format code '${type}' for object of type 'float'`);
  }
}

/** As toFixed, with halves to the even digit, and without an exponent from 1e21 on. */
function fixed(value: number, digits: number): string {
  if (Math.abs(value) >= 1e21) return `${BigInt(value)}${digits > 0 ? `.${'0'.repeat(digits)}` : ''}`;
  const rounded = value.toFixed(digits);
  const isHalf = digits < 50 && /^50*$/.test(value.toFixed(100).slice((digits > 0 ? digits - 100 : -100) || undefined));
  if (!isHalf || Number(rounded.at(-1)) % 2 === 0) return rounded;
  const less = value.toFixed(100).slice(0, digits > 0 ? digits - 100 : -101);
  return less;
}

function general(value: number, digits: number): string {
  if (value === 0) return '0';
  const exponent = Number(value.toExponential(digits - 1).split('e')[1]);
  const plain = exponent >= -4 && exponent < digits;
  const [mantissa = '', power = ''] = (
    plain ? value.toFixed(digits - 1 - exponent) : value.toExponential(digits - 1)
  ).split('e');
  const short = mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa;
  return plain ? short : `${short}e${power.replace(/^([+-])(\d)$/, '$10$2')}`;
}

/** Python's `round`: to even at halves, decided on the decimal digits. */
export function round(value: number, digits: number, how: string): number {
  const scale = 10 ** digits;
  if (how === 'ceil') return Math.ceil(value * scale) / scale;
  if (how === 'floor') return Math.floor(value * scale) / scale;
  if (digits >= 0) return Number(fixed(value, Math.min(digits, 100)));
  return Number(fixed(value * scale, 0)) / scale;
}

/** Python's `float` of a text; undefined where it raises. */
export function parseFloatText(written: string): number | undefined {
  const plain = written.trim().replace(/(?<=\d)_(?=\d)/g, '');
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain)) return Number(plain);
  const word = /^([+-]?)(inf(inity)?|nan)$/i.exec(plain);
  if (!word) return undefined;
  return word[2]?.toLowerCase() === 'nan' ? NaN : word[1] === '-' ? -Infinity : Infinity;
}

/** Python's `int` of a text; undefined where it raises. */
export function parseIntText(written: string, base: number): number | undefined {
  const plain = written
    .trim()
    .replace(/(?<=[\da-z])_(?=[\da-z])/gi, '')
    .toLowerCase();
  const prefix = { 2: /^([+-]?)0b/, 8: /^([+-]?)0o/, 16: /^([+-]?)0x/ }[base];
  const digits = prefix ? plain.replace(prefix, '$1') : plain;
  const letters = '0123456789abcdefghijklmnopqrstuvwxyz'.slice(0, base);
  return new RegExp(`^[+-]?[${letters}]+$`).test(digits) ? parseInt(digits, base) : undefined;
}
