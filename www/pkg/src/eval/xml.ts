// A small reader for the XML of benchmarks: elements, attributes, text, CDATA, the five entities and numeric ones. Strict about
// structure; the one thing that it forgives is an `&` that begins no entity, which published files have. A document type is passed over, and
// must not define anything. Needs no DOM, so it runs in workers and in Node.

import { KingletError } from '../errors.js';

export interface XmlElement {
  name: string;
  attributes: Readonly<Record<string, string>>;
  children: XmlElement[];
  /** The text directly inside, without that of the children. */
  text: string;
  /** Where it begins, from 1. */
  line: number;
}

const MAX_DEPTH = 100;
const NAME = /[A-Za-z_:][\w:.-]*/y;
const SPACE = /\s*/y;
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The root element. @throws KingletError E_FILE_FORMAT with the line. */
export function parseXml(text: string): XmlElement {
  return new Parser(text).document();
}

/** The first child of that name. */
export function child(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((c) => c.name === name);
}

/** All children of that name. */
export function childrenOf(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((c) => c.name === name);
}

class Parser {
  readonly #text: string;
  #at = 0;
  #line = 1;
  /** Up to where lines have been counted. */
  #counted = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): XmlElement {
    this.#between();
    if (this.#text[this.#at] !== '<') this.#fail('there is no element');
    const root = this.#elements();
    this.#between();
    if (this.#at < this.#text.length) this.#fail('there is something after the end');
    return root;
  }

  /** Spaces, comments, declarations and processing instructions around the root. */
  #between(): void {
    for (;;) {
      this.#take(SPACE);
      if (this.#starts('<?')) this.#through('?>');
      else if (this.#starts('<!--')) this.#through('-->');
      else if (this.#starts('<!DOCTYPE')) {
        if (this.#through('>').includes('[')) this.#fail('a document type that defines something is not read');
      } else return;
    }
  }

  /** An element with all that is in it; not recursive, so that no file overflows the stack. */
  #elements(): XmlElement {
    const open: XmlElement[] = [];
    for (;;) {
      const { element, isEmpty } = this.#openTag();
      open.at(-1)?.children.push(element);
      if (!isEmpty) open.push(element);
      else if (open.length === 0) return element;
      if (open.length > MAX_DEPTH) this.#fail(`more than ${MAX_DEPTH} elements inside each other`);
      const closed = this.#content(open);
      if (closed) return closed;
    }
  }

  /** Reads until the next element opens; or until the root has ended, which it then returns. */
  #content(open: XmlElement[]): XmlElement | undefined {
    for (;;) {
      const element = open.at(-1);
      if (!element) this.#fail('an end without a beginning');
      const next = this.#text.indexOf('<', this.#at);
      if (next < 0) this.#fail(`<${element.name}> of line ${element.line} has no end`);
      element.text += this.#decoded(this.#text.slice(this.#at, next));
      this.#at = next;
      if (this.#starts('<![CDATA[')) element.text += this.#through(']]>').slice(9, -3);
      else if (this.#starts('<!--')) this.#through('-->');
      else if (this.#starts('<?')) this.#through('?>');
      else if (this.#starts('</')) {
        const tag = this.#through('>').slice(2, -1).trimEnd();
        if (tag !== element.name) this.#fail(`</${tag}> ends <${element.name}> of line ${element.line}`);
        open.pop();
        if (open.length === 0) return element;
      } else return undefined;
    }
  }

  #openTag(): { element: XmlElement; isEmpty: boolean } {
    const line = this.#lineHere();
    this.#at += 1;
    const name = this.#take(NAME);
    if (!name) this.#fail('a "<" that begins no element');
    const attributes: Record<string, string> = Object.create(null);
    for (;;) {
      const space = this.#take(SPACE);
      if (this.#starts('/>') || this.#starts('>')) break;
      const key = space && this.#take(NAME);
      if (!key) this.#fail(`<${name}> is not well formed`);
      if (key in attributes) this.#fail(`<${name}> has the attribute ${key} twice`);
      attributes[key] = this.#attributeValue(name, key);
    }
    const isEmpty = this.#starts('/>');
    this.#at += isEmpty ? 2 : 1;
    return { element: { name, attributes, children: [], text: '', line }, isEmpty };
  }

  #attributeValue(name: string, key: string): string {
    const value = this.#take(/\s*=\s*("[^"<]*"|'[^'<]*')/y);
    if (!value) this.#fail(`attribute ${key} of <${name}> has no value in quotes`);
    return this.#decoded(value.trim().slice(1).trimStart().slice(1, -1));
  }

  #decoded(raw: string): string {
    if (!raw.includes('&')) return raw;
    return raw.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([A-Za-z]\w*));/g, (whole, decimal, hex, name) => {
      if (name !== undefined) return ENTITIES[name] ?? this.#fail(`unknown entity ${whole}`);
      const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
      if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) this.#fail(`${whole} is no character`);
      return String.fromCodePoint(code);
    });
  }

  #starts(what: string): boolean {
    return this.#text.startsWith(what, this.#at);
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  /** All up to and with `end`. */
  #through(end: string): string {
    const from = this.#at;
    const found = this.#text.indexOf(end, from);
    if (found < 0) this.#fail(`there is no "${end}"`);
    this.#at = found + end.length;
    return this.#text.slice(from, this.#at);
  }

  #lineHere(): number {
    for (; this.#counted < this.#at; this.#counted += 1) if (this.#text[this.#counted] === '\n') this.#line += 1;
    return this.#line;
  }

  #fail(what: string): never {
    const line = this.#lineHere();
    throw new KingletError('E_FILE_FORMAT', `line ${line}: ${what}`, { details: { line } });
  }
}
