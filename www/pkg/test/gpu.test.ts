// The device policy, what is seen of an adapter, and the shim; then the policy at work: loading on a GPU that fails in every way
// it can, with the CPU taking over or not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EngineOptions } from '../src/abi.js';
import { Client } from '../src/client.js';
import { serve } from '../src/dispatch.js';
import { KingletError } from '../src/errors.js';
import { decide, findGpu, type GpuState, withSubgroups } from '../src/gpu.js';
import type { EngineRequests, LoadInput, LoadOutput } from '../src/protocol.js';
import { describeSource } from '../src/source.js';
import type { ProgressEvent } from '../src/types.js';
import { FakeEngine, type Faults, FILES, GPU, hostOf, pair } from './fake.js';

const code =
  (expected: string, pattern = /./) =>
  (error: unknown) =>
    error instanceof KingletError && error.code === expected && pattern.test(error.message);
const adapterOf = (info: object, features: string[] = [], more: object = {}) =>
  ({
    info: { vendor: '', architecture: '', device: '', description: '', ...info },
    features: new Set(features),
    ...more,
  }) as unknown as GPUAdapter;
const gpuOf = (adapter: GPUAdapter | null, more: object = {}) =>
  ({ requestAdapter: async () => adapter, ...more }) as unknown as GPU;
const look = async (info: object, features?: string[], more?: object) => {
  const found = await findGpu(gpuOf(adapterOf(info, features, more)), true);
  assert.ok(found.kind === 'found');
  return found.adapter;
};

describe('what is seen of an adapter', () => {
  test('its name, as much as the browser tells', async () => {
    assert.equal((await look({ vendor: 'nvidia', architecture: 'ampere' })).name, 'nvidia ampere');
    assert.equal((await look({ vendor: 'x', description: 'ACME Rocket 9000' })).name, 'ACME Rocket 9000');
    assert.equal((await look({})).name, 'unnamed adapter');
  });

  test('whether it is software: by its flag, old or new, or by any of its names', async () => {
    assert.equal((await look({ vendor: 'nvidia', architecture: 'ampere', isFallbackAdapter: false })).software, false);
    assert.equal((await look({ isFallbackAdapter: true })).software, true);
    assert.equal((await look({}, [], { isFallbackAdapter: true })).software, true);
    for (const info of [
      { vendor: 'google', architecture: 'swiftshader' },
      { description: 'llvmpipe (LLVM 19.1.7, 256 bits)' },
      { device: 'lavapipe' },
      { description: 'Microsoft Basic Render Driver' },
      { description: 'Apple Software Renderer' },
    ])
      assert.equal((await look(info)).software, true, JSON.stringify(info));
  });

  test('subgroups and f16, with the sizes that WebGPU promises where none are told', async () => {
    const facts = async (...args: Parameters<typeof look>) => {
      const { subgroups, subgroupMinSize, subgroupMaxSize, f16 } = await look(...args);
      return [subgroups, subgroupMinSize, subgroupMaxSize, f16];
    };
    assert.deepEqual(await facts({}), [false, 4, 128, false]);
    const sizes = { subgroupMinSize: 8, subgroupMaxSize: 32 };
    assert.deepEqual(await facts(sizes, ['subgroups', 'shader-f16']), [true, 8, 32, true]);
  });

  test('packed dot products, where the browser has a list of what its WGSL can do', async () => {
    const packed = async (more: object) => {
      const found = await findGpu(gpuOf(adapterOf({}), more), true);
      return found.kind === 'found' && found.adapter.packedDot;
    };
    assert.equal(await packed({}), false);
    assert.equal(await packed({ wgslLanguageFeatures: new Set() }), false);
    assert.equal(await packed({ wgslLanguageFeatures: new Set(['packed_4x8_integer_dot_product']) }), true);
  });

  test('why there is none', async () => {
    const why = async (...args: Parameters<typeof findGpu>) => {
      const state = await findGpu(...args);
      return state.kind === 'missing' ? state.why : assert.fail();
    };
    // null: what a parameter with a default cannot be given as undefined.
    const none = null as unknown as GPU;
    assert.match(await why(none, true), /this browser has no WebGPU/);
    assert.match(await why(none, false), /secure context.*https/);
    assert.match(await why(gpuOf(null), true), /no WebGPU adapter/);
    const broken = { requestAdapter: () => Promise.reject(new Error('the driver')) } as unknown as GPU;
    assert.match(await why(broken, true), /the driver/);
  });
});

describe('the policy', () => {
  const software: GpuState = {
    kind: 'found',
    adapter: { ...GPU.adapter, name: 'swiftshader', software: true },
  };
  const missing: GpuState = { kind: 'missing', why: 'no adapter' };
  const failed = (code: string): GpuState => ({
    kind: 'failed',
    adapter: GPU.adapter,
    error: { code, message: 'because' },
  });

  test("'cpu' is the CPU whatever there is", () => {
    for (const gpu of [undefined, GPU, software, missing, failed('E_GPU_WRONG')])
      assert.deepEqual(decide('cpu', gpu), { kind: 'cpu', reason: 'CPU, as asked' });
  });

  test("'webgpu' takes any adapter, and throws what keeps it from one", () => {
    assert.equal(decide('webgpu', GPU).kind, 'webgpu');
    assert.match(decide('webgpu', software).reason, /as asked: swiftshader, a software adapter.*slow/);
    assert.throws(() => decide('webgpu', missing), code('E_GPU_UNAVAILABLE', /no adapter/));
    for (const one of ['E_GPU_UNAVAILABLE', 'E_GPU_LOST', 'E_GPU_WRONG', 'E_MEMORY', 'E_FILE_FORMAT'])
      assert.throws(() => decide('webgpu', failed(one)), { code: one, message: 'because' });
  });

  test("'auto' takes hardware, never software, and the CPU after a failure of the GPU only", () => {
    assert.deepEqual(decide('auto', GPU), {
      kind: 'webgpu',
      adapter: GPU.adapter,
      reason: 'GPU: acme rocket, which passed the self-check',
    });
    assert.match(decide('auto', software).reason, /^CPU: the only GPU is a software adapter \(swiftshader\)/);
    assert.equal(decide('auto', missing).reason, 'CPU: no adapter');
    assert.equal(
      decide('auto', failed('E_GPU_WRONG')).reason,
      'CPU: the GPU (acme rocket) failed the self-check: because',
    );
    assert.match(decide('auto', failed('E_MEMORY')).reason, /no room for the model: because/);
    assert.match(decide('auto', failed('E_GPU_LOST')).reason, /stopped answering.*: because/);
    assert.match(decide('auto', failed('E_GPU_UNAVAILABLE')).reason, /could not be used: because/);
    for (const one of ['E_FILE_FORMAT', 'E_INTERNAL', 'E_INTEGRITY', 'E_NETWORK'])
      assert.throws(() => decide('auto', failed(one)), { code: one });
  });
});

describe('the shim for subgroups', () => {
  class Adapter {
    features = new Set<string>();
    asked: (GPUDeviceDescriptor | undefined)[] = [];
    requestDevice(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
      this.asked.push(descriptor);
      return Promise.resolve({} as GPUDevice);
    }
  }
  const Shimmed = Adapter as unknown as { prototype: GPUAdapter };

  test('adds the feature where the adapter has it, once, keeps the rest, and is gone afterwards', async () => {
    const { requestDevice } = Adapter.prototype;
    const adapter = new Adapter();
    const ask = (descriptor?: GPUDeviceDescriptor) => withSubgroups(() => adapter.requestDevice(descriptor), Shimmed);
    await ask({ label: 'mine', requiredFeatures: ['shader-f16'] });
    adapter.features.add('subgroups');
    await ask({ label: 'mine', requiredFeatures: ['shader-f16'], requiredLimits: { maxBufferSize: 1 } });
    await ask({ requiredFeatures: ['subgroups'] });
    await ask();
    await withSubgroups(() => ask(), Shimmed);
    assert.deepEqual(adapter.asked, [
      { label: 'mine', requiredFeatures: ['shader-f16'] },
      { label: 'mine', requiredFeatures: ['shader-f16', 'subgroups'], requiredLimits: { maxBufferSize: 1 } },
      { requiredFeatures: ['subgroups'] },
      { requiredFeatures: ['subgroups'] },
      { requiredFeatures: ['subgroups'] },
    ]);
    assert.equal(Adapter.prototype.requestDevice, requestDevice);
    await assert.rejects(
      withSubgroups(() => Promise.reject(new Error('no device')), Shimmed),
      /no device/,
    );
    assert.equal(Adapter.prototype.requestDevice, requestDevice);
  });

  test('without WebGPU it does nothing', async () => {
    assert.equal(await withSubgroups(async () => 7, undefined), 7);
  });
});

const BYTES = Uint8Array.from({ length: 2_500_000 }, (_, i) => i % 250);

/** Loads with a faulty GPU and a sound CPU; tells which engines were made and what they were fed. */
async function begin({
  device = 'auto',
  faults = {},
  source = new Blob([BYTES]),
  createRejects,
  gpu = GPU,
  kvType = 'f32',
}: {
  device?: 'auto' | 'cpu' | 'webgpu';
  kvType?: LoadInput['kvType'];
  faults?: Faults;
  source?: unknown;
  createRejects?: unknown;
  gpu?: GpuState;
} = {}) {
  const engines: FakeEngine[] = [];
  const pools: number[] = [];
  const make = (options: EngineOptions): FakeEngine => {
    if (options.device === 'webgpu' && createRejects) throw createRejects;
    const engine = new FakeEngine(options.device === 'webgpu' ? faults : {}, options);
    engines.push(engine);
    return engine;
  };
  const { worker, scope } = pair();
  const client = new Client<EngineRequests>(worker, () => new Error('did not start'));
  serve<EngineRequests>(scope, hostOf(make, { gpu, onPool: (threads) => pools.push(threads) }), {
    trapsAreFatal: true,
  });
  const events: ProgressEvent[] = [];
  const described = describeSource(source, {}, 'http://localhost/');
  const outcome: { loaded?: LoadOutput; error?: unknown } = {};
  try {
    outcome.loaded = await client.call(
      'load',
      {
        source: described.descriptor,
        device,
        build: 'simd',
        threads: 4,
        sharedMemory: true,
        kvType,
        files: FILES,
        faultChannel: '',
      },
      { transfer: described.transfer, onEvent: (event) => events.push(event) },
    ).result;
  } catch (error) {
    outcome.error = error;
  }
  described.dispose();
  return { engines, pools, events, ...outcome };
}

const typed = (code: string, message = 'because') => ({ code, message, details: { n: 1 } });
const streamOf = (bytes: Uint8Array) => new Blob([bytes as Uint8Array<ArrayBuffer>]).stream();

describe('loading', () => {
  test('on the GPU: told what the adapter has, checked after the header, no thread started', async () => {
    const { loaded, engines, pools, events } = await begin();
    assert.deepEqual(loaded?.device, {
      kind: 'webgpu',
      adapter: 'acme rocket',
      software: false,
      features: ['tree'],
      reason: 'GPU: acme rocket, which passed the self-check',
    });
    assert.equal(engines.length, 1);
    assert.deepEqual(engines[0]?.options, {
      device: 'webgpu',
      kvType: 'f32',
      threads: 1,
      gpu: {
        name: 'acme rocket',
        subgroups: true,
        subgroupMinSize: 32,
        subgroupMaxSize: 32,
        f16: true,
        packedDot: true,
        tuned: '',
      },
    });
    assert.deepEqual(pools, []);
    const phases = events.map((event) => event.phase);
    assert.equal(phases.filter((phase) => phase === 'check').length, 1);
    assert.ok(phases.indexOf('check') < phases.indexOf('finish'));
  });

  test("'cpu' looks for no GPU", async () => {
    const { loaded, pools, events } = await begin({
      device: 'cpu',
      gpu: { kind: 'missing', why: 'should not be asked' },
    });
    assert.deepEqual(loaded?.device, { kind: 'cpu', reason: 'CPU, as asked' });
    assert.deepEqual(pools, [4]);
    assert.ok(events.every((event) => event.phase !== 'check'));
  });

  test('the GPU keeps keys and values in q8_0 too', async () => {
    const { loaded, engines } = await begin({ kvType: 'q8_0', source: streamOf(BYTES) });
    assert.equal(loaded?.device.kind, 'webgpu');
    assert.deepEqual(
      engines.map(({ options }) => options.kvType),
      ['q8_0'],
    );
  });

  const parts = Array.from({ length: 5 }, (_, i) => BYTES.slice(i * 500_000, (i + 1) * 500_000));
  const sources = { 'a blob': () => new Blob(parts), bytes: () => BYTES, 'a stream': () => streamOf(BYTES) };
  for (const [name, source] of Object.entries(sources)) {
    test(`a GPU that fails the self-check, ${name}: the CPU gets every byte once, nothing is read twice`, async () => {
      const { loaded, engines, pools, events } = await begin({
        source: source(),
        faults: { checkRejects: typed('E_GPU_WRONG') },
      });
      assert.equal(loaded?.device.reason, 'CPU: the GPU (acme rocket) failed the self-check: because');
      assert.deepEqual(
        engines.map((engine) => [engine.options.device, engine.isFree]),
        [
          ['webgpu', true],
          ['cpu', false],
        ],
      );
      assert.ok(Buffer.from(engines[1]?.fed ?? []).equals(BYTES));
      assert.ok((engines[0]?.fed.length ?? 0) < BYTES.length);
      assert.equal(events.at(-1)?.loadedBytes, BYTES.length);
      assert.equal(loaded?.fileBytes, BYTES.length);
      assert.deepEqual(pools, [4]);
    });
  }

  for (const [name, source] of Object.entries(sources)) {
    test(`a GPU lost in the middle of ${name}`, async () => {
      const { loaded, error, engines } = await begin({
        source: source(),
        faults: { feedThrows: { at: 2_000_000, error: typed('E_GPU_LOST') } },
      });
      if (name === 'a stream') {
        assert.ok(code('E_GPU_LOST', /because; the CPU cannot take over.*stream/)(error), String(error));
        assert.deepEqual((error as KingletError).details, { n: 1 });
      } else {
        assert.match(loaded?.device.reason ?? '', /stopped answering while the model was loaded: because/);
        assert.ok(Buffer.from(engines[1]?.fed ?? []).equals(BYTES));
      }
      assert.equal(engines[0]?.isFree, true);
    });
  }

  test('a device that is refused', async () => {
    const { loaded, engines } = await begin({ createRejects: typed('E_GPU_UNAVAILABLE') });
    assert.match(loaded?.device.reason ?? '', /could not be used: because/);
    assert.deepEqual(
      engines.map((engine) => engine.options.device),
      ['cpu'],
    );
    assert.ok(Buffer.from(engines[0]?.fed ?? []).equals(BYTES));
  });

  test("'webgpu' rejects with the failure itself, and frees what it had", async () => {
    for (const one of ['E_GPU_WRONG', 'E_MEMORY', 'E_GPU_LOST']) {
      const { error, engines } = await begin({ device: 'webgpu', faults: { checkRejects: typed(one) } });
      assert.ok(code(one, /^because$/)(error), String(error));
      assert.deepEqual(
        engines.map((engine) => engine.isFree),
        [true],
      );
    }
    const { error } = await begin({ device: 'webgpu', gpu: { kind: 'missing', why: 'no adapter' } });
    assert.ok(code('E_GPU_UNAVAILABLE', /no adapter/)(error));
  });

  test('a broken file is the same on every device, and a trap is not hidden by the CPU', async () => {
    const broken = await begin({ source: new Blob([Uint8Array.of(0xff, 1)]) });
    assert.ok(code('E_FILE_FORMAT')(broken.error));
    assert.equal(broken.engines.length, 1);
    const trapped = await begin({ faults: { checkRejects: new WebAssembly.RuntimeError('unreachable') } });
    assert.ok(code('E_INTERNAL', /unreachable/)(trapped.error));
    assert.deepEqual(
      trapped.engines.map((engine) => engine.isFree),
      [false],
    );
  });
});
