// Takes the code out of docs/guides. A block with a name, as in "```js main.js", is a file; the line above says the name to the reader.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const GUIDES = fileURLToPath(new URL('../../docs/guides/', import.meta.url));

/** Names of the guides, without `.md`. */
export const guideNames = () =>
  readdirSync(GUIDES)
    .filter((name) => name.endsWith('.md') && name !== 'README.md')
    .map((name) => name.slice(0, -3));

/** File name → its text. Throws where a reader would not know which file a block is. */
export function filesOf(markdown) {
  const files = new Map();
  for (const [, above, language, name, text] of markdown.matchAll(/(.*)\n\n```(\w+)(?: (\S+))?\n([^]*?)\n```\n/g)) {
    if (!name) throw new Error(`a block of ${language} has no name`);
    if (above !== `\`${name}\`:`) throw new Error(`the line above the block of ${name} is: ${above}`);
    if (files.has(name)) throw new Error(`${name} is there twice`);
    files.set(name, `${text}\n`);
  }
  return files;
}

export const readGuide = (name) => readFileSync(join(GUIDES, `${name}.md`), 'utf8');

/** Writes a guide's files into `folder`, which is made, and gives their names. */
export function writeGuide(name, folder) {
  mkdirSync(folder, { recursive: true });
  const files = filesOf(readGuide(name));
  for (const [file, text] of files) writeFileSync(join(folder, file), text);
  return [...files.keys()];
}
