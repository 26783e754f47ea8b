// Chat templates and conversations at random: written by a small grammar, or known ones with changes. The same seed gives the same.

export type Random = (n: number) => number;

/** A generator of whole numbers below n (xorshift). */
export function seeded(seed: number): Random {
  let state = (seed ^ 0x9e3779b9) | 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

const pick = <T>(random: Random, items: readonly T[]): T => items[random(items.length)] as T;

const NAMES = ['messages', 'message', 'loop', 'tools', 'bos_token', 'add_generation_prompt', 'ns', 'x', 'm', 'nothing'];
const KEYS = [
  'role',
  'content',
  'name',
  'tool_calls',
  'index',
  'first',
  'last',
  'x',
  'items',
  'length',
  '__proto__',
  'constructor',
];
const FILTERS = [
  "replace(' ', '')",
  'reverse',
  'lower',
  'sort',
  'unique',
  "join('')",
  'trim',
  'length',
  'upper',
  'tojson',
  'list',
  'first',
  'last',
  'string',
  'int',
  'join',
  'default(1)',
  'nonsense',
];
const TESTS = ['defined', 'none', 'string', 'mapping', 'iterable', 'number', 'true', 'nonsense'];
const OPERATORS = ['+', '-', '*', '/', '%', '~', '==', '!=', '<', '>=', 'and', 'or', 'in', 'not in'];
const NUMBERS = ['0', '1', '-1', '7', '99999', '100001', '1e9', '9007199254740993', '0.5'];

function expression(random: Random, depth: number): string {
  const inner = (): string => expression(random, depth - 1);
  if (depth <= 0) return pick(random, [...NAMES, ...NUMBERS, "'text'", "''", '[]', '{}', 'none', 'true']);
  switch (random(10)) {
    case 0:
      return `${inner()}.${pick(random, KEYS)}`;
    case 1:
      return `${inner()}[${pick(random, ["'content'", "'role'", '0', '-1', '1:', '::-1', inner()])}]`;
    case 2:
      return `(${inner()} | ${pick(random, FILTERS)})`;
    case 3:
      return `(${inner()} is ${pick(random, ['', 'not '])}${pick(random, TESTS)})`;
    case 4:
    case 5:
      return `(${inner()} ${pick(random, OPERATORS)} ${inner()})`;
    case 6:
      return `${pick(random, ['range', 'namespace', 'raise_exception', 'strftime_now', 'm', inner()])}(${inner()})`;
    case 7:
      return `(${inner()} if ${inner()} else ${inner()})`;
    case 8:
      return `[${inner()}, ${inner()}]`;
    default:
      return expression(random, 0);
  }
}

/** A template of so many statements, nested up to a depth. */
export function template(random: Random, statements: number, depth: number): string {
  const value = (): string => expression(random, random(4));
  const body = (): string => template(random, 1 + random(3), depth - 1);
  let text = '';
  for (let i = 0; i < statements; i++) {
    switch (random(depth > 0 ? 9 : 4)) {
      case 0:
        text += pick(random, ['hello ', '\n', '<|im_start|>', '  ', '{', '}}']);
        break;
      case 1:
        text += `{%- set ${pick(random, ['x', 'ns.x', 'm'])} = ${value()} -%}`;
        break;
      case 2:
      case 3:
        text += `{{ ${value()} }}`;
        break;
      case 4:
        text += `{% for message in messages %}{{ message.role }}${body()}{{ message.content }}{% endfor %}`;
        break;
      case 5:
        text += `{% for x in ${value()} %}${body()}{% endfor %}`;
        break;
      case 6:
        text += `{% if ${value()} %}${body()}{% else %}${body()}{% endif %}`;
        break;
      case 7:
        text += `{% macro m(x) %}${body()}{% endmacro %}{{ m(${value()}) }}`;
        break;
      default:
        text += `{% set ns = namespace(x=${value()}) %}${body()}`;
    }
  }
  return text;
}

/** A change: of the order or number of statements, of characters, or another template's end in the place of this one's. */
export function mutate(random: Random, source: string, others: readonly string[]): string {
  if (random(2) === 0) {
    const parts = source.split(/(\{%.*?%\}|\{\{.*?\}\})/s);
    const at = random(parts.length);
    const chosen = parts[at] ?? '';
    const n = random(3);
    parts.splice(random(parts.length), n, ...(n === 0 ? [chosen] : []));
    return parts.join('');
  }
  const at = random(source.length + 1);
  const palette = [
    '{{',
    '}}',
    '{%',
    '%}',
    '(',
    ')',
    '[',
    ']',
    "'",
    '"',
    '.',
    '|',
    '-',
    '\\',
    '0',
    ' in ',
    '\u0000',
    '\ud800',
  ];
  switch (random(4)) {
    case 0:
      return source.slice(0, at) + source.slice(at + 1 + random(20));
    case 1:
      return source.slice(0, at) + pick(random, palette) + source.slice(at);
    case 2:
      return source.replace(/\d+/, pick(random, NUMBERS));
    default: {
      const other = pick(random, others);
      return source.slice(0, at) + other.slice(random(other.length + 1));
    }
  }
}

/** Strings that a user must not be able to make, whole and in parts, between ordinary words. */
function hostileText(random: Random, specials: readonly string[]): string {
  let text = '';
  for (let n = random(6); n > 0; n--) {
    const special = pick(random, specials);
    const cut = random(special.length + 1);
    text += pick(random, [
      special,
      special.slice(0, cut),
      special.slice(cut),
      ' ',
      'word',
      '\n',
      '</think>',
      '\ufdd0',
      '\ud83d',
      '{{ x }}',
    ]);
  }
  return text;
}

/** A conversation that says those strings wherever it can say something. */
export function conversation(random: Random, specials: readonly string[]): Record<string, unknown>[] {
  const text = (): string => hostileText(random, specials);
  return Array.from({ length: random(5) }, () => {
    const role = pick(random, ['system', 'user', 'assistant', 'tool', 'developer']);
    const content = pick<() => unknown>(random, [
      text,
      text,
      text,
      () => null,
      () => [{ type: 'text', text: text() }],
      () => [],
    ])();
    const call = { type: 'function', id: text(), function: { name: text(), arguments: { [text()]: text() } } };
    return pick<() => Record<string, unknown>>(random, [
      () => ({ role, content }),
      () => ({ role, content, name: text() }),
      () => ({ role, content, tool_calls: [call], reasoning_content: text() }),
    ])();
  });
}
