// A stand-in for the wasm engine and for workers, so that the client, the queue and the answers are tested in node: tokens are the
// code units of text, and the model says the prompt backwards, again and again.

import { CheckpointFiles } from '../src/checkpoint/files.js';
import { readVocabulary } from '../src/tokenizer-source.js';
import { Client, type WorkerLike } from '../src/client.js';
import type {
  EncodeRequest,
  Engine,
  EngineInfo,
  EngineOptions,
  GenerateEvent,
  GenerateRequest,
  ScoredEvent,
  ScoreRequest,
} from '../src/abi.js';
import { Core } from '../src/core.js';
import { serve, type ScopeLike } from '../src/dispatch.js';
import { EngineHost } from '../src/engine-host.js';
import type { AdapterFacts, GpuState } from '../src/gpu.js';
import { Parts } from '../src/parts.js';
import type { EngineRequests, LoadOutput, TemplateRequests } from '../src/protocol.js';
import { TemplateHost } from '../src/template-host.js';
import { TemplateRenderer } from '../src/templates.js';
import type { Info, Profile, Task } from '../src/types.js';

export const CONTEXT = 20_000;
/** No worker of these tests fetches them. */
const named = (build: string) => ({ first: build, later: `${build}_later` });
export const FILES = {
  worker: 'worker.js',
  wasm: { simd: named('simd'), relaxed: named('relaxed'), gpu: named('gpu') },
};
export const LABELS = ['x', 'y', 'z'];
/** A part's header: 0, its number from 0, how many parts there are, and filling. */
export const PART_HEADER_BYTES = 100;

/** What the fake does beside its duty. */
export interface Faults {
  startThrows?: unknown;
  trapAtToken?: number;
  /** The file has no chat template. */
  noTemplate?: boolean;
  /** Another one than the fake's own. */
  template?: string;
  /** The template's worker never answers. */
  deafTemplates?: boolean;
  /** What the device's self-check rejects with. */
  checkRejects?: unknown;
  /** Thrown when so many bytes have been fed. */
  feedThrows?: { at: number; error: unknown };
  /** Format of most weights. */
  quantization?: string;
  /** What the model can do; by default it generates. */
  tasks?: Task[];
  /** How often a snapshot is still on its way. */
  snapshotWaits?: number;
  /** How long each step waits for the GPU; without it there is nothing to wait for. */
  readyMs?: number;
  /** With how many threads it is fastest. */
  found?: [number, number];
  /** What the end says of guessed tokens. */
  guessed?: { draftedTokens: number; acceptedTokens: number };
  /** What the wait for the GPU rejects with, from the token of this number on. */
  readyRejects?: { atToken: number; error: unknown };
}

export class FakeEngine implements Engine {
  readonly fed: number[] = [];
  /** What `tune` was called with. */
  readonly tunes: [number, number][] = [];
  isProfiled = false;
  cancels = 0;
  advances = 0;
  nudges = 0;
  isFree = false;
  /** Of a model in parts: the headers in the order of reading, and how much had been fed when each file ended. */
  readonly headers: { name: string; bytes: number[] }[] = [];
  readonly ends: number[] = [];
  /** The header of a checkpoint; what is fed then is its data. */
  checkpoint: Uint8Array | undefined;
  readonly requests: GenerateRequest[] = [];
  readonly faults: Faults;
  readonly options: EngineOptions;
  readonly encodings: EncodeRequest[] = [];
  readonly scorings: ScoreRequest[] = [];
  /** The text of each snapshot that was asked for. */
  readonly snapshots: string[] = [];
  restored = 0;
  #scored: ScoredEvent[] | undefined;
  #request: GenerateRequest | undefined;
  #encoding: { request: EncodeRequest; next: number } | undefined;
  #n = 0;

  constructor(faults: Faults = {}, options: EngineOptions = { device: 'cpu', threads: 1, kvType: 'f16' }) {
    this.faults = faults;
    this.options = options;
  }

  feed(bytes: Uint8Array): { fileBytes: number; quantization: string } | undefined {
    for (const byte of bytes) this.fed.push(byte);
    if (bytes[0] === 0xff) throw { code: 'E_FILE_FORMAT', message: 'not a model', details: { offset: 0 } };
    const { feedThrows } = this.faults;
    if (feedThrows && this.fed.length >= feedThrows.at) throw feedThrows.error;
    return this.fed.length === bytes.length && this.headers.length === 0
      ? { fileBytes: 100, quantization: this.info().quantization }
      : undefined;
  }
  beginHeader(name: string): void {
    if (this.headers.at(-1) && !this.#isComplete(this.headers.at(-1))) this.headers.pop();
    this.headers.push({ name, bytes: [] });
  }
  feedHeader(bytes: Uint8Array): number | undefined {
    const header = this.headers.at(-1);
    for (const byte of bytes) header?.bytes.push(byte);
    if (header?.bytes[0] !== 0) {
      this.headers.pop();
      throw { code: 'E_FILE_FORMAT', message: `${header?.name}: not a part`, details: {} };
    }
    return this.#isComplete(header) ? header.bytes[2] : undefined;
  }
  endHeader(): void {
    throw { code: 'E_FILE_FORMAT', message: `${this.headers.at(-1)?.name}: ends too early`, details: {} };
  }
  join(): Uint32Array {
    const count = this.headers[0]?.bytes[2] ?? 0;
    if (this.headers.length !== count) throw { code: 'E_FILE_FORMAT', message: 'parts are missing', details: {} };
    const places = this.headers.map((header, place) => ({ no: header.bytes[1] ?? 0, place }));
    return Uint32Array.from(
      places.sort((a, b) => a.no - b.no),
      ({ place }) => place,
    );
  }
  endFile(): void {
    this.ends.push(this.fed.length);
  }
  beginCheckpoint(header: Uint8Array): void {
    this.checkpoint = header;
  }
  #isComplete(header: { bytes: number[] } | undefined): boolean {
    return (header?.bytes.length ?? 0) >= PART_HEADER_BYTES;
  }
  async check(): Promise<void> {
    if (this.faults.checkRejects) throw this.faults.checkRejects;
  }
  finish(): void {
    if (this.fed.length < 10)
      throw { code: 'E_FILE_FORMAT', message: 'too short', details: { offset: this.fed.length } };
  }
  info(): EngineInfo {
    return {
      device: this.options.device,
      simd: 'simd128',
      ...(this.options.device === 'webgpu' && { features: ['tree'] }),
      architecture: 'fake',
      fileBytes: 1000,
      name: 'fake',
      parameters: 1,
      quantization: this.faults.quantization ?? 'Q4_0',
      contextLength: CONTEXT,
      vocabularySize: 65_536,
      tasks: this.faults.tasks ?? ['generate'],
      labels: LABELS,
      embeddingLength: 4,
      memory: { weightsBytes: 1 },
    };
  }
  template() {
    if (this.faults.noTemplate) return { specialStrings: [] };
    return {
      chatTemplate:
        this.faults.template ??
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ suffix }}{% if messages[0].content == 'loop' %}{{ raise_exception('no loops') }}{% endif %}",
      specialStrings: ['<user>', '<system>'],
    };
  }
  tokenize(text: string, _addSpecial: boolean, _parseSpecial: boolean, joiner = ''): Uint32Array {
    return Uint32Array.from((joiner ? text.replaceAll(joiner, '') : text).split(''), (unit) => unit.charCodeAt(0));
  }
  detokenize(ids: Uint32Array): string {
    return String.fromCharCode(...ids);
  }
  start(request: GenerateRequest): void {
    if (this.faults.startThrows) throw this.faults.startThrows;
    this.requests.push(request);
    this.#request = request;
    this.#n = -1;
  }
  encode(request: EncodeRequest): void {
    if (this.faults.startThrows) throw this.faults.startThrows;
    this.encodings.push(request);
    this.#encoding = { request, next: 0 };
  }
  /**
   * An input a turn. An embedding is the number of code units, the first of them, and zeros; the logits of a text are its number
   * of code units and 0, -1; each code unit has its own label. Before the mask, `_`, the code units from `a` on are proposed,
   * or `only` these tokens.
   */
  #encodeNext({ request, next }: { request: EncodeRequest; next: number }): GenerateEvent[] {
    const input = request.inputs[next];
    if (!input) {
      this.#encoding = undefined;
      return [{ type: 'end', usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 } }];
    }
    this.#encoding = { request, next: next + 1 };
    const ids = 'tokens' in input ? input.tokens : this.tokenize(input.text + (input.pair ?? ''), true, false);
    const isLabel = request.task === 'label';
    const proposed = (request.only ?? Array.from({ length: request.candidates }, (_, i) => 97 + i)).map((id) => ({
      id,
      text: String.fromCharCode(id),
      bytes: [id],
      logprob: 96 - id,
    }));
    const values = {
      embed: [ids.length, ids[0] ?? 0, 0, 0].slice(0, request.dimensions),
      classify: [ids.length, 0, -1],
      label: Array.from(ids, (id) => LABELS.map((_, i) => (id % LABELS.length === i ? 2 : 0))).flat(),
      'fill-mask': [],
    }[request.task];
    return [
      {
        type: 'output',
        input: next,
        tokenCount: ids.length,
        values: Float32Array.from(values),
        width: isLabel ? LABELS.length : values.length,
        ids: Uint32Array.from(isLabel ? ids : []),
        places: Int32Array.from(
          isLabel ? Array.from(ids, (_, i) => ('tokens' in input ? [-1, -1] : [i, i + 1])).flat() : [],
        ),
        candidates:
          request.task === 'fill-mask'
            ? Array.from(ids)
                .filter((id) => id === 95)
                .map(() => proposed)
            : [],
      },
    ];
  }
  /** The last span first. ln P of a token is minus a tenth of its id; what has only even ids is what greedy decoding would write. */
  score(request: ScoreRequest): void {
    if (this.faults.startThrows) throw this.faults.startThrows;
    this.scorings.push(request);
    this.#scored = request.groups.flatMap(({ spans }, group) =>
      spans.map(({ tokens, first }, span) => {
        const ids = Array.from(tokens.subarray(first));
        const [logprobs, isGreedy] = [ids.map((id) => -id / 10), ids.every((id) => id % 2 === 0)];
        return { type: 'scored' as const, group, span, logprobs, isGreedy };
      }),
    );
  }
  #scoreNext(scored: ScoredEvent[]): GenerateEvent[] {
    const next = scored.pop();
    if (next) return [next];
    this.#scored = undefined;
    return [{ type: 'end', usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 } }];
  }
  advance(): GenerateEvent[] {
    this.advances++;
    if (this.#scored) return this.#scoreNext(this.#scored);
    if (this.#encoding) return this.#encodeNext(this.#encoding);
    const request = this.#request;
    if (!request) throw { code: 'E_INTERNAL', message: 'nothing to advance', details: {} };
    const total = request.prompt.length;
    if (this.#n < 0) {
      this.#n = 0;
      const events: GenerateEvent[] = [{ type: 'prefill', processed: total, total, cached: 0 }];
      if (request.echo)
        events.push({
          type: 'echo',
          ids: [...request.prompt],
          texts: Array.from(request.prompt, (id) => String.fromCharCode(id)),
          logprobs: Array.from(request.prompt, (_, i) => (i === 0 ? null : -i)),
        });
      return events;
    }
    const most = request.maxTokens ?? CONTEXT - total;
    if (this.faults.trapAtToken === this.#n) throw new WebAssembly.RuntimeError('unreachable');
    const choices = Array.from({ length: request.n }, (_, choice) => choice);
    if (this.#n >= most) {
      this.#request = undefined;
      return [
        ...choices.map((choice): GenerateEvent => ({ type: 'done', choice, reason: 'length', text: '.' })),
        {
          type: 'end',
          usage: {
            promptTokens: total,
            completionTokens: most * request.n,
            cachedTokens: 0,
            ...this.faults.guessed,
          },
        },
      ];
    }
    const id = request.prompt[total - 1 - (this.#n++ % total)] ?? 0;
    return choices.map((choice) => ({
      type: 'token',
      choice,
      id,
      text: String.fromCharCode(id),
      ...(request.logprobs === undefined
        ? {}
        : {
            bytes: [...new TextEncoder().encode(String.fromCharCode(id))],
            logprob: -0.5,
            top: Array.from({ length: request.logprobs }, () => ({
              id,
              text: String.fromCharCode(id),
              bytes: [...new TextEncoder().encode(String.fromCharCode(id))],
              logprob: -0.5,
            })),
          }),
    }));
  }
  ready(): Promise<void> | undefined {
    const { readyMs, readyRejects } = this.faults;
    if (readyRejects && this.#n >= readyRejects.atToken) return Promise.reject(readyRejects.error);
    return readyMs === undefined ? undefined : new Promise((resolve) => setTimeout(resolve, readyMs));
  }
  warm(): boolean {
    return false;
  }

  nudge(): void {
    this.nudges++;
  }
  /** A mark and the note: the cache is empty. */
  snapshot(note: Uint8Array, tokens: Uint32Array): Uint8Array | undefined {
    this.snapshots.push(this.detokenize(tokens));
    if (this.snapshots.length <= (this.faults.snapshotWaits ?? 0)) return undefined;
    return Uint8Array.from([0x4b, ...note]);
  }
  restore(bytes: Uint8Array): Uint8Array {
    if (bytes[0] !== 0x4b) throw { code: 'E_INTEGRITY', message: 'snapshot: not a snapshot', details: {} };
    this.restored++;
    return bytes.slice(1);
  }
  cancel(): void {
    this.cancels++;
    this.#request = undefined;
    this.#encoding = undefined;
    this.#scored = undefined;
  }
  tune(one: number, several: number): void {
    this.tunes.push([one, several]);
  }
  foundThreads(): Uint32Array {
    return Uint32Array.from(this.faults.found ?? [0, 0]);
  }
  profile(on: boolean): Omit<Profile, 'wallMs'> | null {
    const was = this.isProfiled;
    this.isProfiled = on;
    return was
      ? {
          stepsMs: 1,
          steps: 1,
          rows: 1,
          kinds: [],
          barriers: 0,
          barrierWaitMs: 0,
          othersWaitMs: 0,
          threads: 1,
          flavour: 'fake',
        }
      : null;
  }
  poolAddress(): number {
    return 0;
  }
  free(): void {
    this.isFree = true;
  }
}

/** Two ends of a channel, one as a Worker, the other as its global scope. */
export function pair(): { worker: WorkerLike & { terminated: boolean }; scope: ScopeLike } {
  const { port1, port2 } = new MessageChannel();
  port1.start();
  port2.start();
  const worker = {
    terminated: false,
    postMessage: (message: unknown, transfer: Transferable[]) => port1.postMessage(message, transfer),
    addEventListener: (type: string, listener: (event: never) => void) =>
      port1.addEventListener(type as 'message', listener as (event: unknown) => void),
    terminate() {
      this.terminated = true;
      port1.close();
    },
  };
  const scope = {
    postMessage: (message: unknown) => port2.postMessage(message),
    addEventListener: (type: 'message', listener: (event: MessageEvent) => void) =>
      port2.addEventListener(type, listener as (event: unknown) => void),
  };
  return { worker: worker as unknown as WorkerLike & { terminated: boolean }, scope };
}

export interface Fake {
  core: Core;
  engine: FakeEngine;
  client: Client<EngineRequests>;
  workers: { terminated: boolean }[];
  /** How many template workers were started. */
  n_templates(): number;
}

/** A loaded fake, through the same client and host as the real one. */
export async function loadFake(
  faults: Faults = {},
  device: 'cpu' | 'webgpu' = 'cpu',
  speculates = true,
): Promise<Fake> {
  const engine = new FakeEngine(faults, { device, threads: 1, kvType: 'f16' });
  const ends = pair();
  const client = new Client<EngineRequests>(ends.worker, () => new Error('did not start'));
  serve<EngineRequests>(ends.scope, hostOf(engine), { trapsAreFatal: true });
  const workers = [ends.worker];
  let n_templates = 0;
  const templates = new TemplateRenderer(() => {
    const { worker, scope } = pair();
    n_templates++;
    workers.push(worker);
    if (faults.deafTemplates && n_templates === 1)
      serve<TemplateRequests>(
        scope,
        {
          render: (_input, call) => {
            call.emit('rendering');
            return new Promise(() => {});
          },
        },
        { trapsAreFatal: false },
      );
    else serve<TemplateRequests>(scope, new TemplateHost(), { trapsAreFatal: false });
    return { worker, startError: () => new Error('did not start') };
  });
  const loaded: LoadOutput = await client.call('load', {
    source: { kind: 'blob', blob: new Blob([new Uint8Array(100)]) },
    device: engine.options.device,
    build: 'simd',
    threads: 1,
    sharedMemory: true,
    kvType: 'f16',
    files: FILES,
    faultChannel: '',
  }).result;
  const info: Info = {
    ...loaded.info,
    fileBytes: loaded.fileBytes,
    chatTemplate: 'file',
    template: { source: 'file', known: false },
    notices: [],
    device: { ...loaded.device, threads: 1, simd: 'simd128' },
    build: 'test',
  };
  const core = new Core(client, templates, loaded, { info, speculates });
  return { core, engine, client, workers, n_templates: () => n_templates };
}

/** A hardware adapter with everything. */
export const GPU: { kind: 'found'; adapter: AdapterFacts } = {
  kind: 'found',
  adapter: {
    name: 'acme rocket',
    software: false,
    subgroups: true,
    subgroupMinSize: 32,
    subgroupMaxSize: 32,
    f16: true,
    packedDot: true,
  },
};

/** A host of one engine, or of those that `engine` makes. */
export function hostOf(
  engine: Engine | ((options: EngineOptions) => Engine),
  {
    gpu = GPU,
    onPool = () => {},
    onComplete = () => {},
  }: { gpu?: GpuState; onPool?: (threads: number) => unknown; onComplete?: () => void } = {},
): EngineHost {
  return new EngineHost({
    findGpu: async () => gpu,
    readers: {
      parts: (files, siblings) => new Parts(files, siblings),
      checkpoint: (source, quantize) => new CheckpointFiles(source, quantize),
      readVocabulary,
    },
    instantiate: async () => ({
      createEngine: async (options) => (typeof engine === 'function' ? engine(options) : engine),
      startPool: async (_engine, threads) => void (await onPool(threads)),
      complete: async () => onComplete(),
      createSha256: () => ({ update() {}, hex: () => 'a'.repeat(64) }),
    }),
  });
}
