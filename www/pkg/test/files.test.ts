// Where the package's other files are looked for, and what is said where one is not there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { locate } from '../src/files.js';
import { watchStart } from '../src/spawn.js';

const PAGE = 'https://site.example/app/page.html';
Object.assign(globalThis, { location: new URL(PAGE) });

const pair = (folder: string, build: string, query = '') => ({
  first: `${folder}kinglet_${build}.wasm${query}`,
  later: `${folder}kinglet_${build}_later.wasm${query}`,
});
const names = (folder: string) => ({
  simd: pair(folder, 'simd'),
  relaxed: pair(folder, 'relaxed'),
  gpu: pair(folder, 'gpu'),
});

test('beside the module, unless the caller says otherwise', () => {
  const beside = new URL('../src/', import.meta.url).href;
  assert.deepEqual(locate({}), {
    worker: `${beside}worker.js`,
    checkpoints: `${beside}checkpoint-worker.js`,
    templates: `${beside}template-worker.js`,
    fullTemplates: `${beside}full-template-worker.js`,
    wasm: names(beside),
  });
});

test('workerUrl: all of them are there; relative to the page', () => {
  assert.deepEqual(locate({ workerUrl: '../kinglet/worker.js' }), {
    worker: 'https://site.example/kinglet/worker.js',
    checkpoints: 'https://site.example/kinglet/checkpoint-worker.js',
    templates: 'https://site.example/kinglet/template-worker.js',
    fullTemplates: 'https://site.example/kinglet/full-template-worker.js',
    wasm: names('https://site.example/kinglet/'),
  });
});

test('wasmUrl: a folder, or a file that stands for its device', () => {
  const { worker, wasm } = locate({ workerUrl: '/w/worker.js', wasmUrl: new URL('https://cdn.example/k/') });
  assert.equal(worker, 'https://site.example/w/worker.js');
  assert.deepEqual(wasm, names('https://cdn.example/k/'));
  assert.deepEqual(locate({ wasmUrl: '/k/kinglet_simd.wasm?v=1' }).wasm, {
    simd: pair('https://site.example/k/', 'simd', '?v=1'),
    relaxed: pair('https://site.example/k/', 'simd', '?v=1'),
    gpu: pair('https://site.example/k/', 'gpu'),
  });
  const named = { wasmUrl: '/a/engine.8f3a.wasm', wasmLaterUrl: '/a/later.91c2.wasm' };
  assert.deepEqual(locate(named).wasm.simd, {
    first: 'https://site.example/a/engine.8f3a.wasm',
    later: 'https://site.example/a/later.91c2.wasm',
  });
});

test('a worker that does not start: the likely remedy', () => {
  const said = (url: string) => watchStart('worker.js', url).error();
  for (const [url, remedy] of [
    ['https://site.example/node_modules/.vite/deps/worker.js', /optimizeDeps: \{ exclude: \['kinglet'\] \}/],
    ['https://site.example/assets/worker.js', /workerUrl/],
    ['https://cdn.example/worker.js', /CORS.*worker-src blob: and its origin/],
  ] as const) {
    assert.equal(said(url).code, 'E_NETWORK');
    assert.match(said(url).message, remedy);
    assert.deepEqual(said(url).details, { url });
  }
});
