// Loads a source into an engine: on the device that the policy (gpu.ts) chooses, and once more on the CPU where the policy lets
// it take over from a GPU that has failed. Reports progress. Called by engine-host.ts.

import type { Engine, EngineOptions } from './abi.js';
import { isTyped, KingletError, type TypedError } from './errors.js';
import { decide, type Decision, type GpuState } from './gpu.js';
import type { LoadInput, LoadOutput } from './protocol.js';
import { type OpenSource, opensAgain, openSource } from './source.js';
import type { Device, ProgressEvent } from './types.js';
import { waitForGpu } from './waiting.js';

/** A running wasm module. */
export interface Runtime {
  createEngine(options: EngineOptions): Promise<Engine>;
  /** Starts the pool's other threads; resolves when all of them run. */
  startPool(engine: Engine, threads: number): Promise<void>;
  createSha256(): { update(bytes: Uint8Array): void; hex(): string };
}

/** What the host is given by worker.ts, or by tests. */
export interface Surroundings {
  /** Fetches and starts the binary for a device. */
  instantiate(input: LoadInput, device: Device): Promise<Runtime>;
  findGpu(): Promise<GpuState>;
}

/** Shortest time between two progress events, so that a fast download does not flood the page. */
const PROGRESS_EVERY_MS = 50;

/** A loaded engine, and what the page is told of it. */
interface Loaded {
  engine: Engine;
  output: LoadOutput;
}

export async function loadEngine(
  input: LoadInput,
  { instantiate, findGpu }: Surroundings,
  emit: (event: ProgressEvent) => void,
): Promise<Loaded> {
  const progress = new Progress(emit);
  progress.report('start', true);
  const opening = openSource(input.source);
  opening.catch(() => {}); // awaited below, when the engine is there to take the bytes
  const looking = input.device === 'cpu' ? undefined : findGpu();
  let decision = decide(input.device, await looking);
  const runtimes = (device: Device): Promise<Runtime> => instantiate(input, device);
  // The binary and the model come side by side.
  const runtime = runtimes(decision.kind);
  runtime.catch(() => {}); // awaited below
  const loading = new Loading(input, progress, await opening);
  if (decision.kind === 'webgpu') {
    try {
      return await loading.on(decision, await runtime);
    } catch (error) {
      if (!isTyped(error)) throw error;
      decision = decide(input.device, { kind: 'failed', adapter: decision.adapter, error });
      await loading.startOver(error);
      return loading.on(decision, await runtimes(decision.kind));
    }
  }
  return loading.on(decision, await runtime);
}

class Loading {
  readonly #input: LoadInput;
  readonly #progress: Progress;
  #chunks: AsyncIterator<Uint8Array>;
  /** What has been read, until the GPU has passed its check: if it does not, the CPU begins with these. */
  #kept: Uint8Array[] | undefined = [];

  constructor(input: LoadInput, progress: Progress, source: OpenSource) {
    this.#input = input;
    this.#progress = progress;
    this.#chunks = source.chunks[Symbol.asyncIterator]();
    progress.totalBytes = source.totalBytes;
  }

  /** Reads everything from the first byte on into an engine of the device that was decided for. */
  async on(decision: Decision, runtime: Runtime): Promise<Loaded> {
    const engine = await runtime.createEngine(this.#options(decision));
    try {
      const { threads } = this.#input;
      const hasPool = decision.kind === 'cpu' && threads > 1;
      const pool = hasPool ? runtime.startPool(engine, threads) : Promise.resolve();
      pool.catch(() => {}); // awaited below
      await this.#fill(engine, decision.kind, runtime);
      await pool;
      this.#progress.report('ready', true);
      return { engine, output: this.#output(engine, decision, runtime) };
    } catch (thrown) {
      if (isTyped(thrown)) engine.free(); // a trap leaves nothing that could be freed
      throw thrown;
    }
  }

  /** Makes ready for another `on`, after the GPU has failed with `error`. */
  async startOver(error: TypedError): Promise<void> {
    if (this.#kept) return;
    if (!opensAgain(this.#input.source)) {
      const message = `${error.message}; the CPU cannot take over, because a stream can be read only once`;
      throw { ...error, code: error.code, message };
    }
    await this.#chunks.return?.();
    this.#chunks = (await openSource(this.#input.source)).chunks[Symbol.asyncIterator]();
    this.#kept = [];
  }

  #options(decision: Decision): EngineOptions {
    const { kvType, contextLength, threads } = this.#input;
    const options: EngineOptions = { device: decision.kind, kvType, threads };
    if (contextLength !== undefined) options.contextLength = contextLength;
    if (decision.kind === 'cpu') return options;
    const { subgroups, subgroupMinSize, subgroupMaxSize, f16 } = decision.adapter;
    return { ...options, threads: 1, gpu: { subgroups, subgroupMinSize, subgroupMaxSize, f16 } };
  }

  async #fill(engine: Engine, device: Device, runtime: Runtime): Promise<void> {
    const { sha256 } = this.#input;
    const progress = this.#progress;
    const hash = sha256 === undefined ? undefined : runtime.createSha256();
    progress.loadedBytes = 0;
    for await (const chunk of this.#read()) {
      const header = engine.feed(chunk);
      hash?.update(chunk);
      progress.loadedBytes += chunk.byteLength;
      if (header?.fileBytes) progress.totalBytes = header.fileBytes;
      if (header && device === 'webgpu') {
        progress.report('check', true);
        await waitForGpu(engine.check(), () => engine.nudge());
      }
      if (header) this.#kept = undefined;
      progress.report('download');
    }
    progress.report('finish', true);
    const actual = hash?.hex();
    if (actual !== sha256) {
      throw new KingletError('E_INTEGRITY', `the file's SHA-256 is ${actual}, not ${sha256}`, {
        details: { expected: sha256, actual },
      });
    }
    engine.finish();
  }

  /** Every chunk: those that were kept, and those still to come. */
  async *#read(): AsyncGenerator<Uint8Array> {
    yield* [...(this.#kept ?? [])];
    for (;;) {
      const { done, value } = await this.#chunks.next();
      if (done) return;
      this.#kept?.push(value);
      yield value;
    }
  }

  #output(engine: Engine, decision: Decision, runtime: Runtime): LoadOutput {
    const info = withoutNulls(engine.info());
    const device: LoadOutput['device'] = { kind: decision.kind, reason: decision.reason };
    if (decision.kind === 'webgpu') {
      device.adapter = decision.adapter.name;
      device.software = decision.adapter.software;
      device.features = info.features ?? [];
    }
    const template = withoutNulls(engine.template());
    const output: LoadOutput = { info, template, fileBytes: this.#progress.loadedBytes, device };
    if (template.chatTemplate !== undefined) output.templateSha256 = hashesOf(template.chatTemplate, runtime);
    return output;
  }
}

function hashesOf(text: string, runtime: Runtime): { whole: string; trimmed: string } {
  const hash = runtime.createSha256();
  const of = (part: string): string => {
    hash.update(new TextEncoder().encode(part));
    return hash.hex();
  };
  return { whole: of(text), trimmed: of(text.replace(/\r?\n$/, '')) };
}

/** The engine writes null for what is absent. */
function withoutNulls<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null)) as T;
}

/** Counts bytes and gives out progress events, at most one per PROGRESS_EVERY_MS. */
class Progress {
  loadedBytes = 0;
  totalBytes: number | undefined;
  readonly #emit: (event: ProgressEvent) => void;
  readonly #startMs = performance.now();
  #lastMs = -Infinity;

  constructor(emit: (event: ProgressEvent) => void) {
    this.#emit = emit;
  }

  report(phase: ProgressEvent['phase'], always = false): void {
    const now = performance.now();
    if (!always && now - this.#lastMs < PROGRESS_EVERY_MS) return;
    this.#lastMs = now;
    const bytesPerSecond = now > this.#startMs ? (this.loadedBytes / (now - this.#startMs)) * 1000 : 0;
    this.#emit({
      phase,
      loadedBytes: this.loadedBytes,
      bytesPerSecond,
      ...(this.totalBytes === undefined ? {} : { totalBytes: this.totalBytes }),
    });
  }
}
