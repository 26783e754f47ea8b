// Shows a growing text as elements. Only the blocks that have changed are made again, so that a token costs the same at
// the end of a long answer as at its beginning. Text becomes text nodes; nothing is ever parsed as HTML.
import { copyButton } from './copy.js';
import { el } from './dom.js';
import { blocks, inlines, type Block, type Inline, type Table } from './markdown.js';
import { count } from './words.js';

/** More than this of an answer is not laid out: a line of megabytes would hold the page up. */
export const MOST_CHARS = 50_000;

export class MarkdownView {
  readonly #target: HTMLElement;
  #shown: string[] = [];

  constructor(target: HTMLElement) {
    this.#target = target;
  }

  show(source: string): void {
    const next: (Block | Rest)[] = blocks(source.slice(0, MOST_CHARS));
    if (source.length > MOST_CHARS) next.push({ kind: 'rest', n_chars: source.length - MOST_CHARS });
    const keys = next.map((block) => JSON.stringify(block));
    const kept = keys.findIndex((key, i) => key !== this.#shown[i]);
    const from = kept < 0 ? keys.length : kept;
    while (this.#target.childElementCount > from) this.#target.lastElementChild?.remove();
    this.#target.append(...next.slice(from).map(blockElement));
    this.#shown = keys;
  }
}

/** What of a text is not shown. */
interface Rest {
  kind: 'rest';
  n_chars: number;
}

function blockElement(block: Block | Rest): HTMLElement {
  switch (block.kind) {
    case 'rest':
      return el(
        'p',
        { class: 'fine' },
        `The rest, ${count(block.n_chars)} characters, is not shown. Copy has all of it.`,
      );
    case 'paragraph':
      return el('p', {}, ...spans(block.text));
    case 'heading':
      return el('p', { class: 'heading' }, ...spans(block.text));
    case 'code':
      return codeElement(block.language, block.text);
    case 'table':
      return tableElement(block);
    case 'list':
      return listElement(block);
  }
}

/** Items that are indented are lists of their own, in the item above them. */
function listElement({ ordered, start, items }: List): HTMLElement {
  const listOf = (number: number | undefined): HTMLElement =>
    number === undefined ? el('ul') : el('ol', { start: number });
  const open = [listOf(ordered ? start : undefined)];
  for (const { depth, text, number } of items) {
    while (open.length > depth + 1) open.pop();
    const isOther =
      depth > 0 && open.length === depth + 1 && (open.at(-1)?.tagName === 'OL') !== (number !== undefined);
    if (isOther) open.pop();
    const above = open.length < depth + 1 ? open.at(-1)?.lastElementChild : undefined;
    if (above) {
      const inner = listOf(number);
      above.append(inner);
      open.push(inner);
    }
    open.at(-1)?.append(el('li', {}, ...spans(text)));
  }
  return open[0] ?? el('ul');
}

function codeElement(language: string, text: string): HTMLElement {
  const code = el('pre', { tabindex: 0, 'aria-label': language ? `Code, ${language}` : 'Code' }, el('code', {}, text));
  const head = el(
    'p',
    { class: 'code-head' },
    el('span', {}, language),
    copyButton(() => text, 'Copy code'),
  );
  return el('div', { class: 'code' }, head, code);
}

/** A wide table is scrolled by itself, also by keyboard. */
function tableElement({ align, head, rows }: Table): HTMLElement {
  const cell = (tag: 'th' | 'td') => (text: string, i: number) => {
    const attributes = { ...(align[i] && { class: `align-${align[i]}` }), ...(tag === 'th' && { scope: 'col' }) };
    return el(tag, attributes, ...spans(text));
  };
  return el(
    'div',
    { class: 'table', role: 'region', tabindex: 0, 'aria-label': 'Table, can be scrolled' },
    el(
      'table',
      { 'aria-label': head.join(', ') },
      el('thead', {}, el('tr', {}, ...head.map(cell('th')))),
      el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map(cell('td'))))),
    ),
  );
}

type List = Extract<Block, { kind: 'list' }>;

const spans = (text: string): (Node | string)[] => inlines(text).map(spanNode);

function spanNode(span: Inline): Node | string {
  switch (span.kind) {
    case 'text':
      return span.text;
    case 'code':
      return el('code', {}, span.text);
    case 'strong':
    case 'em':
      return el(span.kind, {}, ...span.children.map(spanNode));
    case 'link': {
      const anchor = el('a', { href: span.href, rel: 'noopener noreferrer nofollow', target: '_blank' }, span.text);
      anchor.append(el('span', { class: 'host' }, ` (${span.host})`));
      return anchor;
    }
  }
}
