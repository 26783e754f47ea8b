// Jinja's filters and tests, and `tojson` as Hugging Face has it: Python's json.dumps, nothing escaped for HTML, letters beyond ASCII
// kept. Filters that no chat template has a use for (urlize, xmlattr, groupby, random, …) are not there, and say so as an unknown
// name does.

import { bind, capitalize, lower, methodOf, replace, strip, textArgument, upper, wholeArgument } from './methods.js';
import { binary, contains, escapeHtml, getItem, isSo } from './operators.js';
import { rare } from './rare.js';
import {
  characters,
  compare,
  Dict,
  Float,
  Fn,
  isTrue,
  iterate,
  join,
  type Keywords,
  Lazy,
  lengthOf,
  List,
  listOf,
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

export type Filter = (value: Value, args: Value[], keywords: Keywords) => Value;
type Test = (value: Value, args: Value[]) => boolean;

export function applyFilter(name: string, value: Value, args: Value[], keywords: Keywords): Value {
  const filter = filterOf(name);
  if (!filter) throw new PythonError(`No filter named '${name}'.`);
  if (ALONE.includes(name) && args.length > 0)
    throw new PythonError(`do_${name}() takes 1 positional argument but ${1 + args.length} were given`);
  return filter(value, args, keywords);
}

const filterOf = (name: string): Filter | undefined => {
  if (Object.hasOwn(FILTERS, name)) return FILTERS[name];
  const { filters } = rare();
  return Object.hasOwn(filters, name) ? filters[name] : undefined;
};

export function applyTest(name: string, value: Value, args: Value[]): boolean {
  const test = Object.hasOwn(TESTS, name) ? TESTS[name] : undefined;
  if (!test) throw new PythonError(`No test named '${name}'.`);
  return test(value, args);
}

export const isFilter = (name: string): boolean => filterOf(name) !== undefined;
export const isTest = (name: string): boolean => Object.hasOwn(TESTS, name);

/** Filters without arguments. */
const ALONE = 'capitalize upper lower title string list items reverse safe wordcount'.split(' ');

/** Text as it is, markup too; what else there is, printed. */
export const soft = (value: Value): Str => (value instanceof Str ? value : text(value));

/** What `attribute=` asks for: a path of names and places. */
export function attributeGetter(path: Value | undefined, other?: Value): (item: Value) => Value {
  if (path == null) return (item) => item;
  const steps = typeof path === 'number' ? [path] : textArgument(path, 'attribute').s.split('.');
  return (item) => {
    for (const step of steps) {
      item = getItem(item, typeof step === 'string' && !/^\d+$/.test(step) ? own(step) : Number(step));
      if (other != null && item instanceof Undefined) item = other;
    }
    return item;
  };
}

/** What things are sorted and told apart by. */
export function sortKey(path: Value | undefined, isCaseSensitive: Value | undefined): (item: Value) => Value {
  const get = attributeGetter(path);
  return (item) => {
    const key = get(item);
    return key instanceof Str && !isTrue(isCaseSensitive ?? false) ? lower(key) : key;
  };
}

function sorted(items: Value[], key: (item: Value) => Value, isReverse: boolean): Value[] {
  const keyed = items.map((item) => ({ item, key: key(item) }));
  const sign = isReverse ? -1 : 1;
  return keyed.sort((a, b) => sign * compare(a.key, b.key)).map(({ item }) => item);
}

/** `min` and `max`. */
const extreme =
  (name: string, sign: number): Filter =>
  (value, args, keywords) => {
    const [isCaseSensitive, attribute] = bind(`do_${name}`, 'case_sensitive attribute', args, keywords);
    const key = sortKey(attribute, isCaseSensitive);
    const [first, ...rest] = listOf(value);
    if (first === undefined) return new Undefined('No aggregated item, sequence was empty.');
    return rest.reduce((best, item) => (sign * compare(key(item), key(best)) > 0 ? item : best), first);
  };

/** `select` and its kin. */
const selecting =
  (byAttribute: boolean, keeps: boolean): Filter =>
  (value, args) => {
    const get = byAttribute ? attributeGetter(args[0] ?? null) : (item: Value): Value => item;
    const [name, ...rest] = byAttribute ? args.slice(1) : args;
    if (byAttribute && args.length === 0) throw new PythonError('Missing parameter for attribute name');
    const isWanted = (item: Value): boolean =>
      name === undefined ? isTrue(get(item)) : applyTest(textArgument(name, 'test').s, get(item), rest);
    return new Lazy(
      (function* () {
        if (isTrue(value)) for (const item of iterate(value)) if (isWanted(item) === keeps) yield item;
      })(),
    );
  };

function map(value: Value, args: Value[], keywords: Keywords): Value {
  let change: (item: Value) => Value;
  if (args.length === 0 && keywords.has('attribute')) {
    for (const name of keywords.keys())
      if (name !== 'attribute' && name !== 'default') throw new PythonError(`Unexpected keyword argument '${name}'`);
    change = attributeGetter(keywords.get('attribute'), keywords.get('default'));
  } else {
    const [name, ...rest] = args;
    if (name === undefined) throw new PythonError('map requires a filter argument');
    change = (item) => applyFilter(textArgument(name, 'filter').s, item, rest, keywords);
  }
  return new Lazy(
    (function* () {
      if (isTrue(value)) for (const item of iterate(value)) yield change(item);
    })(),
  );
}

export const methodCall = (self: Str, name: string): Value => (methodOf(self, name) as Fn).call([], new Map());

const isReversible = (value: Value): boolean =>
  value instanceof Str ||
  value instanceof List ||
  value instanceof Dict ||
  value instanceof View ||
  value instanceof Undefined;

function reverse(value: Value): Value {
  if (value instanceof Str) return join(characters(value).reverse());
  if (!isReversible(value) && !(value instanceof Lazy)) throw new PythonError('argument must be iterable');
  return new Lazy(listOf(value).reverse().values() as IterableIterator<Value>, 'list_reverseiterator');
}

const FILTERS: Record<string, Filter> = {
  capitalize: (value) => capitalize(soft(value)),
  default: (value, args, keywords) => {
    const [other = own(''), ifFalse] = bind('do_default', 'default_value boolean', args, keywords);
    return value instanceof Undefined || (isTrue(ifFalse ?? false) && !isTrue(value)) ? other : value;
  },
  dictsort: (value, args, keywords) => {
    const [isCaseSensitive, by = own('key'), isReverse] = bind(
      'do_dictsort',
      'case_sensitive by reverse',
      args,
      keywords,
    );
    if (!(value instanceof Dict)) throw new PythonError(`'${typeOf(value)}' object has no attribute 'items'`);
    const pairs = [...value.entries.values()].map((pair) => new List([...pair], true));
    const at = (by as Str).s === 'value' ? 1 : 0;
    const key = sortKey(at, isCaseSensitive);
    return new List(sorted(pairs, key, isTrue(isReverse ?? false)));
  },
  escape: (value) => escapeHtml(soft(value)),
  first: (value) => {
    for (const item of iterate(value)) return item;
    return new Undefined('No first item, sequence was empty.');
  },
  items: (value) => {
    return new Lazy(
      (function* () {
        if (value instanceof Undefined) return;
        if (!(value instanceof Dict)) throw new PythonError('Can only get item pairs from a mapping.');
        for (const pair of value.entries.values()) yield new List([...pair], true);
      })(),
    );
  },
  join: (value, args, keywords) => {
    const [between = own(''), attribute] = bind('sync_do_join', 'd attribute', args, keywords);
    const get = attributeGetter(attribute);
    return join(
      listOf(value).map((item) => text(get(item))),
      text(between),
    );
  },
  last: (value) => {
    if (!isReversible(value)) throw new PythonError(`'${typeOf(value)}' object is not reversible`);
    const last = listOf(value).at(-1);
    return last === undefined ? new Undefined('No last item, sequence was empty.') : last;
  },
  length: (value) => lengthOf(value),
  list: (value) => new List(listOf(value)),
  lower: (value) => lower(soft(value)),
  map,
  max: extreme('max', 1),
  min: extreme('min', -1),
  reject: selecting(false, false),
  rejectattr: selecting(true, false),
  replace: (value, args, keywords) => {
    const [old, other, most] = bind('do_replace', 'old new count', args, keywords);
    return replace(text(value), text(old ?? null), text(other ?? null), most == null ? -1 : wholeArgument(most, -1));
  },
  reverse,
  safe: (value) => new Str(soft(value).s, soft(value).u, true),
  select: selecting(false, true),
  selectattr: selecting(true, true),
  sort: (value, args, keywords) => {
    const [isReverse, isCaseSensitive, attribute] = bind('do_sort', 'reverse case_sensitive attribute', args, keywords);
    return new List(sorted(listOf(value), sortKey(attribute, isCaseSensitive), isTrue(isReverse ?? false)));
  },
  string: (value) => soft(value),
  tojson: toJson,
  trim: (value, [letters]) => strip(soft(value), letters, 'both'),
  upper: (value) => upper(soft(value)),
};
Object.assign(FILTERS, { count: FILTERS['length'], d: FILTERS['default'], e: FILTERS['escape'] });

const isWhole = (value: Value): boolean => typeof value === 'number';
const remainder = (value: Value, by: Value | undefined): Value => binary('%', value, by ?? null);
const comparing =
  (operator: string): Test =>
  (value, [other = null]) =>
    isSo(operator, value, other);

const TESTS: Record<string, Test> = {
  boolean: (value) => typeof value === 'boolean',
  callable: (value) =>
    value instanceof Fn || value instanceof Undefined || (value instanceof Thing && value.call !== undefined),
  defined: (value) => !(value instanceof Undefined),
  divisibleby: (value, [by]) => numberOf(remainder(value, by)) === 0,
  escaped: (value) => value instanceof Str && value.isMarkup,
  even: (value) => numberOf(remainder(value, 2)) === 0,
  false: (value) => value === false,
  filter: (value) => value instanceof Str && isFilter(value.s),
  float: (value) => value instanceof Float,
  in: (value, [container = null]) => contains(container, value),
  integer: isWhole,
  iterable: (value) =>
    typeof value === 'object' &&
    value !== null &&
    !(value instanceof Float || value instanceof Fn || (value instanceof Thing && value.type !== 'LoopContext')),
  lower: (value) => isTrue(methodCall(text(value), 'islower')),
  mapping: (value) => value instanceof Dict,
  none: (value) => value === null,
  number: (value) => numberOf(value) !== undefined,
  odd: (value) => numberOf(remainder(value, 2)) === 1,
  sameas: (value, [other]) => value === other,
  sequence: (value) =>
    value instanceof Str ||
    value instanceof List ||
    value instanceof Dict ||
    value instanceof Undefined ||
    (value instanceof View && value.type === 'range'),
  string: (value) => value instanceof Str,
  test: (value) => value instanceof Str && isTest(value.s),
  true: (value) => value === true,
  undefined: (value) => value instanceof Undefined,
  upper: (value) => isTrue(methodCall(text(value), 'isupper')),
};
const COMPARISONS = {
  '==': 'eq equalto',
  '!=': 'ne',
  '<': 'lt lessthan',
  '<=': 'le',
  '>': 'gt greaterthan',
  '>=': 'ge',
};
for (const [operator, names] of Object.entries(COMPARISONS))
  for (const name of [operator, ...names.split(' ')]) TESTS[name] = comparing(operator);

interface Layout {
  isAscii: boolean;
  /** Blanks of one level; undefined: all in one line. */
  indent: string | undefined;
  item: Str;
  key: Str;
  isSorted: boolean;
}

export function toJson(value: Value, args: Value[], keywords: Keywords): Value {
  const [ascii, indent, separators, sorted] = bind(
    'tojson',
    'ensure_ascii indent separators sort_keys',
    args,
    keywords,
  );
  const [item, key] = separators instanceof List ? separators.items.map(text) : [];
  return write(
    value,
    {
      isAscii: isTrue(ascii ?? false),
      indent: indent == null ? undefined : indent instanceof Str ? indent.s : ' '.repeat(Math.max(0, Number(indent))),
      item: item ?? own(indent == null ? ', ' : ','),
      key: key ?? own(': '),
      isSorted: isTrue(sorted ?? false),
    },
    0,
  );
}

function write(value: Value, layout: Layout, depth: number): Str {
  if (value instanceof Str) return join([own('"'), letters(value, layout.isAscii), own('"')]);
  if (value === null || typeof value === 'boolean') return own(String(value));
  if (value instanceof Float && !Number.isFinite(value.value))
    return own(Number.isNaN(value.value) ? 'NaN' : value.value > 0 ? 'Infinity' : '-Infinity');
  if (typeof value === 'number' || value instanceof Float) return repr(value);
  if (value instanceof List)
    return enclose(
      '[',
      value.items.map((item) => write(item, layout, depth + 1)),
      ']',
      layout,
      depth,
    );
  if (value instanceof Dict) {
    const entries = [...value.entries.values()];
    if (layout.isSorted) entries.sort(([a], [b]) => compare(a, b));
    const items = entries.map(([key, item]) =>
      join([own('"'), letters(keyText(key), layout.isAscii), own('"'), layout.key, write(item, layout, depth + 1)]),
    );
    return enclose('{', items, '}', layout, depth);
  }
  throw new PythonError(
    `Object of type ${value instanceof Undefined ? 'Undefined' : typeOf(value)} is not JSON serializable`,
  );
}

function enclose(open: string, items: Str[], close: string, { indent, item }: Layout, depth: number): Str {
  if (items.length === 0 || indent === undefined) return join([own(open), join(items, item), own(close)]);
  const line = own(`\n${indent.repeat(depth + 1)}`);
  return join([own(open), line, join(items, join([item, line])), own(`\n${indent.repeat(depth)}${close}`)]);
}

function keyText(key: Value): Str {
  if (key instanceof Str) return key;
  if (key === null || typeof key === 'boolean') return own(String(key));
  if (typeof key === 'number' || key instanceof Float) return repr(key);
  throw new PythonError(`keys must be str, int, float, bool or None, not ${typeOf(key)}`);
}

const SHORT: Record<string, string> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\b': '\\b',
  '\f': '\\f',
};

const letters = (value: Str, isAscii: boolean): Str =>
  rewrite(
    value,
    isAscii ? /["\\]|[^ -~]/g : /["\\\x00-\x1f]/g,
    (letter) => SHORT[letter] ?? `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
