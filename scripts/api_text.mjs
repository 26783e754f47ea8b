// Texts of declarations and of their comments, for api_reference.mjs.

const COMMENTS = /^(?:\s*(?:\/\*[^]*?\*\/|\/\/[^\n]*))*\s*/;

/** A declaration as it is written, without the comments above it, moved to the left. */
export function textOf(node) {
  const source = node.getSourceFile().text;
  const whole = source.slice(node.pos, node.end);
  const text = whole.slice(COMMENTS.exec(whole)[0].length);
  const before = source.slice(0, node.end - text.length);
  const indent = /[^\n]*$/.exec(before)[0].match(/^ */)[0];
  return text.replaceAll(`\n${indent}`, '\n');
}

/** The doc comment right above a declaration: its paragraphs, and what it throws. */
export function docOf(node) {
  const above = COMMENTS.exec(node.getSourceFile().text.slice(node.pos, node.end))[0];
  const [last] = [...above.matchAll(/\/\*\*([^]*?)\*\//g)].slice(-1);
  if (!last) return '';
  const lines = last[1].split('\n').map((line) => line.replace(/^\s*\*? ?/, '').trimEnd());
  return lines
    .join('\n')
    .trim()
    .replace(/^@throws /gm, 'Throws ');
}

export const withoutComments = (text) => text.replace(/\s*\/\*[^]*?\*\//g, '');

/** On one line, with as few spaces as may be. */
export const oneLine = (text) => text.replace(/\s+/g, ' ').trim();

/** The anchors that GitHub gives to headings. */
export class Slugs {
  #seen = new Map();

  of(heading) {
    const slug = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-');
    const n = this.#seen.get(slug) ?? 0;
    this.#seen.set(slug, n + 1);
    return n === 0 ? slug : `${slug}-${n}`;
  }
}
