// The one glue that www/pkg/scripts/glue.mjs makes of two: it starts every binary as built, several at once, and what it could not join
// it refuses.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { start } from '../www/pkg/src/generated/glue.js';
import { joinGlue } from '../www/pkg/scripts/glue.mjs';

const read = (path) => readFileSync(new URL(`../www/pkg/${path}`, import.meta.url));
const [cpu, gpu] = ['cpu', 'gpu'].map((kind) => read(`src/generated/kinglet_${kind}.js`).toString());

const esbuild = createRequire(new URL('../www/pkg/package.json', import.meta.url))('esbuild');
const { outputFiles } = esbuild.buildSync({
  entryPoints: [fileURLToPath(new URL('../www/pkg/src/later.ts', import.meta.url))],
  bundle: true,
  format: 'esm',
  write: false,
});
const { Later } = await import(
  `data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`
);

/** A binary that runs, with all of its later part. */
async function started(build) {
  const isGpu = build === 'gpu';
  const [first, module] = ['', '_later'].map(
    (part) => new WebAssembly.Module(read(`dist/kinglet_${build}${part}.wasm`)),
  );
  const glue = start(isGpu, first, new WebAssembly.Memory({ initial: 64, maximum: 1024, shared: !isGpu }));
  await new Later({ device: isGpu ? 'webgpu' : 'cpu', url: '', module }, true).serve(glue.exports, assert.fail);
  return glue;
}

test('each binary runs, and those beside it are others', async () => {
  const all = await Promise.all(['simd', 'gpu', 'simd'].map(started));
  const hashes = all.map(({ Sha256 }) => new Sha256());
  const texts = ['one', 'two', 'three'];
  // What goes through memory and what comes back as text, in turns.
  for (const part of ['', ' and more']) hashes.forEach((hash, i) => hash.update(Buffer.from(texts[i] + part)));
  const wanted = texts.map((text) => createHash('sha256').update(`${text}${text} and more`).digest('hex'));
  assert.deepEqual(
    hashes.map((hash) => hash.hex()),
    wanted,
  );
});

const NOW = /^ {8}(\w+)(?=: function\(arg0\) \{\s*const ret = arg0\.now\(\);)/m;
/** In the text of what a binary of the CPU imports. */
const includes = (glue, text) => glue.slice(glue.lastIndexOf('{ ...gpu,')).includes(text);

test('a binary of the CPU gets what it imports, whatever that is called', () => {
  const odd = cpu.replace(NOW, '        of_its_own');
  assert.ok(includes(joinGlue(odd, gpu), ` of_its_own: gpu.${NOW.exec(gpu)[1]}`));
});

test('and what no binary of the GPU imports, with the functions that it calls', () => {
  const odd = cpu
    .replace('arg0.now()', '$a(arg0)')
    .replace('const EngineFinal', 'function $a(x) { return wasm.$a(x); }\nconst EngineFinal');
  const other = gpu.replace('const EngineFinal', 'function $a(x) { return wasm.$a(x, 1); }\nconst EngineFinal');
  const joined = joinGlue(odd, other);
  assert.ok(includes(joined, 'cpu$a(arg0)'));
  for (const one of ['function cpu$a(x) { return wasm.$a(x); }', 'function $a(x) { return wasm.$a(x, 1); }'])
    assert.equal(joined.split(one).length, 2, one);
});

test('glue of another form is refused', () => {
  assert.throws(() => joinGlue(cpu, gpu.replace('import0,', 'imports,')), /GPU has a new form/);
  assert.throws(() => joinGlue(cpu.replace('let wasmModule', 'let theModule'), gpu), /CPU has a new form/);
});
