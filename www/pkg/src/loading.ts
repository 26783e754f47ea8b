// Loads a source into an engine: on the device that the policy (gpu.ts) chooses, and once more on the CPU where the policy lets
// it take over from a GPU that has failed. Reports progress. Called by engine-host.ts.

import type { Engine, EngineOptions } from './abi.js';
import type { CheckpointFiles } from './checkpoint/files.js';
import { malformed } from './checkpoint/json.js';
import { isTyped, KingletError, type TypedError } from './errors.js';
import { decide, type Decision, type GpuState } from './gpu.js';
import type { Parts } from './parts.js';
import type { CheckpointSource, LoadInput, LoadOutput, NamedSource } from './protocol.js';
import { opensAgain, openSource } from './source.js';
import { checkSum, SourceFile } from './source-file.js';
import { bySpeed } from './speeds.js';
import type { readVocabulary } from './tokenizer-source.js';
import { guessFor } from './tuning.js';
import type { Device, ProgressEvent } from './types.js';
import { waitForGpu, whileWaiting } from './waiting.js';

/** A running wasm module. */
export interface Runtime {
  createEngine(options: EngineOptions): Promise<Engine>;
  /** Starts the pool's other threads; resolves when all of them run. The engine works with those that have come. */
  startPool(engine: Engine, threads: number): Promise<void>;
  /** Fetches what the binary leaves for later. */
  complete(): Promise<void>;
  createSha256(): { update(bytes: Uint8Array): void; hex(): string };
}

/** What reads models that are not one GGUF file; in checkpoint-worker.ts alone. */
export interface CheckpointReaders {
  parts(files: NamedSource[], siblings: boolean): Parts;
  checkpoint(source: CheckpointSource, quantize: LoadInput['quantize']): CheckpointFiles;
  readVocabulary: typeof readVocabulary;
}

/** What the host is given by worker.ts, or by tests. */
export interface Surroundings {
  /** Fetches and starts the binary for a device. */
  instantiate(input: LoadInput, device: Device): Promise<Runtime>;
  findGpu(): Promise<GpuState>;
  /** There where the source wants them (`workerFor` in files.ts). */
  readers?: CheckpointReaders;
}

/** Formats whose kernels come first (scripts/split/record.mjs); for others the rest of the binary is fetched beside the weights. */
const FIRST_FORMATS = new Set(['F16', 'Q4_0', 'Q4_1', 'Q8_0']);

/** Shortest time between two progress events, so that a fast download does not flood the page. */
const PROGRESS_EVERY_MS = 50;

/** So long after its start a pool whose threads have not come is not waited for: most files take longer to arrive. */
const POOL_GRACE_MS = 1_000;

/** A loaded engine, and what the page is told of it. */
interface Loaded {
  engine: Engine;
  output: LoadOutput;
  complete(): Promise<void>;
}

/** What a model is read into. */
interface Target {
  engine: Engine;
  runtime: Runtime;
  device: Device;
}

export async function loadEngine(
  input: LoadInput,
  { instantiate, findGpu, readers }: Surroundings,
  emit: (event: ProgressEvent) => void,
): Promise<Loaded> {
  const progress = new Progress(emit);
  progress.report('start', true);
  const model = modelOf(input, readers);
  const opening = model.open();
  opening.catch(() => {}); // awaited below, when the engine is there to take the bytes
  const looking = input.device === 'cpu' ? undefined : findGpu();
  let decision = decide(input.device, await looking);
  // How large the model is matters only where something was measured.
  if (input.speeds && Object.keys(input.speeds).length > 0)
    decision = bySpeed(decision, input.speeds, (await opening) ?? undefined);
  const runtimes = (device: Device): Promise<Runtime> => instantiate(input, device);
  // The binary and the model come side by side.
  const runtime = runtimes(decision.kind);
  runtime.catch(() => {}); // awaited below
  progress.totalBytes = (await opening) ?? undefined;
  const loading = new Loading(input, progress, model, readers);
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

type Model = SourceFile | Parts | CheckpointFiles;

function modelOf({ source, sha256, quantize }: LoadInput, readers: CheckpointReaders | undefined): Model {
  if (source.kind === 'files') return wanted(readers).parts(source.files, source.siblings);
  if (source.kind === 'checkpoint') return wanted(readers).checkpoint(source, quantize);
  return new SourceFile({ name: '', sha256 }, () => openSource(source), opensAgain(source));
}

const isParts = (model: Model): model is Parts => 'join' in model;

function wanted(readers: CheckpointReaders | undefined): CheckpointReaders {
  if (!readers) throw new KingletError('E_INTERNAL', 'models of several files are read in another worker');
  return readers;
}

class Loading {
  readonly #input: LoadInput;
  readonly #progress: Progress;
  /** What has been read of it is kept until the GPU has passed its check: if it does not, the CPU begins with that. */
  readonly #model: Model;
  /** Of a tokenizer.json, once it has been read. */
  #vocabulary: Uint8Array | undefined;
  /** What was found out about a checkpoint. */
  #notices: string[] = [];

  readonly #readers: CheckpointReaders | undefined;

  constructor(input: LoadInput, progress: Progress, model: Model, readers: CheckpointReaders | undefined) {
    this.#input = input;
    this.#progress = progress;
    this.#model = model;
    this.#readers = readers;
  }

  /** Reads everything from the first byte on into an engine of the device that was decided for. */
  async on(decision: Decision, runtime: Runtime): Promise<Loaded> {
    // What reads other files is not needed first.
    if (!(this.#model instanceof SourceFile)) void runtime.complete();
    await this.#readVocabulary(runtime);
    const engine = await runtime.createEngine(this.#options(decision));
    try {
      const { threads } = this.#input;
      const hasPool = decision.kind === 'cpu' && threads > 1;
      const pool = hasPool ? runtime.startPool(engine, threads) : Promise.resolve();
      let isReady = false;
      const failed = pool.then(
        () => undefined,
        (error: unknown) => {
          if (isReady) console.warn('kinglet computes with fewer threads:', error);
          return { error };
        },
      );
      const grace = new Promise<undefined>((resolve) => setTimeout(resolve, hasPool ? POOL_GRACE_MS : 0));
      this.#progress.loadedBytes = 0;
      const target: Target = { engine, runtime, device: decision.kind };
      if (isParts(this.#model)) await this.#fillParts(this.#model, target);
      else if (this.#model instanceof SourceFile) await this.#feed(this.#model, target);
      else await this.#fillCheckpoint(this.#model, target);
      this.#progress.report('finish', true);
      engine.finish();
      // A thread that cannot start says so soon, and is a fault of the page; one that is only late is done without.
      const failure = await Promise.race([failed, grace]);
      if (failure) throw failure.error;
      isReady = true;
      if (hasPool) this.#tune(engine);
      this.#progress.report('ready', true);
      return { engine, output: this.#output(engine, decision, runtime), complete: () => runtime.complete() };
    } catch (thrown) {
      if (isTyped(thrown)) engine.free(); // a trap leaves nothing that could be freed
      throw thrown;
    }
  }

  #tune(engine: Engine): void {
    const { tuning } = this.#input;
    if (tuning) engine.tune(...guessFor(tuning, this.#progress.loadedBytes));
  }

  /** Makes ready for another `on`, after the GPU has failed with `error`. */
  async startOver(error: TypedError): Promise<void> {
    if (!this.#model.canRewind) {
      const message = `${error.message}; the CPU cannot take over, because a stream can be read only once`;
      throw { ...error, code: error.code, message };
    }
    await this.#model.rewind();
  }

  #options(decision: Decision): EngineOptions {
    const { kvType, contextLength, threads } = this.#input;
    const options: EngineOptions = { device: decision.kind, kvType, threads };
    if (contextLength !== undefined) options.contextLength = contextLength;
    if (this.#vocabulary) options.vocabulary = this.#vocabulary;
    if (decision.kind === 'cpu') return options;
    const { software, ...gpu } = decision.adapter;
    // A processor that plays a GPU is not worth the time.
    return { ...options, threads: 1, gpu: software ? gpu : { ...gpu, tuned: this.#input.gpuTuned ?? '' } };
  }

  /** Of a model that comes with a tokenizer.json, which takes the place of what the weights' file says. */
  async #readVocabulary(runtime: Runtime): Promise<void> {
    const { source } = this.#input;
    if (source.kind !== 'files' || !source.tokenizer || this.#vocabulary) return;
    const { tokenizer, tokenizerConfig } = source;
    this.#vocabulary = await wanted(this.#readers).readVocabulary(tokenizer, tokenizerConfig, hashWith(runtime));
  }

  /** The JSON and all headers, the decision, and then the weights, file by file. */
  async #fillCheckpoint(checkpoint: CheckpointFiles, target: Target): Promise<void> {
    const { engine, runtime } = target;
    const progress = this.#progress;
    const onFile = (name: string, number: number, count: number): void => {
      progress.file = { name, number, count };
      progress.report('download', true);
    };
    const { header, notices } = await checkpoint.header(hashWith(runtime), onFile);
    this.#notices = notices;
    engine.beginCheckpoint(header);
    progress.totalBytes = checkpoint.totalBytes;
    await this.#decided(target);
    for (const [i, { file, headerBytes, dataBytes }] of checkpoint.weights.entries()) {
      onFile(file.name, i + 1, checkpoint.weights.length);
      const hash = file.sha256 === undefined ? undefined : runtime.createSha256();
      let at = 0;
      for await (const chunk of whileWaiting(file.read(), () => engine.warm())) {
        hash?.update(chunk);
        const data = chunk.subarray(Math.min(chunk.length, Math.max(0, headerBytes - at)));
        at += chunk.length;
        if (at > headerBytes + dataBytes)
          throw malformed(file.name, `the file goes on behind its ${headerBytes + dataBytes} bytes`);
        engine.feed(data);
        file.forget();
        progress.loadedBytes += chunk.length;
        progress.report('download');
      }
      if (at < headerBytes + dataBytes)
        throw malformed(file.name, `the file ends too early: ${at} of ${headerBytes + dataBytes} bytes`);
      checkSum(file, hash?.hex());
    }
  }

  /** All headers, the decision, and then the weights, file by file. */
  async #fillParts(parts: Parts, target: Target): Promise<void> {
    const { engine } = target;
    const progress = this.#progress;
    const { files } = parts;
    const order = await parts.join(engine, (number) => {
      progress.file = { name: files[number - 1]?.name ?? '', number, count: files.length };
      progress.report('download', true);
    });
    progress.totalBytes = engine.info().fileBytes;
    await this.#decided(target);
    for (const [i, file] of order.entries()) {
      progress.file = { name: file.name, number: i + 1, count: order.length };
      progress.report('download', true);
      await this.#feed(file, target);
      engine.endFile();
    }
  }

  /** Every byte of a file, into the engine and its checksum. */
  async #feed(file: SourceFile, target: Target): Promise<void> {
    const { engine, runtime } = target;
    const progress = this.#progress;
    const hash = file.sha256 === undefined ? undefined : runtime.createSha256();
    let isDecided = isParts(this.#model);
    for await (const chunk of whileWaiting(file.read(), () => engine.warm())) {
      const header = engine.feed(chunk);
      hash?.update(chunk);
      progress.loadedBytes += chunk.byteLength;
      if (header?.fileBytes) progress.totalBytes = header.fileBytes;
      if (header?.quantization && !FIRST_FORMATS.has(header.quantization)) void runtime.complete();
      if (header) await this.#decided(target);
      isDecided ||= header !== undefined;
      if (isDecided) file.forget();
      progress.report('download');
    }
    checkSum(file, hash?.hex());
  }

  /** The page is told what it will take, and a GPU has to show that it computes right. */
  async #decided({ engine, device }: Target): Promise<void> {
    const { name, memory } = engine.info();
    this.#progress.report('download', true, { name, memory });
    if (device === 'cpu') return;
    this.#progress.report('check', true);
    await waitForGpu(engine.check(), () => engine.nudge());
  }

  #output(engine: Engine, decision: Decision, runtime: Runtime): LoadOutput {
    const found = withoutNulls(engine.info());
    const info = { ...found, notices: [...(found.notices ?? []), ...this.#notices] };
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

function hashWith(runtime: Runtime): (bytes: Uint8Array) => string {
  return (bytes) => {
    const hash = runtime.createSha256();
    hash.update(bytes);
    return hash.hex();
  };
}

function hashesOf(text: string, runtime: Runtime): { whole: string; trimmed: string } {
  const hash = hashWith(runtime);
  const of = (part: string): string => hash(new TextEncoder().encode(part));
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
  file: ProgressEvent['file'];
  readonly #emit: (event: ProgressEvent) => void;
  readonly #startMs = performance.now();
  #lastMs = -Infinity;

  constructor(emit: (event: ProgressEvent) => void) {
    this.#emit = emit;
  }

  report(phase: ProgressEvent['phase'], always = false, model?: ProgressEvent['model']): void {
    const now = performance.now();
    if (!always && now - this.#lastMs < PROGRESS_EVERY_MS) return;
    this.#lastMs = now;
    const bytesPerSecond = now > this.#startMs ? (this.loadedBytes / (now - this.#startMs)) * 1000 : 0;
    this.#emit({
      phase,
      loadedBytes: this.loadedBytes,
      bytesPerSecond,
      ...(this.totalBytes === undefined ? {} : { totalBytes: this.totalBytes }),
      ...(this.file && { file: this.file }),
      ...(model && { model }),
    });
  }
}
