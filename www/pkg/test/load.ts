// Loading as the page does it, through the client and the worker's host, into a fake engine.

import type { EngineOptions } from '../src/abi.js';
import { Client } from '../src/client.js';
import { serve } from '../src/dispatch.js';
import { describeModel } from '../src/model-files.js';
import type { EngineRequests, LoadInput, LoadOutput } from '../src/protocol.js';
import type { LoadOptions, ProgressEvent } from '../src/types.js';
import { FakeEngine, type Faults, FILES, GPU, hostOf, pair } from './fake.js';

export interface LoadTest {
  /** Of the engine on the GPU, which is tried where there are any. */
  faults?: Faults;
  sha256?: LoadOptions['sha256'];
  quantize?: LoadInput['quantize'];
}

export interface LoadResult {
  /** The newest of `engines`. */
  engine: FakeEngine;
  engines: FakeEngine[];
  events: ProgressEvent[];
  loaded?: LoadOutput;
  error?: unknown;
}

/** Loads a source; addresses are relative to `base`. What goes wrong is in the result. */
export async function load(source: unknown, base: string, { faults = {}, sha256, quantize }: LoadTest = {}): Promise<LoadResult> {
  const engines: FakeEngine[] = [];
  const make = (options: EngineOptions): FakeEngine => {
    const engine = new FakeEngine(options.device === 'webgpu' ? faults : {}, options);
    engines.push(engine);
    return engine;
  };
  const { worker, scope } = pair();
  const client = new Client<EngineRequests>(worker, () => new Error('did not start'));
  serve<EngineRequests>(scope, hostOf(make, { gpu: GPU }), { trapsAreFatal: true });
  const events: ProgressEvent[] = [];
  const outcome: { loaded?: LoadOutput; error?: unknown } = {};
  try {
    const described = describeModel(source, {}, sha256, base);
    const input: LoadInput = {
      source: described.descriptor,
      device: Object.keys(faults).length > 0 ? 'auto' : 'cpu',
      build: 'simd',
      threads: 1,
      sharedMemory: true,
      kvType: 'f16',
      files: FILES,
      faultChannel: '',
      ...(quantize && { quantize }),
    };
    try {
      const { transfer } = described;
      outcome.loaded = await client.call('load', input, { transfer, onEvent: (event) => events.push(event) }).result;
    } finally {
      described.dispose();
    }
  } catch (error) {
    outcome.error = error;
  }
  return { engine: engines.at(-1) as FakeEngine, engines, events, ...outcome };
}
