import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { choose, detect, type Features } from '../src/features.js';
import type { Build } from '../src/types.js';
import { wasmUrlOf } from '../src/wasm-module.js';

const all: Features = { simd: true, relaxedSimd: true, sharedMemory: true, crossOriginIsolated: true, cores: 8 };

test('the probes tell what this engine has', () => {
  const found = detect();
  // Every version of node that runs these tests has these; node 21 and later also relaxed SIMD.
  assert.equal(found.simd, true);
  assert.equal(found.sharedMemory, true);
  assert.equal(found.relaxedSimd, Number(process.versions.node.split('.')[0]) >= 21);
});

test('the build follows relaxed SIMD', () => {
  assert.equal(choose(all).build, 'relaxed');
  const plain = choose({ ...all, relaxedSimd: false });
  assert.equal(plain.build, 'simd');
  assert.match(plain.reason, /no relaxed SIMD/);
});

test('threads follow the cores, the wish and the isolation', () => {
  assert.equal(choose(all).threads, 4);
  assert.equal(choose({ ...all, cores: 2 }).threads, 2);
  assert.equal(choose({ ...all, cores: 1 }).threads, 1);
  assert.equal(choose({ ...all, cores: 64 }).threads, 8);
  assert.equal(choose(all, 3).threads, 3);
  const apart = choose({ ...all, crossOriginIsolated: false }, 3);
  assert.equal(apart.threads, 1);
  assert.match(apart.reason, /not cross-origin isolated/);
});

test('a browser without SIMD is told so, with versions', () => {
  assert.throws(
    () => choose({ ...all, simd: false }),
    (error: unknown) =>
      error instanceof KingletError &&
      error.code === 'E_UNSUPPORTED_FEATURE' &&
      /SIMD.*Safari 16\.4/.test(error.message),
  );
});

test('the wasm file of a build, from what the caller has named', () => {
  const at = (given: string, build: Build) => wasmUrlOf(`https://cdn.example/${given}`, build);
  assert.equal(at('kinglet/', 'relaxed'), 'https://cdn.example/kinglet/kinglet_relaxed.wasm');
  assert.equal(at('kinglet/', 'gpu'), 'https://cdn.example/kinglet/kinglet_gpu.wasm');
  assert.equal(at('a/kinglet_simd.wasm?v=1', 'relaxed'), 'https://cdn.example/a/kinglet_simd.wasm?v=1', 'as it is');
  assert.equal(at('a/kinglet_simd.wasm', 'gpu'), 'https://cdn.example/a/kinglet_gpu.wasm', 'not for the GPU');
  assert.equal(at('a/kinglet_gpu.wasm', 'simd'), 'https://cdn.example/a/kinglet_simd.wasm', 'not for the CPU');
  assert.equal(at('a/engine.8f3a.wasm', 'gpu'), 'https://cdn.example/a/engine.8f3a.wasm', 'a name of their own');
});
