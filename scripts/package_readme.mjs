// Prints the README of the npm package: README.md without its pictures, and with the names of files in the place of links to what is in
// the repository alone.
//
//     node scripts/package_readme.mjs > www/pkg/README.md
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** The package has its licences beside it, and nothing else that a reader would open. */
const SHIPPED = /^(LICENSE-\w+|https?:.*|#.*)$/;
const NOTE = 'Names of files in brackets are those of the repository: guides, API reference, figures.';

export function packageReadme(text) {
  const plain = text
    .replace(/^\|.*\|\n\|[-|]+\|\n(?:\|.*<img .*\n)+\n/m, '')
    .replace(/\[((?:[^\][]|\[[^\]]*\])*)\]\(([^)\s]+)\)/g, (whole, words, link) =>
      SHIPPED.test(link) ? whole : `${words} (${link.split('#')[0]})`,
    );
  return plain.replace(/\n\n/, `\n\n${NOTE}\n\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(packageReadme(readFileSync(new URL('../README.md', import.meta.url), 'utf8')));
