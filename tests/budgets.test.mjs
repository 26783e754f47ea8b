// What is shipped, held to numbers: bytes of the engine (those to the first token are counted by e2e/first_token.test.mjs), the files of
// the npm tarball, the package's manifest. Runs on www/pkg/dist and dist/*.tgz as build.sh has left them. The limits are in budgets.json,
// with the goals of the project.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = new URL('..', import.meta.url);
const esbuild = createRequire(new URL('www/pkg/package.json', root))('esbuild');
const dist = new URL('www/pkg/dist/', root);
const budgets = JSON.parse(readFileSync(new URL('budgets.json', import.meta.url), 'utf8'));
const { version, exports } = JSON.parse(readFileSync(new URL('www/pkg/package.json', root), 'utf8'));
const tarball = new URL(`dist/kinglet-${version}.tgz`, root);

const gzipBytes = (name) => gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length;
/** A page loads one of them, the part that is needed first before the other. */
const BINARIES = ['simd', 'relaxed', 'gpu'].map((build) => [`kinglet_${build}.wasm`, `kinglet_${build}_later.wasm`]);
const scripts = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith('.js'));
/** What is imported by itself, beside the engine, such as `kinglet/tasks`. */
const modules = Object.values(exports).flatMap(({ default: file }) => /^\.\/dist\/(\w+)\/index\.js$/.exec(file)?.[1] ?? []);
/** What no page loads with the engine. */
const isNode = (name) => /^node(-thread)?\.js$/.test(name);
const isBeside = (name) => isNode(name) || name === 'isolation.js' || modules.some((module) => name === `${module}/index.js`);

/** Complains when a figure is over its limit; says how far it is from the goal. */
function hold(name, found, { limit, goal } = budgets[name]) {
  console.log(`${name}: ${found} (limit ${limit}, goal ${goal})`);
  assert.ok(found <= limit, `${name} is ${found}, the limit is ${limit}`);
}

test('engine: all JavaScript and the largest wasm, gzip', () => {
  for (const name of BINARIES.flat()) console.log(`${name}: ${gzipBytes(name)}`);
  const wasm = Math.max(...BINARIES.map(([first, later]) => gzipBytes(first) + gzipBytes(later)));
  const engine = scripts.filter((name) => !isBeside(name) && !/^(checkpoint|full-template)-worker/.test(name)); // those, or the others
  const javascript = engine.reduce((sum, name) => sum + gzipBytes(name), 0);
  console.log(`wasm ${wasm}, JavaScript ${javascript} in ${engine.length} files`);
  assert.ok(scripts.includes('index.js') && scripts.includes('worker.js'), `no engine in ${dist}: ${scripts}`);
  hold('engine_gzip_bytes', wasm + javascript);
});

test('what is imported by itself, gzip', () => {
  assert.deepEqual(modules, ['tasks', 'eval'], `the package exports ${modules}`);
  for (const module of modules) hold(`${module}_gzip_bytes`, gzipBytes(`${module}/index.js`));
  hold('isolation_gzip_bytes', gzipBytes('isolation.js'));
});

/** Vite 5 to 7 build a worker as one script, and refuse one that fetches a part of itself later. */
const fetchesLater = (text) => /\bimport\(/.test(text);

test('no script fetches another one later', () => {
  const found = scripts.filter((name) => !isNode(name) && fetchesLater(readFileSync(new URL(name, dist), 'utf8')));
  assert.deepEqual(found, []);
});

// It is a part of worker.js: measured nearly as it is there.
test('glue between wasm and JavaScript, gzip', () => {
  const text = readFileSync(new URL('www/pkg/src/generated/glue.js', root), 'utf8');
  const { code } = esbuild.transformSync(text, { minify: true, format: 'esm', target: 'es2022' });
  hold('glue_gzip_bytes', gzipSync(code, { level: 9 }).length);
});

/** What is wrong with the list of files of the tarball. */
function fileComplaints(files) {
  const wanted = ['package.json', 'README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'dist/index.js', 'dist/index.d.ts'];
  wanted.push('dist/worker.js', 'dist/checkpoint-worker.js', 'dist/template-worker.js', 'dist/full-template-worker.js', 'dist/node.js', 'dist/node-thread.js', 'dist/isolation.js');
  wanted.push(...BINARIES.flat().map((name) => `dist/${name}`));
  const allowed = /^(package\.json|README\.md|LICENSE-(MIT|APACHE)|dist\/([\w-]+\/)?[\w.-]+\.(js|d\.ts|wasm|LICENSE))$/;
  return [
    ...wanted.filter((name) => !files.includes(name)).map((name) => `missing: ${name}`),
    ...files.filter((name) => !allowed.test(name)).map((name) => `does not belong: ${name}`),
  ];
}

test('tarball: the files that belong in it, and no others', () => {
  const list = execFileSync('tar', ['-tzf', fileURLToPath(tarball)], { encoding: 'utf8' });
  const files = list.trim().split('\n').map((name) => name.replace(/^package\//, ''));
  assert.deepEqual(fileComplaints(files), []);
  hold('tarball_bytes', readFileSync(tarball).length);
});

test('manifest: publint finds nothing', () => {
  const publint = fileURLToPath(new URL('scripts/node_modules/.bin/publint', root));
  const said = execFileSync(publint, ['run', fileURLToPath(new URL('www/pkg', root)), '--strict'], { encoding: 'utf8' });
  assert.match(said, /All good/);
});

test('each of these checks can fail', () => {
  assert.ok(fetchesLater('const x=await import("./later.js")') && !fetchesLater('import{a}from"./a.js"'));
  assert.throws(() => hold('a figure', 2, { limit: 1, goal: 1 }), /limit is 1/);
  assert.deepEqual(fileComplaints(['package.json', 'src/secret.ts', 'dist/index.js.map']).slice(-2), [
    'does not belong: src/secret.ts',
    'does not belong: dist/index.js.map',
  ]);
  assert.ok(fileComplaints([]).includes('missing: dist/kinglet_simd.wasm'));
});
