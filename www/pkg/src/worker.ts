// The engine's worker: brings the wasm module up, with its pool of threads, and lets engine-host.ts drive it. Everything that
// can be tested without a browser is there, not here.

import type { Engine as AbiEngine, EngineOptions } from './abi.js';
import { serve, type ScopeLike } from './dispatch.js';
import { EngineHost } from './engine-host.js';
import { fromPlain, KingletError } from './errors.js';
import initializeCpu, * as cpu from './generated/kinglet_cpu.js';
import initializeGpu, * as gpu from './generated/kinglet_gpu.js';
import { INITIAL_MEMORY_PAGES } from './generated/memory.js';
import { findGpu, withSubgroups } from './gpu.js';
import type { Runtime } from './loading.js';
import type { LoadInput, PoolReply, PoolStart, EngineRequests } from './protocol.js';
import { START_LIMIT_MS } from './client.js';
import { spawn } from './spawn.js';
import type { Build, Device } from './types.js';
import { compileWasm, createMemory, wasmUrlOf } from './wasm-module.js';

/** The files beside this one; written out, so that bundlers see them. */
const BESIDE: Record<Build, () => URL> = {
  simd: () => new URL('./kinglet_simd.wasm', import.meta.url),
  relaxed: () => new URL('./kinglet_relaxed.wasm', import.meta.url),
  gpu: () => new URL('./kinglet_gpu.wasm', import.meta.url),
};

/** Each kind of binary has its own glue, which has its own instance of it. */
const GLUE = {
  cpu: { initialize: initializeCpu, ...cpu },
  webgpu: { initialize: initializeGpu, ...gpu },
};

async function instantiate(input: LoadInput, device: Device): Promise<Runtime> {
  const build = device === 'webgpu' ? 'gpu' : input.build;
  const url = input.wasmUrl === undefined ? BESIDE[build]().href : wasmUrlOf(input.wasmUrl, build);
  const module = await compileWasm(url, input.sharedMemory);
  const memory = createMemory(INITIAL_MEMORY_PAGES, input.sharedMemory);
  const { initialize, Engine, Sha256 } = GLUE[device];
  await initialize({ module_or_path: module, memory });
  /** The glue's class as abi.ts has it. */
  const Engines = Engine as unknown as { create(options: EngineOptions): Promise<AbiEngine> };
  return {
    createEngine: (options) => {
      const create = (): Promise<AbiEngine> => Engines.create(options);
      return device === 'webgpu' ? withSubgroups(create) : create();
    },
    createSha256: () => new Sha256(),
    startPool: async (engine, threads) => {
      const address = engine.poolAddress();
      await Promise.all(
        Array.from({ length: threads - 1 }, (_, i) =>
          startThread({ module, memory, address, index: i + 1, faultChannel: input.faultChannel }),
        ),
      );
    },
  };
}

function startThread(start: PoolStart): Promise<void> {
  const worker = spawn(
    () => new Worker(new URL('./pool-worker.js', import.meta.url), { type: 'module' }),
    './pool-worker.js',
  );
  return new Promise((resolve, reject) => {
    const fail = (): void =>
      reject(
        new KingletError(
          'E_NETWORK',
          `pool-worker.js did not start: it is missing beside ${import.meta.url}, or did not arrive in time`,
        ),
      );
    const timer = setTimeout(fail, START_LIMIT_MS);
    worker.addEventListener('error', fail);
    worker.addEventListener('message', ({ data }: MessageEvent<PoolReply>) => {
      clearTimeout(timer);
      if (data.kind === 'started') resolve();
      else reject(fromPlain(data.error));
    });
    worker.postMessage(start);
  });
}

serve<EngineRequests>(globalThis as unknown as ScopeLike, new EngineHost({ instantiate, findGpu }), {
  trapsAreFatal: true,
});
