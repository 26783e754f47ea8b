// README.md and docs: every link within the repository leads somewhere, headings and pictures included; docs/api.md is what the package's
// declarations say. Reads www/pkg/dist as build.sh has left it; nothing is fetched.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Slugs } from '../scripts/api_text.mjs';
import { packageReadme } from '../scripts/package_readme.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const pages = ['README.md', 'CONTRIBUTING.md', ...readdirSync(path.join(root, 'docs'), { recursive: true }).filter(isPage).map((name) => `docs/${name}`)];
function isPage(name) {
  return name.endsWith('.md');
}

const withoutCode = (text) => text.replace(/^```[^]*?^```$/gm, '').replace(/`[^`\n]*`/g, (code) => 'c'.repeat(code.length));

/** Anchors of a page's headings, as GitHub makes them. */
function anchorsOf(text) {
  const slugs = new Slugs();
  return text
    .replace(/^```[^]*?^```$/gm, '')
    .split('\n')
    .flatMap((line) => /^#{1,6} (.*)$/.exec(line)?.[1] ?? [])
    .map((heading) => slugs.of(heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')));
}

/** Links of a page that lead nowhere. `read` gives the text of a page of the repository, `exists` says whether a path is there. */
function broken(page, { read, exists }) {
  const text = read(page);
  const links = [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"/g)].map(([, a, b]) => a ?? b);
  return links.filter((link) => {
    if (/^(https?:|mailto:)/.test(link)) return false;
    const [file, anchor] = link.split('#');
    const target = file === '' ? page : path.posix.join(path.posix.dirname(page), file);
    if (!exists(target)) return true;
    return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
  });
}

const repository = { read: (name) => readFileSync(path.join(root, name), 'utf8'), exists: (name) => existsSync(path.join(root, name)) };

test('every link leads somewhere', () => {
  assert.ok(pages.includes('docs/guides/README.md') && pages.includes('docs/api.md'));
  for (const page of pages) assert.deepEqual(broken(page, repository), [], page);
});

test('every page is linked from another', () => {
  const linked = new Set(['README.md']);
  for (const page of pages)
    for (const [, link] of withoutCode(repository.read(page)).matchAll(/\]\(([^)\s#]+)[^)]*\)/g))
      linked.add(path.posix.join(path.posix.dirname(page), link));
  assert.deepEqual(pages.filter((page) => !linked.has(page)), []);
});

test('links that lead nowhere are found', () => {
  const text = '# A b, `c`\n\n[x](#a-b-c) [y](#none) [z](gone.md) `[code](no.md)` [w](https://x.invalid) <img src="no.png">\n\n```\n[v](no)\n```\n';
  const made = { read: () => text, exists: (name) => name === 'docs/a.md' };
  assert.deepEqual(broken('docs/a.md', made), ['#none', 'gone.md', 'no.png']);
});

test("the package's README has no pictures, and links to what is in the package alone", () => {
  const text = packageReadme(repository.read('README.md'));
  const shipped = ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE'];
  const made = { read: () => text, exists: (name) => shipped.includes(name) };
  assert.deepEqual(broken('README.md', made), []);
  assert.ok(!text.includes('<img') && text.includes('A chat box (docs/guides/chat-box.md)') && text.includes('## Use it in a page'));
  assert.ok(broken('README.md', { ...made, read: repository.read }).includes('docs/guides/chat-box.md'), 'this can fail');
});

test('pictures are small', () => {
  const pictures = readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.png'));
  assert.ok(pictures.length >= 4);
  for (const name of pictures) assert.ok(statSync(path.join(root, 'docs', name)).size <= 150_000, name);
});

test('the API reference is what the declarations say', () => {
  execFileSync(process.execPath, [path.join(root, 'scripts/api_reference.mjs'), '--check'], { stdio: 'pipe', encoding: 'utf8' });
});
