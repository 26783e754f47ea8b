// Filters that few templates use; a part of rare.ts.

import { attributeGetter, type Filter, methodCall, soft, sortKey } from './filters.js';
import { bind, methodOf, textArgument, wholeArgument } from './methods.js';
import { binary } from './operators.js';
import { parseFloatText, parseIntText, round } from './rare-numbers.js';
import {
  characters,
  cut,
  Dict,
  Float,
  isTrue,
  iterate,
  join,
  keyOf,
  type Keywords,
  Lazy,
  lengthOf,
  like,
  List,
  listOf,
  numberOf,
  own,
  PythonError,
  Str,
  text,
  Thing,
  typeOf,
  Undefined,
  type Value,
} from './values.js';

function indent(value: Value, args: Value[], keywords: Keywords): Value {
  const [width, first, blank] = bind('do_indent', 'width first blank', args, keywords);
  const by = width instanceof Str ? width : own(' '.repeat(wholeArgument(width, 4)));
  if (value instanceof Undefined) throw new PythonError(value.why);
  if (value instanceof List && !value.isTuple)
    throw new PythonError(`'${typeOf(value)}' object has no attribute 'splitlines'`);
  if (!(value instanceof Str))
    throw new PythonError(`unsupported operand type(s) for +=: '${typeOf(value)}' and 'str'`);
  const self = join([value, own('\n')]);
  const [head = own(''), ...rest] = (methodCall(self, 'splitlines') as List).items as Str[];
  const lines = rest.map((line) => (line.s !== '' || isTrue(blank ?? false) ? join([by, line]) : line));
  const indented = join([head, ...lines], own('\n'));
  return isTrue(first ?? false) ? join([by, indented]) : indented;
}

function int(value: Value, args: Value[], keywords: Keywords): Value {
  const [other = 0, base] = bind('do_int', 'default base', args, keywords);
  if (value instanceof Undefined) throw new PythonError(value.why);
  const number = numberOf(value);
  const parsed =
    value instanceof Str ? (parseIntText(value.s, wholeArgument(base, 10)) ?? parseFloatText(value.s)) : number;
  return parsed === undefined || !Number.isFinite(parsed) ? other : Math.trunc(parsed) + 0;
}

function float(value: Value, args: Value[], keywords: Keywords): Value {
  const [other = new Float(0)] = bind('do_float', 'default', args, keywords);
  if (value instanceof Undefined) throw new PythonError(value.why);
  const parsed = value instanceof Str ? parseFloatText(value.s) : numberOf(value);
  return parsed === undefined ? other : new Float(parsed);
}

function truncate(value: Value, args: Value[], keywords: Keywords): Value {
  const [length, killWords, end = own('...'), leeway] = bind(
    'do_truncate',
    'length killwords end leeway',
    args,
    keywords,
  );
  const [most, tail] = [wholeArgument(length, 255), textArgument(end, 'end')];
  if (lengthOf(value) <= most + wholeArgument(leeway, 5)) return value;
  const self = soft(value);
  const letters = characters(self);
  const kept = join(letters.slice(0, Math.max(0, most - lengthOf(tail))));
  const space = kept.s.lastIndexOf(' ');
  return join([isTrue(killWords ?? false) || space < 0 ? kept : cut(kept, 0, space), tail]);
}

function title(value: Value): Value {
  const words = soft(value).s.split(/([-\s({[<]+)/);
  return like(soft(value), words.map((word) => upperFirst(word)).join(''));
}
function upperFirst(word: string): string {
  const [first = '', ...rest] = Array.from(word);
  return first.toUpperCase() + rest.join('').toLowerCase();
}

export const FILTERS: Record<string, Filter> = {
  abs: (value) => {
    const number = numberOf(value);
    if (number === undefined) throw new PythonError(`bad operand type for abs(): '${typeOf(value)}'`);
    return value instanceof Float ? new Float(Math.abs(number)) : Math.abs(number);
  },
  attr: (value, [name = null]) => {
    const { s } = soft(name);
    const found = value instanceof Thing ? value.get(s) : methodOf(value, s);
    return found === undefined ? new Undefined(`'${typeOf(value)} object' has no attribute '${s}'`) : found;
  },
  float,
  format: (value, args, keywords) =>
    binary(
      '%',
      soft(value),
      keywords.size > 0 ? new Dict([...keywords].map(([key, item]) => [own(key), item])) : new List(args, true),
    ),
  indent,
  int,
  round: (value, args, keywords) => {
    const [precision, how] = bind('do_round', 'precision method', args, keywords);
    const [number, method] = [numberOf(value), how == null ? 'common' : text(how).s];
    if (number === undefined) throw new PythonError(`type ${typeOf(value)} doesn't define __round__ method`);
    const rounded = round(number, wholeArgument(precision, 0), method);
    return value instanceof Float || method !== 'common' ? new Float(rounded) : rounded;
  },
  sum: (value, args, keywords) => {
    const [attribute, start = 0] = bind('sync_do_sum', 'attribute start', args, keywords);
    if (start instanceof Str) throw new PythonError("sum() can't sum strings [use ''.join(seq) instead]");
    return listOf(value)
      .map(attributeGetter(attribute))
      .reduce((sum, item) => binary('+', sum, item), start);
  },
  title,
  truncate,
  unique: (value, args, keywords) => {
    const [isCaseSensitive, attribute] = bind('sync_do_unique', 'case_sensitive attribute', args, keywords);
    const key = sortKey(attribute, isCaseSensitive);
    return new Lazy(
      (function* () {
        const seen = new Set<string>();
        for (const item of iterate(value)) {
          const size = seen.size;
          if (seen.add(keyOf(key(item))).size > size) yield item;
        }
      })(),
    );
  },
  wordcount: (value) => soft(value).s.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0,
};
