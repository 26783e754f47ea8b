// Reads the small part of Markdown that models write: paragraphs, headings, lists, tables, code, emphasis, links. Pure: text to
// blocks; render.ts makes elements of them. No HTML, no images. Whatever is not understood stays as it was written.
// Linear in the length of the text: closing marks are looked for only MAX_SPAN characters ahead.

export type Inline =
  | { kind: 'text' | 'code'; text: string }
  | { kind: 'strong' | 'em'; children: Inline[] }
  | { kind: 'link'; href: string; host: string; text: string };

export type Block =
  | { kind: 'paragraph' | 'heading'; text: string }
  | { kind: 'code'; language: string; text: string }
  | Table
  | { kind: 'list'; ordered: boolean; start: number; items: Item[] };

/** Every row has as many cells as the head. */
export interface Table {
  kind: 'table';
  align: ('' | 'left' | 'center' | 'right')[];
  head: string[];
  rows: string[][];
}

/** Of a list; `number`: of one that is numbered in a list below another item. */
export interface Item {
  depth: number;
  text: string;
  number?: number;
}

const MAX_SPAN = 1000;
const MAX_COLUMNS = 50;
const MAX_NESTING = 3;
const FENCE = /^ {0,3}```\s*([\w+#.-]*)/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const HEADING = /^#{1,6}\s+(.*)$/;

/** The blocks of a text. An unfinished code block (its end is still to come) is a code block already. */
export function blocks(source: string): Block[] {
  const found: Block[] = [];
  let open: Block | undefined;
  for (const line of source.split('\n')) {
    if (open?.kind === 'code') {
      if (FENCE.test(line)) open = undefined;
      else open.text += `${line}\n`;
      continue;
    }
    const table = open?.kind === 'paragraph' ? tableOf(open.text, line) : undefined;
    if (table && open?.kind === 'paragraph') {
      // Its head was read as the last line of a paragraph.
      open.text = open.text.slice(0, Math.max(0, open.text.lastIndexOf('\n')));
      if (open.text === '') found.pop();
      found.push((open = table));
      continue;
    }
    if (open?.kind === 'table' && line.includes('|')) {
      open.rows.push(cellsOf(line, open.head.length));
      continue;
    }
    open = nextBlock(line, open);
    if (open && found.at(-1) !== open) found.push(open);
    if (open?.kind === 'heading') open = undefined;
  }
  return found;
}

/** A line below which dashes stand between bars is the head of a table. */
function tableOf(before: string, line: string): Table | undefined {
  const head = before.slice(before.lastIndexOf('\n') + 1);
  if (!head.includes('|') || !/^[\s|:-]+$/.test(line) || !line.includes('-')) return undefined;
  const cells = cellsOf(head);
  const marks = cellsOf(line);
  if (cells.length !== marks.length || cells.length > MAX_COLUMNS) return undefined;
  if (!marks.every((mark) => /^:?-+:?$/.test(mark))) return undefined;
  const align = marks.map((mark) =>
    mark.endsWith(':') ? (mark.startsWith(':') ? 'center' : 'right') : mark.startsWith(':') ? 'left' : '',
  );
  return { kind: 'table', align, head: cells, rows: [] };
}

/** What stands between the bars; a bar behind a backslash is text. With `n`, so many: what is over is left out, what is missing is empty. */
function cellsOf(line: string, n?: number): string[] {
  const cells: string[] = [];
  const row = line.trim().replace(/^\|/, '');
  let cell = '';
  for (let i = 0; i < row.length; i++) {
    if (row[i] === '\\' && row[i + 1] === '|') cell += row[++i];
    else if (row[i] !== '|') cell += row[i];
    else {
      cells.push(cell);
      cell = '';
    }
  }
  if (cell !== '' || cells.length === 0) cells.push(cell);
  const trimmed = cells.map((cell) => cell.trim());
  return n === undefined ? trimmed : Array.from({ length: n }, (_, i) => trimmed[i] ?? '');
}

/** The block that this line opens or goes on with; undefined for a blank line. */
function nextBlock(line: string, open: Block | undefined): Block | undefined {
  const fence = FENCE.exec(line);
  if (fence) return { kind: 'code', language: fence[1] ?? '', text: '' };
  if (line.trim() === '') return undefined;
  const heading = HEADING.exec(line);
  if (heading) return { kind: 'heading', text: heading[1] ?? '' };
  const item = ITEM.exec(line);
  if (item) return nextItem(item, open);
  if (open?.kind === 'list') {
    const last = open.items.at(-1);
    if (last) last.text += ` ${line.trim()}`;
    return open;
  }
  if (open?.kind === 'paragraph') {
    open.text += `\n${line}`;
    return open;
  }
  return { kind: 'paragraph', text: line };
}

function nextItem([, indent = '', number, text = '']: RegExpExecArray, open: Block | undefined): Block {
  const depth = Math.min(2, Math.floor(indent.length / 2));
  const ordered = number !== undefined;
  if (open?.kind === 'list' && (open.ordered === ordered || depth > 0)) {
    open.items.push({ depth, text, ...(depth > 0 && ordered && { number: Number(number) }) });
    return open;
  }
  return { kind: 'list', ordered, start: Number(number ?? 1), items: [{ depth, text }] };
}

/** The spans of a line or paragraph. */
export function inlines(source: string, nesting = 0): Inline[] {
  const found: Inline[] = [];
  let plain = '';
  let at = 0;
  while (at < source.length) {
    const span = spanAt(source, at, nesting);
    if (!span) {
      plain += source[at++];
      continue;
    }
    if (plain) found.push({ kind: 'text', text: plain });
    plain = '';
    found.push(span.inline);
    at = span.end;
  }
  if (plain) found.push({ kind: 'text', text: plain });
  return found;
}

interface Span {
  inline: Inline;
  end: number;
}

function spanAt(source: string, at: number, nesting: number): Span | undefined {
  switch (source[at]) {
    case '`':
      return codeSpan(source, at);
    case '*':
    case '_':
      return nesting < MAX_NESTING ? emphasis(source, at, nesting) : undefined;
    case '[':
      return link(source, at);
    default:
      return undefined;
  }
}

function codeSpan(source: string, at: number): Span | undefined {
  const end = ahead(source, '`', at + 1);
  if (end < at + 2) return undefined;
  return { inline: { kind: 'code', text: source.slice(at + 1, end) }, end: end + 1 };
}

/** `**strong**`, `__strong__`, `*em*`, `_em_`: the marks touch the words; `_` is none inside a word (snake_case). */
function emphasis(source: string, at: number, nesting: number): Span | undefined {
  const mark = source[at] ?? '';
  const double = source[at + 1] === mark;
  const marks = double ? mark + mark : mark;
  const start = at + marks.length;
  if (mark === '_' && /\w/.test(source[at - 1] ?? '')) return undefined;
  if (/\s|^$/.test(source[start] ?? '')) return undefined;
  let end = ahead(source, marks, start + 1);
  if (double && end > 0 && source[end + 2] === mark) end++; // the first of three closes what is inside
  if (end < 0 || /\s/.test(source[end - 1] ?? '')) return undefined;
  if (mark === '_' && /\w/.test(source[end + marks.length] ?? '')) return undefined;
  const children = inlines(source.slice(start, end), nesting + 1);
  return { inline: { kind: double ? 'strong' : 'em', children }, end: end + marks.length };
}

/** `[text](address)`, only for http and https: anything else stays text. The host is shown, so that no link can pose. */
function link(source: string, at: number): Span | undefined {
  const middle = ahead(source, '](', at + 1);
  const end = middle < 0 ? -1 : ahead(source, ')', middle + 2);
  if (end < 0) return undefined;
  const address = source.slice(middle + 2, end).trim();
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) return undefined;
  return { inline: { kind: 'link', href: url.href, host: url.host, text: source.slice(at + 1, middle) }, end: end + 1 };
}

function ahead(source: string, mark: string, from: number): number {
  const end = source.slice(from, from + MAX_SPAN).indexOf(mark);
  return end < 0 ? -1 : from + end;
}
