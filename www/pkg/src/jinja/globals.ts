// The functions that a chat template finds: Jinja's, and Hugging Face's `raise_exception` and `strftime_now`, which is Python's strftime
// in the C locale; fields that depend on a time zone's name stay as they are.

import { setField } from './parser.js';
import { rare } from './rare.js';
import {
  Dict,
  Fn,
  type Keywords,
  LimitError,
  listOf,
  own,
  PythonError,
  Raised,
  text,
  Thing,
  typeOf,
  type Value,
  View,
} from './values.js';

/** As in Jinja's sandbox. */
const MAX_RANGE = 100_000;

export function globals(now: Date): [name: string, value: Value][] {
  const functions: [string, Fn['call']][] = [
    ['range', range],
    ['joiner', (args, keywords) => rare().joiner(args, keywords)],
    ['cycler', (args, keywords) => rare().cycler(args, keywords)],
    ['namespace', namespace],
    [
      'raise_exception',
      ([message = null]) => {
        throw new Raised(text(message).s);
      },
    ],
    ['strftime_now', ([format = null]) => own(strftime(text(format).s, now))],
  ];
  const fromkeys = new Fn('method', ([keys = null, value = null]) => new Dict(listOf(keys).map((key) => [key, value])));
  return [
    ...functions.map(([name, call]): [string, Value] => [name, new Fn('function', call)]),
    ['dict', new Thing('TemplateDict', (name) => (name === 'fromkeys' ? fromkeys : undefined), { call: dict })],
  ];
}

function range(args: readonly Value[]): Value {
  const numbers = args.map((arg) => {
    if (typeof arg === 'number' || typeof arg === 'boolean') return Number(arg);
    throw new PythonError(`'${typeOf(arg)}' object cannot be interpreted as an integer`);
  });
  if (numbers.length === 0 || numbers.length > 3)
    throw new PythonError(
      `range expected at ${numbers.length === 0 ? 'least 1 argument' : 'most 3 arguments'}, got ${numbers.length}`,
    );
  const [from = 0, to = 0, by = 1] = numbers.length === 1 ? [0, numbers[0]] : numbers;
  if (by === 0) throw new PythonError('range() arg 3 must not be zero');
  const length = Math.max(0, Math.ceil((to - from) / by));
  if (length > MAX_RANGE)
    throw new LimitError(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`);
  const items = Array.from({ length }, (_, i) => from + i * by);
  return new View('range', items, `range(${from}, ${to}${by === 1 ? '' : `, ${by}`})`);
}

/** `dict(pairs, name=value)`. */
function dict(args: readonly Value[], keywords: Keywords): Dict {
  const result = new Dict();
  const [source] = args;
  if (source instanceof Dict) for (const [key, value] of source.entries.values()) result.set(key, value);
  else if (source !== undefined) {
    for (const [i, pair] of listOf(source).entries()) {
      const [key, value, ...more] = listOf(pair);
      if (key === undefined || value === undefined || more.length > 0)
        throw new PythonError(
          `dictionary update sequence element #${i} has length ${listOf(pair).length}; 2 is required`,
        );
      result.set(key, value);
    }
  }
  for (const [name, value] of keywords) result.set(own(name), value);
  return result;
}

function namespace(args: readonly Value[], keywords: Keywords): Value {
  const fields = new Map<string, Value>();
  for (const [key, value] of dict(args, keywords).entries.values()) setField(fields, text(key).s, value);
  return new Thing('TemplateNamespace', (name) => fields.get(name), { fields });
}

const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');
const MONTHS = 'January February March April May June July August September October November December'.split(' ');
export function strftime(format: string, now: Date): string {
  const [year, month, day] = [now.getFullYear(), now.getMonth(), now.getDate()];
  const [weekday = '', name = ''] = [DAYS[now.getDay()], MONTHS[month]];
  const fields: Record<string, () => string> = {
    Y: () => String(year),
    m: () => padded(month + 1),
    d: () => padded(day),
    H: () => padded(now.getHours()),
    M: () => padded(now.getMinutes()),
    S: () => padded(now.getSeconds()),
    B: () => name,
    b: () => name.slice(0, 3),
    A: () => weekday,
    a: () => weekday.slice(0, 3),
  };
  return format.replace(
    /%(-?[^])/g,
    (whole, field: string) => (fields[field] ?? rare().field(field, now))?.() ?? whole,
  );
}

export const padded = (n: number, width = 2, filler = '0'): string => String(n).padStart(width, filler);
