// Jinja's source to tokens: text between the marks, and what stands inside them. Newlines become \n, the last one falls away; the
// first newline after a block goes (`trim_blocks`), and so do the blanks before a block that begins a line (`lstrip_blocks`): so
// Hugging Face sets it.

import { PythonError } from './values.js';

export type Kind =
  'text' | 'print' | 'endprint' | 'block' | 'endblock' | 'name' | 'string' | 'int' | 'float' | 'op' | 'end';
export interface Token {
  kind: Kind;
  value: string;
}

export class TemplateSyntaxError extends PythonError {}

const OPERATORS = '// ** == != >= <= + - / * % ~ [ ] ( ) { } > < = . : | , ;'.split(' ');
const WHITE = '[\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const INSIDE = new RegExp(
  [
    `(?<space>${WHITE}+)`,
    '(?<float>(?<!\\.)(?:\\d+_)*\\d+(?:(?:\\.(?:\\d+_)*\\d+)?e[+-]?(?:\\d+_)*\\d+|\\.(?:\\d+_)*\\d+))',
    '(?<int>0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\\da-f])+|[1-9](?:_?\\d)*|0(?:_?0)*)',
    '(?<name>[\\p{L}\\p{N}\\p{M}_]+)',
    `(?<string>'(?:[^'\\\\]|\\\\[^])*'|"(?:[^"\\\\]|\\\\[^])*")`,
    `(?<op>${OPERATORS.map((operator) => operator.replace(/[*+\/[\](){}.|]/g, '\\$&')).join('|')})`,
  ].join('|'),
  'iyu',
);
const BLANK = new RegExp(WHITE);
const BLANKS = new RegExp(`^${WHITE}+$`);
const ENDS = { print: /-\}\}\s*|\}\}/y, block: /\+%\}|-%\}\s*|%\}\n?/y };
const MARK = /\{[%{#]/g;
const RAW = /\{%([-+]?)\s*raw\s*(?:-%\}\s*|%\})/y;
const END_RAW = /\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)/g;
const END_COMMENT = /\+#\}|-#\}\s*|#\}\n?/g;

export function tokenize(template: string): Token[] {
  const source = template.replace(/\r\n|\r/g, '\n').replace(/\n$/, '');
  const tokens: Token[] = [];
  let at = 0;
  const push = (kind: Kind, value: string): void =>
    void (value === '' && kind === 'text' ? 0 : tokens.push({ kind, value }));
  /** The text up to `to`, cut as the mark that follows asks for. */
  const pushText = (from: number, to: number, sign: string, isBlock: boolean): void => {
    let value = source.slice(from, to);
    if (sign === '-') {
      let end = value.length;
      while (end > 0 && BLANK.test(value[end - 1] ?? '')) end--;
      value = value.slice(0, end);
    } else if (sign !== '+' && isBlock) {
      const line = value.lastIndexOf('\n') + 1;
      const beginsLine = line > 0 || from === 0 || source[from - 1] === '\n';
      if (beginsLine && BLANKS.test(value.slice(line))) value = value.slice(0, line);
    }
    push('text', value);
  };
  const find = (pattern: RegExp, from: number, what: string): RegExpExecArray => {
    pattern.lastIndex = from;
    const found = pattern.exec(source);
    if (!found) throw new TemplateSyntaxError(what);
    return found;
  };
  while (at < source.length) {
    MARK.lastIndex = at;
    const mark = MARK.exec(source)?.index;
    if (mark === undefined) break;
    const kind = source[mark + 1];
    const sign = /[-+]/.exec(source[mark + 2] ?? '')?.[0] ?? '';
    pushText(at, mark, sign, kind !== '{');
    RAW.lastIndex = mark;
    const raw = RAW.exec(source);
    if (kind === '#') at = endOf(find(END_COMMENT, mark + 2, 'Missing end of comment tag'));
    else if (raw) {
      const end = find(END_RAW, endOf(raw), 'Missing end of raw directive');
      pushText(endOf(raw), end.index, end[1] ?? '', true);
      at = endOf(end);
    } else {
      push(kind === '%' ? 'block' : 'print', '');
      at = inside(source, mark + 2 + sign.length, kind === '%' ? 'block' : 'print', push);
    }
  }
  push('text', source.slice(at));
  push('end', '');
  return tokens;
}

const endOf = (match: RegExpExecArray): number => match.index + match[0].length;

/** The tokens of a block or of a print; gives the place after its end. */
function inside(
  source: string,
  from: number,
  kind: 'block' | 'print',
  push: (kind: Kind, value: string) => void,
): number {
  const open: string[] = [];
  let at = from;
  while (at < source.length) {
    const end = ENDS[kind];
    end.lastIndex = at;
    const ended = open.length === 0 ? end.exec(source) : null;
    if (ended) {
      push(kind === 'block' ? 'endblock' : 'endprint', '');
      return endOf(ended);
    }
    INSIDE.lastIndex = at;
    const found = INSIDE.exec(source);
    if (!found) throw new TemplateSyntaxError(`unexpected char '${source[at]}' at ${at}`);
    const { float, int, name, string, op } = found.groups ?? {};
    if (float !== undefined) push('float', float.replaceAll('_', ''));
    else if (int !== undefined) push('int', int.replaceAll('_', ''));
    else if (name !== undefined) push('name', name);
    else if (string !== undefined) push('string', unescape(string.slice(1, -1)));
    else if (op !== undefined) {
      balance(open, op);
      push('op', op);
    }
    at = endOf(found);
  }
  throw new TemplateSyntaxError(
    `unexpected end of template, expected 'end of ${kind === 'print' ? 'print statement' : 'statement block'}'.`,
  );
}

function balance(open: string[], operator: string): void {
  const wanted = { '(': ')', '[': ']', '{': '}' }[operator];
  if (wanted) open.push(wanted);
  else if (')]}'.includes(operator)) {
    const expected = open.pop();
    if (expected === undefined) throw new TemplateSyntaxError(`unexpected '${operator}'`);
    if (expected !== operator) throw new TemplateSyntaxError(`unexpected '${operator}', expected '${expected}'`);
  }
}

const ESCAPES: Record<string, string> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v', '\n': '' };

/** Python's escapes in a string; what it does not know stays as it is. */
function unescape(literal: string): string {
  return literal.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([^]))/g,
    (whole, x?: string, u?: string, U?: string, octal?: string, other = '') => {
      if (octal !== undefined) return String.fromCodePoint(parseInt(octal, 8));
      const hex = x ?? u ?? U;
      if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
      return ESCAPES[other] ?? (/['"\\]/.test(other) ? other : whole);
    },
  );
}
