// Builds dist/: type-checks and compiles src/ with tsc, and puts beside it the files that are not TypeScript: wasm-bindgen's glue
// (src/generated, made by build.sh together with dist/*.wasm) and the template language with its licence.
//   node scripts/build.mjs           the package
//   node scripts/build.mjs test      the tests, with the sources that they read, into test/build
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const inRoot = (...parts) => path.join(root, ...parts);
const copy = (from, to) => {
  fs.mkdirSync(path.dirname(to), { recursive: true });
  fs.copyFileSync(from, to);
};

function vendorTemplates() {
  const jinja = inRoot('node_modules/@huggingface/jinja');
  const { version } = JSON.parse(fs.readFileSync(path.join(jinja, 'package.json'), 'utf8'));
  const source = fs.readFileSync(path.join(jinja, 'dist/index.js'), 'utf8');
  fs.writeFileSync(
    inRoot('src/vendor/jinja.js'),
    `// @huggingface/jinja ${version}, unchanged; MIT licence, see jinja.LICENSE.\n${source}`,
  );
  copy(path.join(jinja, 'LICENSE'), inRoot('src/vendor/jinja.LICENSE'));
}

// The page makes the shared memory itself (features differ in how large it may be), so it has to know what the module asks for.
function writeMemorySize() {
  const glue = fs.readFileSync(inRoot('src/generated/kinglet.js'), 'utf8');
  const pages = /new WebAssembly\.Memory\(\{\s*initial:\s*(\d+)/.exec(glue)?.[1];
  if (!pages)
    throw new Error('src/generated/kinglet.js does not make a memory: is it the glue of a build with shared memory?');
  fs.writeFileSync(
    inRoot('src/generated/memory.ts'),
    `// Written by scripts/build.mjs from the glue.\n\n/** Pages of 64 KiB that the module asks for at least. */\nexport const INITIAL_MEMORY_PAGES = ${pages};\n`,
  );
}

const tsc = (...options) =>
  execFileSync(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), ...options], {
    cwd: root,
    stdio: 'inherit',
  });

vendorTemplates();
if (process.argv[2] === 'test') {
  fs.rmSync(inRoot('test/build'), { recursive: true, force: true });
  tsc('-p', 'test/tsconfig.json');
  copy(inRoot('src/vendor/jinja.js'), inRoot('test/build/src/vendor/jinja.js'));
} else {
  if (!fs.existsSync(inRoot('src/generated/kinglet.js')))
    throw new Error('src/generated/kinglet.js is missing: ./build.sh build makes it');
  writeMemorySize();
  for (const name of fs.existsSync(inRoot('dist')) ? fs.readdirSync(inRoot('dist')) : []) {
    if (!name.endsWith('.wasm')) fs.rmSync(inRoot('dist', name), { recursive: true });
  }
  // Comments are for readers of the types: a page loads the scripts.
  tsc('-p', 'tsconfig.json', '--removeComments', '--declaration', 'false');
  tsc('-p', 'tsconfig.json', '--emitDeclarationOnly');
  for (const name of ['generated/kinglet.js', 'vendor/jinja.js', 'vendor/jinja.LICENSE'])
    copy(inRoot('src', name), inRoot('dist', name));
}
