// The engine's worker: brings the wasm module up, with its pool of threads, and lets engine-host.ts drive it. Everything that
// can be tested without a browser is there, not here. The threads run the same script (worker.ts), too: one file, of which a bundler has
// to know nothing (files.ts says why).

import { serve, type ScopeLike } from './dispatch.js';
import { EngineHost } from './engine-host.js';
import { fromPlain, KingletError, toPlain } from './errors.js';
import { start } from './generated/glue.js';
import { INITIAL_MEMORY_PAGES } from './generated/memory.js';
import { findGpu, withSubgroups } from './gpu.js';
import { Later } from './later.js';
import type { CheckpointReaders, Runtime, Surroundings } from './loading.js';
import type { LoadInput, PoolReply, PoolStart, EngineRequests } from './protocol.js';
import { START_LIMIT_MS } from './client.js';
import { POOL_THREAD, runPoolThread } from './pool-thread.js';
import { spawn } from './spawn.js';
import type { Device } from './types.js';
import { compileWasm, createMemory } from './wasm-module.js';

async function instantiate(input: LoadInput, device: Device): Promise<Runtime> {
  const files = input.files.wasm[device === 'webgpu' ? 'gpu' : input.build];
  // Where a GPU computes there is one thread, and a binary whose memory is not shared.
  const isShared = input.sharedMemory && device === 'cpu';
  const asItIs = isShared || device === 'webgpu';
  const module = await compileWasm(files.first, asItIs);
  const memory = createMemory(INITIAL_MEMORY_PAGES, isShared);
  const later = new Later({ device, url: files.later }, asItIs);
  // What fails there throws through the module, which can't be trusted then.
  const giveUp = (error: KingletError): void => scope.postMessage({ kind: 'fatal', error: toPlain(error) });
  const { exports, Engine, Sha256 } = start(device === 'webgpu', module, memory);
  await later.serve(exports, giveUp);
  return {
    createEngine: (options) => {
      const create = (): ReturnType<typeof Engine.create> => Engine.create(options);
      return device === 'webgpu' ? withSubgroups(create) : create();
    },
    createSha256: () => new Sha256(),
    complete: () => later.fetch(),
    startPool: async (engine, threads) => {
      const { faultChannel } = input;
      const address = engine.poolAddress();
      await Promise.all(
        Array.from({ length: threads - 1 }, (_, i) =>
          startThread(input.files.worker, { module, later: later.start, memory, address, index: i + 1, faultChannel }),
        ),
      );
    },
  };
}

function startThread(url: string, start: PoolStart): Promise<void> {
  // Its name says what it is; what lists workers by their addresses, such as Playwright, tells it apart by this one.
  const worker = spawn(`${url}#${POOL_THREAD}`, POOL_THREAD);
  return new Promise((resolve, reject) => {
    const fail = (): void =>
      reject(new KingletError('E_NETWORK', `a thread did not start: ${url} is missing, or did not arrive in time`));
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

const scope = globalThis as unknown as ScopeLike & { name: string };

/** `readers`: of what is not one GGUF file. */
export function runEngineWorker(readers?: CheckpointReaders): void {
  if (scope.name === POOL_THREAD) return runPoolThread(scope);
  const surroundings: Surroundings = { instantiate, findGpu, ...(readers && { readers }) };
  serve<EngineRequests>(scope, new EngineHost(surroundings), { trapsAreFatal: true });
}
