import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '../src/client.js';
import { serve } from '../src/dispatch.js';
import { decide } from '../src/gpu.js';
import type { EngineRequests, GenerateInput, LoadInput } from '../src/protocol.js';
import { bySpeed, knownSpeeds, type Speeds, SPEEDS_KEY, Speedometer } from '../src/speeds.js';
import { sizeClass } from '../src/tuning.js';
import { type Faults, FakeEngine, FILES, GPU, hostOf, loadFake, pair } from './fake.js';

const MIB = 2 ** 20;
const CPU = { kind: 'cpu' } as const;
const ROCKET = { kind: 'webgpu', adapter: 'acme rocket' } as const;

function memory(text?: string) {
  const items = new Map(text === undefined ? [] : [[SPEEDS_KEY, text]]);
  const setItem = (key: string, value: string): void => void items.set(key, value);
  return () => ({ getItem: (key: string) => items.get(key) ?? null, setItem });
}

test('the best of an engine is kept by device and size, for one machine', () => {
  const store = memory();
  const cpu = new Speedometer('8 a', CPU, 100 * MIB, store);
  cpu.note({ readMs: 0, writeMs: 9 });
  cpu.note({ readMs: 2, writeMs: 10 });
  cpu.note({ readMs: 3, writeMs: 8 });
  new Speedometer('8 a', ROCKET, 100 * MIB, store).note({ readMs: 1, writeMs: 5 });
  new Speedometer('8 a', CPU, 2_000 * MIB, store).note({ readMs: 20, writeMs: 99 });
  const known = {
    [sizeClass(100 * MIB)]: {
      cpu: { readMs: 2, writeMs: 8 },
      webgpu: { readMs: 1, writeMs: 5, adapter: 'acme rocket' },
    },
    [sizeClass(2_000 * MIB)]: { cpu: { readMs: 20, writeMs: 99 } },
  };
  assert.deepEqual(knownSpeeds('8 a', store), known);
  new Speedometer('8 a', CPU, 100 * MIB, store).note({ readMs: 4, writeMs: 11 });
  assert.equal(
    knownSpeeds('8 a', store)[sizeClass(100 * MIB)]?.cpu?.writeMs,
    11,
    'a new engine counts, not an old one',
  );
  assert.deepEqual(knownSpeeds('4 a', store), {});
  new Speedometer('4 a', CPU, MIB, store).note({ readMs: 0, writeMs: 1 });
  assert.deepEqual(knownSpeeds('8 a', store), {});
});

test('what is stored may be anything, or nothing can be', () => {
  const machine = 'm';
  const damaged = { cpu: { readMs: -1, writeMs: 1 }, webgpu: { readMs: 0, writeMs: 1 } };
  const more = [{ cpu: { readMs: 0, writeMs: 0 } }, { cpu: { readMs: '0', writeMs: 1 } }, { cpu: 7 }, {}];
  for (const [text, expected] of [
    ['{', {}],
    ['null', {}],
    ['{"machine":"m"}', {}],
    ['{"machine":"m","known":{"1":null}}', {}],
    [JSON.stringify({ machine, known: { a: damaged } }), { a: {} }],
    [JSON.stringify({ machine, known: { ...more } }), { 0: {}, 1: {}, 2: {}, 3: {} }],
  ] as const)
    assert.deepEqual(knownSpeeds(machine, memory(text)), expected, text);
  const forbidden = (): never => {
    throw new DOMException('no', 'SecurityError');
  };
  new Speedometer(machine, CPU, 1, forbidden).note({ readMs: 0, writeMs: 1 });
  assert.deepEqual(knownSpeeds(machine, forbidden), {});
});

const of = (
  cpu: [number, number] | undefined,
  gpu: [number, number],
  bytes = 100 * MIB,
  adapter = 'acme rocket',
): Speeds => ({
  [sizeClass(bytes)]: {
    ...(cpu && { cpu: { readMs: cpu[0], writeMs: cpu[1] } }),
    webgpu: { readMs: gpu[0], writeMs: gpu[1], adapter },
  },
});

test('the faster device is taken, the GPU where nothing else was seen', () => {
  const chosen = (speeds: Speeds, bytes: number | undefined = 100 * MIB) =>
    bySpeed(decide('auto', GPU), speeds, bytes).kind;
  assert.equal(chosen({}), 'webgpu');
  assert.equal(
    chosen({ [sizeClass(100 * MIB)]: { cpu: { readMs: 0, writeMs: 1 } } }),
    'webgpu',
    'the GPU is not known',
  );
  assert.equal(chosen(of([0, 7], [0, 8])), 'cpu');
  assert.equal(chosen(of([0, 7.5], [0, 8])), 'webgpu', 'not by enough');
  assert.equal(chosen(of([4, 7], [1, 8])), 'webgpu', 'prompts count');
  assert.equal(chosen(of([4, 7], [0, 8])), 'cpu', 'where both are known');
  assert.equal(chosen(of([0, 7], [0, 8]), 2_000 * MIB), 'webgpu', 'another size');
  assert.equal(chosen(of([0, 7], [0, 8], 100 * MIB, 'acme cart')), 'webgpu', 'another GPU');
  assert.equal(chosen(of([0, 7], [0, 8], 3_000 * MIB), 3_000 * MIB), 'webgpu', 'too large for the CPU');
  assert.equal(
    bySpeed(decide('auto', GPU), of([0, 7], [0, 8]), undefined).kind,
    'webgpu',
    'a size that nobody has said',
  );
  const { reason } = bySpeed(decide('auto', GPU), of([0, 0.125], [0, 8]), 100 * MIB);
  assert.equal(
    reason,
    'CPU: faster here with models of this size, 8000 against 125 tokens a second on the GPU (acme rocket)',
  );
});

test('a GPU that may be slower than the CPU has it measured', () => {
  const decision = bySpeed(decide('auto', GPU), of(undefined, [0, 20]), 100 * MIB);
  assert.equal(decision.kind, 'cpu');
  assert.match(decision.reason, /to be measured.* 50 tokens a second on the GPU \(acme rocket\)/);
  assert.equal(bySpeed(decide('auto', GPU), of(undefined, [0, 5]), 100 * MIB).kind, 'webgpu', 'fast enough');
});

test('the CPU is tried once, and again only when the GPU was measured again', () => {
  const store = memory();
  const next = (): string => bySpeed(decide('auto', GPU), knownSpeeds('8 a', store), 100 * MIB).kind;
  const on = (device: typeof CPU | typeof ROCKET) => new Speedometer('8 a', device, 100 * MIB, store);
  on(ROCKET).note({ readMs: 0, writeMs: 20 });
  assert.equal(next(), 'cpu');
  on(CPU); // no answer tells
  assert.equal(next(), 'webgpu');
  on(ROCKET);
  assert.equal(next(), 'webgpu');
  on(ROCKET).note({ readMs: 0, writeMs: 20 });
  assert.equal(next(), 'cpu');
  on(CPU).note({ readMs: 0, writeMs: 10 });
  assert.equal(next(), 'cpu', 'faster');
  on(CPU).note({ readMs: 0, writeMs: 30 });
  assert.equal(next(), 'webgpu', 'slower');
});

test('a loaded model is on the device that is faster; where another is asked for, on that', async () => {
  const load = async (more: Partial<LoadInput>): Promise<string> => {
    const { worker, scope } = pair();
    const client = new Client<EngineRequests>(worker, () => new Error('did not start'));
    serve<EngineRequests>(
      scope,
      hostOf((options) => new FakeEngine({}, options)),
      { trapsAreFatal: true },
    );
    const blob = new Blob([new Uint8Array(100)]);
    const input = { source: { kind: 'blob', blob }, build: 'simd', threads: 1, sharedMemory: true, files: FILES };
    const { device } = await client.call('load', { ...input, kvType: 'f16', faultChannel: '', ...more } as LoadInput)
      .result;
    return device.kind;
  };
  const speeds = of([0, 1], [0, 8], 100);
  assert.equal(await load({ device: 'auto' }), 'webgpu');
  assert.equal(await load({ device: 'auto', speeds }), 'cpu');
  assert.equal(await load({ device: 'auto', speeds: {} }), 'webgpu');
  assert.equal(await load({ device: 'webgpu' }), 'webgpu');
});

test('an answer tells how fast it was, if it came token by token as fast as it could', async () => {
  const speedOf = async (
    request: Partial<GenerateInput['request']> = {},
    { faults = {}, windowTokens = 0 }: { faults?: Faults; windowTokens?: number } = {},
  ) => {
    const { client } = await loadFake({ readyMs: 1, ...faults });
    const prompt = new Uint32Array(80).fill(65);
    const input = { request: { prompt, maxTokens: 30, n: 1, ...request }, windowTokens, sliceMs: 1 } as GenerateInput;
    const call = client.call('generate', input, { onEvent: () => setTimeout(() => call.acknowledge(100), 20) });
    return (await call.result).speed;
  };
  const speed = await speedOf();
  assert.ok(speed && speed.readMs > 0 && speed.writeMs > 1, JSON.stringify(speed));
  assert.equal((await speedOf({ prompt: Uint32Array.of(65) }))?.readMs, 0, 'a short prompt');
  assert.ok(await speedOf({}, { windowTokens: 1000 }));
  assert.equal(await speedOf({ maxTokens: 20 }), undefined, 'too short');
  assert.equal(await speedOf({ n: 2 }), undefined, 'two at once');
  assert.equal(await speedOf({ beams: { width: 2, lengthPenalty: 1, earlyStopping: 'no' } }), undefined, 'beams');
  const guessed = { draftedTokens: 2, acceptedTokens: 1 };
  assert.equal(await speedOf({}, { faults: { guessed } }), undefined, 'guessed');
  assert.equal(await speedOf({}, { windowTokens: 10 }), undefined, 'held up by the reader');
});
