import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EngineOptions } from '../src/abi.js';
import { Client } from '../src/client.js';
import { serve } from '../src/dispatch.js';
import { KingletError } from '../src/errors.js';
import type { EngineRequests, LoadInput } from '../src/protocol.js';
import { firstTuning, GPU_KEY, keep, kept, remember, rememberGpu, sizeClass, STORAGE_KEY } from '../src/tuning.js';
import { FakeEngine, FILES, GPU, hostOf, loadFake, pair } from './fake.js';

const MIB = 2 ** 20;

function memory(text?: string) {
  const items = new Map(text === undefined ? [] : [[STORAGE_KEY, text]]);
  let n_writes = 0;
  const store = {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => {
      n_writes++;
      items.set(key, value);
    },
  };
  return { store: () => store, items, writes: () => n_writes };
}

test('the first guess is half of the cores, and no more than there are threads', () => {
  const guess = (cores: number, threads: number) => firstTuning(cores, threads, 'a', memory().store).guess;
  assert.deepEqual(
    [guess(2, 2), guess(3, 3), guess(8, 8), guess(16, 8), guess(64, 8)].map(([one]) => one),
    [2, 2, 4, 8, 8],
  );
});

test('models of about the same size are of one class', () => {
  assert.equal(sizeClass(98 * MIB), sizeClass(138 * MIB));
  assert.notEqual(sizeClass(98 * MIB), sizeClass(2_000 * MIB));
  assert.match(sizeClass(0), /^\d+$/);
});

test('what was found comes back for this machine, build and size', () => {
  const { store, items, writes } = memory();
  remember(8, '0.1.0 relaxed', 100 * MIB, [4, 8], store);
  remember(8, '0.1.0 relaxed', 100 * MIB, [4, 8], store);
  assert.equal(writes(), 1, 'the same is not written again');
  remember(8, '0.1.0 relaxed', 2_000 * MIB, [2, 2], store);
  const known = { [sizeClass(100 * MIB)]: [4, 8], [sizeClass(2_000 * MIB)]: [2, 2] };
  assert.deepEqual(firstTuning(8, 8, '0.1.0 relaxed', store).known, known);
  assert.deepEqual(firstTuning(4, 4, '0.1.0 relaxed', store).known, {}, 'another machine');
  assert.deepEqual(firstTuning(8, 8, '0.2.0 relaxed', store).known, {}, 'another build');
  remember(8, '0.2.0 relaxed', 100 * MIB, [8, 8], store);
  assert.equal(items.size, 1);
});

test('a store that is broken, full or forbidden is done without', () => {
  const machine = '8 a';
  for (const text of [
    '{',
    'null',
    '7',
    '{"machine":"8 a"}',
    JSON.stringify({ machine, known: { 1: [-1, 1], 2: 'x', 3: [1.5, 2], 4: [1, 2, 3] } }),
  ])
    assert.deepEqual(firstTuning(8, 8, 'a', memory(text).store).known, {}, text);
  const forbidden = () => {
    throw new DOMException('no', 'SecurityError');
  };
  assert.deepEqual(firstTuning(8, 8, 'a', forbidden).known, {});
  remember(8, 'a', 1, [1, 1], forbidden);
  assert.deepEqual(firstTuning(8, 8, 'a', () => undefined).known, {}, 'a worker has none');
  keep(GPU_KEY, 'what was measured', forbidden);
  assert.equal(kept(GPU_KEY, forbidden), '');
  const { store } = memory();
  assert.equal(kept(GPU_KEY, store), '');
  keep(GPU_KEY, 'what was measured', store);
  assert.equal(kept(GPU_KEY, store), 'what was measured');
});

test('of a GPU only what is new is kept', () => {
  const { store, writes } = memory();
  assert.equal(rememberGpu(undefined, store), false);
  assert.equal(rememberGpu('shaders acme rocket', store), false, 'nothing was measured');
  assert.equal(rememberGpu('shaders acme rocket\na class:1', store), true);
  assert.equal(rememberGpu('shaders acme rocket\na class:1', store), false);
  assert.deepEqual([kept(GPU_KEY, store), writes()], ['shaders acme rocket\na class:1', 1]);
});

function load(onPool: () => void | Promise<void>, more: Partial<LoadInput> = {}, adapter = GPU.adapter) {
  const engine = new FakeEngine();
  const told: EngineOptions[] = [];
  const { worker, scope } = pair();
  const client = new Client<EngineRequests>(worker, () => new Error('did not start'));
  const make = (options: EngineOptions): FakeEngine => {
    told.push(options);
    return options.device === 'webgpu' ? new FakeEngine({}, options) : engine;
  };
  serve<EngineRequests>(scope, hostOf(make, { onPool, gpu: { kind: 'found', adapter } }), { trapsAreFatal: true });
  const { result } = client.call('load', {
    source: { kind: 'blob', blob: new Blob([new Uint8Array(100)]) },
    device: 'cpu',
    build: 'simd',
    threads: 4,
    sharedMemory: true,
    kvType: 'f16',
    files: FILES,
    faultChannel: '',
    ...more,
  } as LoadInput);
  return { engine, result, told };
}

test('an engine is ready though its threads are late, and tunes itself where nobody said how many', async () => {
  const { engine, result } = load(() => new Promise(() => {}));
  await result;
  assert.deepEqual(engine.tunes, [], 'a number that was given is kept to');

  const guessed = load(() => {}, { tuning: { guess: [2, 2], known: {} } });
  await guessed.result;
  assert.deepEqual(guessed.engine.tunes, [[2, 2]]);

  const known = load(() => {}, { tuning: { guess: [2, 2], known: { [sizeClass(100)]: [3, 4] } } });
  await known.result;
  assert.deepEqual(known.engine.tunes, [[3, 4]]);

  const half = load(() => {}, { tuning: { guess: [2, 2], known: { [sizeClass(100)]: [3, 0] } } });
  await half.result;
  assert.deepEqual(half.engine.tunes, [[3, 2]], 'no long prompt has shown what is best for it');
});

test('a GPU is told what is known of it, a software one is not tuned', async () => {
  const told = async (more: Partial<LoadInput>, adapter = GPU.adapter): Promise<unknown> => {
    const { result, told } = load(() => {}, { device: 'webgpu', ...more }, adapter);
    await result;
    return told[0]?.gpu?.tuned;
  };
  assert.equal(await told({}), '');
  assert.equal(await told({ gpuTuned: 'what was measured' }), 'what was measured');
  assert.equal(await told({ gpuTuned: 'what was measured' }, { ...GPU.adapter, software: true }), undefined);
});

test('a thread that cannot start is said while the model loads', async () => {
  const failure = new KingletError('E_NETWORK', 'pool-worker.js did not start');
  await assert.rejects(load(() => Promise.reject(failure)).result, { code: 'E_NETWORK' });
});

test('the page is told what was found, and gets profiles while it asks for them', async () => {
  const { client, engine } = await loadFake({ found: [3, 0] });
  const request = { prompt: new Uint32Array([1]), stop: [], n: 1, seed: 1, temperature: 0, topK: 1, topP: 1, minP: 0 };
  const more = { repeatPenalty: 1, frequencyPenalty: 0, presencePenalty: 0, logitBias: [], echo: false };
  const input = {
    request: { ...request, ...more, maxTokens: 3, ignoreEos: true, cachePrompt: true },
    sliceMs: 10,
    windowTokens: 0,
  };
  assert.deepEqual((await client.call('generate', input as never).result).found, [3, 0]);

  assert.equal(await client.call('profile', { on: true }).result, undefined);
  await client.call('generate', input as never).result;
  const profile = await client.call('profile', { on: false }).result;
  assert.ok(profile && profile.wallMs > 0 && profile.steps === 1);
  assert.equal(engine.isProfiled, false);
  assert.equal(await client.call('profile', { on: false }).result, undefined);
});
