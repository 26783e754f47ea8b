// Writes docs/api.md: every export of `kinglet`, `kinglet/tasks` and `kinglet/eval` with its signature and its doc comment, from the
// package's declarations, www/pkg/dist/**/*.d.ts, as TypeScript's own parser reads them. Run it after `./build.sh build`:
//
//     node scripts/api_reference.mjs            writes the file
//     node scripts/api_reference.mjs --check    fails where the file is not what it would write
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { docOf, oneLine, Slugs, textOf, withoutComments } from './api_text.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const TARGET = path.join(root, 'docs/api.md');
const MODULES = [
  ['kinglet', 'index.d.ts', 'Loads a model and runs it.'],
  ['kinglet/tasks', 'tasks/index.d.ts', 'What small models are for, as calls on an engine.'],
  ['kinglet/eval', 'eval/index.d.ts', 'Published benchmarks, from their own files.'],
];
const OPTIONS = {
  module: 'es2022',
  moduleResolution: 'bundler',
  target: 'es2022',
  lib: ['ES2023', 'DOM', 'DOM.Iterable', 'DOM.AsyncIterable', 'ESNext.Disposable'],
  types: [],
  strict: true,
  skipLibCheck: true,
  noEmit: true,
};
const ALIAS = 1 << 21; // SymbolFlags.Alias

const resolve = createRequire(path.join(root, 'www/pkg/package.json')).resolve;
const load = (name) => import(pathToFileURL(resolve(name)));
const [{ API }, ast] = await Promise.all([load('typescript/unstable/sync'), load('typescript/unstable/ast')]);
const is = await load('typescript/unstable/ast/is');

/** Every export of every module: `{ module, name, node, symbol }`, by `read`, while the compiler is open. */
function withExports(read) {
  const folder = mkdtempSync(path.join(tmpdir(), 'kinglet-api-'));
  const dist = path.join(root, 'www/pkg/dist');
  cpSync(dist, folder, { recursive: true, filter: (name) => !/\.(js|wasm)$/.test(name) });
  const config = path.join(folder, 'tsconfig.json');
  writeFileSync(config, JSON.stringify({ compilerOptions: OPTIONS, files: MODULES.map(([, file]) => file) }));
  const api = new API({});
  try {
    const project = api.updateSnapshot({ openProjects: [config] }).getProject(config);
    const { checker, program } = project;
    const found = MODULES.flatMap(([module, file]) => {
      const symbol = checker.getSymbolAtLocation(program.getSourceFile(path.join(folder, file)));
      return checker.getExportsOfModule(symbol).map((exported) => {
        const real = exported.flags & ALIAS ? checker.getAliasedSymbol(exported) : exported;
        return { module, name: exported.name, id: real.id, node: real.declarations[0].resolve(project) };
      });
    });
    return read(found);
  } finally {
    api.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const KINDS = [
  ['Classes', (node) => is.isClassDeclaration(node)],
  ['Functions', (node) => is.isFunctionDeclaration(node)],
  ['Types', () => true],
];
const kindOf = (node) => KINDS.find(([, belongs]) => belongs(node))[0];
/** What a module's entry declares itself comes first; then in the order of the sources, those of one file together. */
const inOrder = (a, b) => {
  const [one, other] = [a, b].map(({ node }) => node.getSourceFile().fileName);
  const isEntry = (file) => Number(file.endsWith('/index.d.ts'));
  return isEntry(other) - isEntry(one) || one.localeCompare(other) || a.node.pos - b.node.pos;
};

class Reference {
  #exports;
  #slugs = new Slugs();
  /** Name of an export → its heading's anchor; a name that two modules export for one thing has one. */
  #anchors = new Map();
  #written = new Set();

  constructor(exports) {
    this.#exports = exports;
  }

  text() {
    const sections = MODULES.map(([module, , what]) => ({
      module,
      what,
      slug: this.#slugs.of(`Module ${module}`),
      groups: this.#groups(module),
    }));
    const contents = sections.flatMap(({ module, slug, groups }) => [
      `* [\`${module}\`](#${slug})`,
      ...groups.map(([kind, all]) => `  * ${kind}: ${all.map((one) => this.#link(one)).join(', ')}`),
    ]);
    const head = [
      '# API reference',
      '',
      'Written by `scripts/api_reference.mjs` from the declarations of the package: change the comments in `www/pkg/src`, then run it again.',
      '',
      ...contents,
    ];
    const bodies = sections.flatMap(({ module, what, groups }) => [
      '',
      `## Module \`${module}\``,
      '',
      what,
      ...groups.flatMap(([, all]) => all.flatMap((one) => this.#entry(one))),
    ]);
    return `${[...head, ...bodies].join('\n')}\n`;
  }

  #groups(module) {
    const own = this.#exports.filter((one) => one.module === module).sort(inOrder);
    const groups = KINDS.map(([kind]) => [kind, own.filter(({ node }) => kindOf(node) === kind)]);
    for (const [, all] of groups)
      for (const one of all) if (!this.#anchors.has(one.id)) this.#anchors.set(one.id, this.#slugs.of(one.name));
    return groups.filter(([, all]) => all.length > 0);
  }

  #link({ name, id }) {
    return `[\`${name}\`](#${this.#anchors.get(id)})`;
  }

  #entry(one) {
    if (this.#written.has(one.id)) return [];
    this.#written.add(one.id);
    return ['', `### ${one.name}`, '', ...this.#body(one.node), ...this.#uses(one)];
  }

  #body(node) {
    const doc = this.#linked(docOf(node));
    const head = doc === '' ? [] : [doc, ''];
    if (is.isInterfaceDeclaration(node) || is.isClassDeclaration(node)) {
      const above = oneLine(
        withoutComments(textOf(node))
          .replace(/^export (declare )?/, '')
          .replace(/\{[^]*$/, ''),
      );
      return [...head, '```ts', above, '```', '', ...this.#members(node.members, '')];
    }
    const text = textOf(node).replace(/^export (declare )?/, '');
    return [...head, '```ts', is.isFunctionDeclaration(node) ? oneLine(text) : text, '```', ...this.#hidden(node)];
  }

  #members(members, indent) {
    return [...members].filter(isPublic).flatMap((member) => {
      const inner =
        member.type && is.isTypeLiteralNode(member.type) && /\/\*\*/.test(textOf(member.type))
          ? member.type
          : undefined;
      const text = withoutComments(textOf(member)).replace(/[;,]$/, '');
      const signature = oneLine(inner ? `${text.slice(0, text.indexOf('{'))}{ … }` : text);
      const doc = this.#linked(docOf(member)).replace(/\n(?=.)/g, `\n${indent}  `);
      const line = `${indent}* \`${signature}\`${doc === '' ? '' : `  \n${indent}  ${doc}`}`;
      return [line, ...(inner ? this.#members(inner.members, `${indent}  `) : [])];
    });
  }

  /** Declarations beside this one that it is made of and that are not exported. */
  #hidden(node) {
    const names = new Set(textOf(node).match(/\b[A-Z]\w+/g));
    const file = node.getSourceFile();
    const exported = new Set(this.#exports.map(({ name }) => name));
    return file.statements
      .filter((one) => one.name && names.has(one.name.text) && !exported.has(one.name.text))
      .flatMap((one) => [
        '',
        `\`${one.name.text}\` is`,
        '',
        '```ts',
        textOf(one).replace(/^(export )?(declare )?/, ''),
        '```',
      ]);
  }

  /** Links to what its signature names. */
  #uses({ node, id, module }) {
    const names = new Set(withoutComments(textOf(node)).match(/\b[A-Za-z]\w+\b/g));
    const used = new Map();
    for (const one of this.#exports) {
      const isType = kindOf(one.node) !== 'Functions';
      if (isType && names.has(one.name) && one.id !== id && (!used.has(one.name) || one.module === module))
        used.set(one.name, one);
    }
    return used.size === 0 ? [] : ['', `See ${[...used.values()].map((one) => this.#link(one)).join(', ')}.`];
  }

  /** `{@link Kinglet.load}` as a link, where there is one. */
  #linked(doc) {
    return doc.replace(/\{@link ([\w.]+)\}/g, (_, name) => {
      const one = this.#exports.find((other) => other.name === name.split('.')[0]);
      return one ? `[\`${name}\`](#${this.#anchors.get(one.id)})` : `\`${name}\``;
    });
  }
}

const isPublic = (member) => !/^(#|private )/.test(textOf(member));

const text = withExports((exports) => new Reference(exports).text());
if (process.argv.includes('--check')) {
  if (readFileSync(TARGET, 'utf8') !== text) {
    console.error('docs/api.md is not what the declarations say: node scripts/api_reference.mjs');
    process.exit(1);
  }
} else writeFileSync(TARGET, text);
