// Builds dist/: type-checks and compiles src/ with tsc, bundles what is loaded as one, minified (what
// wasm-bindgen writes into src/generated, and build.sh makes together with dist/*.wasm, becomes a part of the worker).
//   node scripts/build.mjs           the package
//   node scripts/build.mjs test      the tests, with the sources that they read, into test/build
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';
import { GLUE_TYPES, joinGlue } from './glue.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const inRoot = (...parts) => path.join(root, ...parts);
const GLUE = ['kinglet_cpu.js', 'kinglet_gpu.js'];

// The page makes the memory itself (features differ in how large it may be), so it has to know what the module asks for.
function writeMemorySizes() {
  const pages = GLUE.map((name) => {
    const glue = fs.readFileSync(inRoot('src/generated', name), 'utf8');
    const found = /new WebAssembly\.Memory\(\{\s*initial:\s*(\d+)/.exec(glue)?.[1];
    if (!found)
      throw new Error(`src/generated/${name} does not make a memory: is it the glue of a build that imports its memory?`);
    return Number(found);
  });
  fs.writeFileSync(
    inRoot('src/generated/memory.ts'),
    `// Written by scripts/build.mjs from the glue.\n\n/** Pages of 64 KiB that the modules ask for at least. */\nexport const INITIAL_MEMORY_PAGES = ${Math.max(...pages)};\n`,
  );
}

function writeGlue() {
  const [cpu, gpu] = GLUE.map((name) => fs.readFileSync(inRoot('src/generated', name), 'utf8'));
  fs.writeFileSync(inRoot('src/generated/glue.js'), joinGlue(cpu, gpu));
  fs.writeFileSync(inRoot('src/generated/glue.d.ts'), GLUE_TYPES);
}

// What is imported beside the engine, such as `kinglet/eval`: a file each, and nothing of it in index.js.
const EXPORTS = JSON.parse(fs.readFileSync(inRoot('package.json'), 'utf8')).exports;
const MODULES = Object.values(EXPORTS)
  .map((entry) => /^\.\/dist\/(.+\/index\.js)$/.exec(entry.default)?.[1])
  .filter(Boolean);

// The modules of the page and of each worker become one file, which is smaller and comes at once. A worker's file names no other
// (src/files.ts says why), so the glue is in it.
async function bundleModules() {
  const entries = [
    'index.js',
    'worker.js',
    'checkpoint-worker.js',
    'template-worker.js',
    'full-template-worker.js',
    ...MODULES,
  ];
  // Minified as they are bundled: what one module says of another, such as a constant, is put in its place.
  const options = {
    bundle: true,
    format: 'esm',
    write: false,
    charset: 'utf8',
    minify: true,
    target: 'es2022',
    legalComments: 'inline',
  };
  const bundles = [];
  for (const name of entries) bundles.push([name, await build({ entryPoints: [inRoot('dist', name)], ...options })]);
  // A classic script, as a page has it in its head.
  bundles.push([
    'isolation.js',
    await build({ entryPoints: [inRoot('dist/isolation.js')], ...options, format: 'iife' }),
  ]);
  // From TypeScript: tsc has checked them, with the types of Node.js.
  const node = { ...options, platform: 'node', target: 'node20', plugins: [nodeHost] };
  bundles.push(['node.js', await build({ entryPoints: [inRoot('src/index.ts')], ...node })]);
  bundles.push(['node-thread.js', await build({ entryPoints: [inRoot('src/node/thread.ts')], ...node })]);
  for (const name of fs.readdirSync(inRoot('dist'), { recursive: true }))
    if (name.endsWith('.js')) fs.rmSync(inRoot('dist', name));
  for (const [name, { outputFiles }] of bundles)
    fs.writeFileSync(inRoot('dist', name), await smaller(outputFiles[0].text));
}

// What terser finds beyond esbuild: 4 % (gzip).
async function smaller(text) {
  const compress = { passes: 3, unsafe_arrows: true };
  const { code } = await minify(text, { module: true, ecma: 2022, compress, format: { comments: 'some' } });
  return code;
}

// In Node.js src/node/host.ts is in the place of src/host.ts.
const nodeHost = {
  name: 'node-host',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/host\.js$/ }, () => ({ path: inRoot('src/node/host.ts') }));
  },
};

// Declarations that no entry of the package leads to say nothing to anybody. Those that it does not export are for the compiler alone, which
// reads no comments.
function pruneDeclarations() {
  const entries = Object.values(EXPORTS)
    .map((entry) => entry.default ?? entry)
    .filter((entry) => entry.endsWith('.js'))
    .map((entry) => inRoot(entry.replace(/js$/, 'd.ts')));
  const reachedBy = (imports) => {
    const reached = new Set();
    const reach = (file) => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const [, from] of fs.readFileSync(file, 'utf8').matchAll(imports))
        reach(path.join(path.dirname(file), `${from}.d.ts`));
    };
    for (const entry of entries) reach(entry);
    return reached;
  };
  const read = reachedBy(/['"](\.{1,2}\/[^'"]+)\.js['"]/g);
  const exported = reachedBy(/^export .*['"](\.{1,2}\/[^'"]+)\.js['"]/gm);
  for (const name of fs.readdirSync(inRoot('dist'), { recursive: true })) {
    const file = inRoot('dist', name);
    if (!name.endsWith('.d.ts') || exported.has(file)) continue;
    if (read.has(file)) fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(/ *\/\*\*.*?\*\/\n/gs, ''));
    else fs.rmSync(file);
  }
  for (const entry of fs.readdirSync(inRoot('dist'), { withFileTypes: true }))
    if (entry.isDirectory() && fs.readdirSync(inRoot('dist', entry.name)).length === 0)
      fs.rmdirSync(inRoot('dist', entry.name));
}

const tsc = (...options) =>
  execFileSync(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), ...options], {
    cwd: root,
    stdio: 'inherit',
  });

if (process.argv[2] === 'test') {
  fs.rmSync(inRoot('test/build'), { recursive: true, force: true });
  tsc('-p', 'test/tsconfig.json');
} else {
  for (const name of GLUE) {
    if (!fs.existsSync(inRoot('src/generated', name)))
      throw new Error(`src/generated/${name} is missing: ./build.sh build makes it`);
  }
  writeMemorySizes();
  writeGlue();
  for (const name of fs.existsSync(inRoot('dist')) ? fs.readdirSync(inRoot('dist')) : []) {
    if (!name.endsWith('.wasm')) fs.rmSync(inRoot('dist', name), { recursive: true });
  }
  tsc('-p', 'tsconfig.json');
  tsc('-p', 'tsconfig.node.json');
  fs.copyFileSync(inRoot('src/generated/glue.js'), inRoot('dist/generated/glue.js'));
  await bundleModules();
  pruneDeclarations();
}
