import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { choose, describeSimd, detect, type Features } from '../src/features.js';
import type { Build } from '../src/types.js';
import { wasmFilesOf } from '../src/files.js';

const all: Features = {
  simd: true,
  relaxedSimd: true,
  atomics: true,
  sharedMemory: true,
  postsMemory: true,
  crossOriginIsolated: true,
  cores: 8,
};

test('the probes tell what this engine has', () => {
  const found = detect();
  // Every version of node that runs these tests has these; node 21 and later also relaxed SIMD.
  assert.equal(found.simd, true);
  assert.deepEqual([found.atomics, found.sharedMemory, found.postsMemory], [true, true, true]);
  assert.equal(found.relaxedSimd, Number(process.versions.node.split('.')[0]) >= 21);
});

test('the build follows relaxed SIMD', () => {
  assert.equal(choose(all).build, 'relaxed');
  const plain = choose({ ...all, relaxedSimd: false });
  assert.equal(plain.build, 'simd');
  assert.match(describeSimd('simd128', plain), /no relaxed SIMD/);
  assert.match(describeSimd('simd128', choose(all)), /wasmUrl/, 'another file than the browser would get');
  assert.equal(describeSimd('relaxed', choose(all)), 'relaxed SIMD');
});

test('threads follow the cores, the wish and the isolation', () => {
  assert.equal(choose(all).threads, 8);
  assert.equal(choose({ ...all, cores: 6 }).threads, 6);
  assert.equal(choose({ ...all, cores: 2 }).threads, 2);
  assert.equal(choose({ ...all, cores: 1 }).threads, 1);
  assert.equal(choose({ ...all, cores: 64 }).threads, 8);
  assert.equal(choose(all, 3).threads, 3);
  const apart = choose({ ...all, crossOriginIsolated: false }, 3);
  assert.equal(apart.threads, 1);
  assert.match(apart.reason, /not cross-origin isolated/);
});

test('memory that is not shared, or not posted, leaves one thread', () => {
  assert.equal(choose(all).sharedMemory, true);
  const refused = choose({ ...all, sharedMemory: false, postsMemory: false });
  assert.deepEqual([refused.threads, refused.sharedMemory], [1, false]);
  assert.match(refused.reason, /^1 thread: this browser refuses shared memory/);
  const kept = choose({ ...all, postsMemory: false }, 3);
  assert.deepEqual([kept.threads, kept.sharedMemory], [1, true]);
  assert.match(kept.reason, /shares no memory between threads, though the page is cross-origin isolated/);
  assert.equal(choose({ ...all, postsMemory: false }, 1).reason, '1 thread, as asked');
});

test('a browser without SIMD or atomic instructions is told so, with versions', () => {
  const lacks: [Partial<Features>, RegExp][] = [
    [{ simd: false }, /no WebAssembly SIMD: .*Safari 16\.4/],
    [{ atomics: false }, /no WebAssembly atomic instructions: .*Firefox 89/],
    [{ simd: false, atomics: false }, /no WebAssembly SIMD and no atomic instructions/],
  ];
  for (const [features, message] of lacks)
    assert.throws(
      () => choose({ ...all, ...features }),
      (error: unknown) =>
        error instanceof KingletError && error.code === 'E_UNSUPPORTED_FEATURE' && message.test(error.message),
    );
});

test('the wasm files of a build, from what the caller has named', () => {
  const at = (given: string, build: Build) => wasmFilesOf(`https://cdn.example/${given}`, build);
  const holds = (given: string, build: Build, first: string, later: string) =>
    assert.deepEqual(at(given, build), {
      first: `https://cdn.example/${first}`,
      later: `https://cdn.example/${later}`,
    });
  holds('kinglet/', 'relaxed', 'kinglet/kinglet_relaxed.wasm', 'kinglet/kinglet_relaxed_later.wasm');
  holds('kinglet/', 'gpu', 'kinglet/kinglet_gpu.wasm', 'kinglet/kinglet_gpu_later.wasm');
  // As it is; not for the GPU; not for the CPU; a name of their own.
  holds('a/kinglet_simd.wasm?v=1', 'relaxed', 'a/kinglet_simd.wasm?v=1', 'a/kinglet_simd_later.wasm?v=1');
  holds('a/kinglet_simd.wasm', 'gpu', 'a/kinglet_gpu.wasm', 'a/kinglet_gpu_later.wasm');
  holds('a/kinglet_gpu.wasm', 'simd', 'a/kinglet_simd.wasm', 'a/kinglet_simd_later.wasm');
  holds('a/engine.8f3a.wasm', 'gpu', 'a/engine.8f3a.wasm', 'a/engine.8f3a_later.wasm');
});
