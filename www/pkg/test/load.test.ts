import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { Client } from '../src/client.js';
import { serve } from '../src/dispatch.js';
import { KingletError } from '../src/errors.js';
import type { GpuState } from '../src/gpu.js';
import type { EngineRequests, LoadInput } from '../src/protocol.js';
import type { ProgressEvent } from '../src/types.js';
import { VERSION } from '../src/version.js';
import { FakeEngine, type Faults, FILES, hostOf, pair } from './fake.js';

function begin(
  bytes: Uint8Array<ArrayBuffer>,
  more: Partial<LoadInput> = {},
  { faults = {}, ...surroundings }: { faults?: Faults; gpu?: GpuState; onComplete?: () => void } = {},
) {
  const engine = new FakeEngine(faults);
  const { worker, scope } = pair();
  const client = new Client<EngineRequests>(worker, () => new Error('did not start'));
  serve<EngineRequests>(scope, hostOf(engine, surroundings), { trapsAreFatal: true });
  const events: ProgressEvent[] = [];
  const { result } = client.call(
    'load',
    {
      source: { kind: 'blob', blob: new Blob([bytes]) },
      device: 'cpu',
      build: 'simd',
      threads: 1,
      sharedMemory: true,
      kvType: 'f16',
      files: FILES,
      faultChannel: '',
      ...more,
    },
    { onEvent: (event) => events.push(event) },
  );
  return { client, engine, events, result };
}
const code = (expected: string) => (error: unknown) => error instanceof KingletError && error.code === expected;

test('every byte arrives once, and progress goes from start to ready', async () => {
  const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => i % 250);
  const { engine, events, result } = begin(bytes);
  assert.equal((await result).fileBytes, bytes.length);
  assert.deepEqual(engine.fed, [...bytes]);
  const phases = events.map((event) => event.phase);
  assert.equal(phases[0], 'start');
  assert.deepEqual(phases.slice(-2), ['finish', 'ready']);
  assert.equal(events.at(-1)?.loadedBytes, bytes.length);
  assert.equal(events.at(-1)?.totalBytes, 100); // what the header says counts more than what the transport says
});

test('what it will take is told once, when the header is there', async () => {
  const { events, result } = begin(new Uint8Array(200_000));
  await result;
  const told = events.filter(({ model }) => model);
  assert.deepEqual(
    told.map(({ model, phase }) => [model, phase]),
    [[{ name: 'fake', memory: { weightsBytes: 1 } }, 'download']],
  );
});

test('the rest of the binary is fetched after the first request, before where the model wants it, else a second after it is ready', async () => {
  const bytes = new Uint8Array(200);
  const parts: LoadInput['source'] = { kind: 'files', files: [], siblings: false };
  const cases: [isEarly: boolean, more: Partial<LoadInput>, surroundings: Parameters<typeof begin>[2]][] = [
    [false, {}, {}],
    [true, {}, { faults: { quantization: 'Q5_K' } }],
    [false, { device: 'webgpu' }, {}],
    [true, { source: parts }, {}],
  ];
  for (const [isEarly, more, surroundings] of cases) {
    let n_calls = 0;
    const { client, result } = begin(bytes, more, { ...surroundings, onComplete: () => n_calls++ });
    await result.catch((error: unknown) => assert.ok(isEarly && more.source, String(error))); // no file is no model
    assert.equal(n_calls > 0, isEarly, JSON.stringify(more));
    if (isEarly) continue;
    const request = { prompt: Uint32Array.of(65), maxTokens: 1, n: 1 } as never;
    await client.call('generate', { request, windowTokens: 0, sliceMs: 1 }).result;
    assert.equal(n_calls, 1);
  }
  let at = Infinity;
  const { result } = begin(bytes, {}, { onComplete: () => (at = performance.now()) });
  await result;
  const readyMs = performance.now();
  for (let i = 0; i < 200 && at === Infinity; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(at - readyMs > 900 && at - readyMs < 3000, `${at - readyMs} ms`);
});

test('typed errors of the file', async () => {
  await assert.rejects(
    begin(new Uint8Array([0xff, 1])).result,
    (error: unknown) => code('E_FILE_FORMAT')(error) && (error as KingletError).details['offset'] === 0,
  );
  await assert.rejects(begin(new Uint8Array([1])).result, code('E_FILE_FORMAT'));
  await assert.rejects(begin(new Uint8Array(0)).result, code('E_FILE_FORMAT'));
});

test('the hash decides', async () => {
  await begin(new Uint8Array(100), { sha256: 'a'.repeat(64) }).result;
  await assert.rejects(
    begin(new Uint8Array(100), { sha256: 'b'.repeat(64) }).result,
    (error: unknown) => code('E_INTEGRITY')(error) && (error as KingletError).details['actual'] === 'a'.repeat(64),
  );
});

test('a worker that never starts is given up', async () => {
  const { worker } = pair();
  const client = new Client<EngineRequests>(worker, () => new KingletError('E_NETWORK', 'worker.js did not start'), 50);
  const call = client.call('detokenize', { tokens: new Uint32Array() });
  await assert.rejects(client.started, code('E_NETWORK'));
  await assert.rejects(call.result, code('E_NETWORK'));
  assert.ok(worker.terminated);
});

test('the version is that of the package', () => {
  assert.equal(VERSION, (JSON.parse(fs.readFileSync('package.json', 'utf8')) as { version: string }).version);
});
