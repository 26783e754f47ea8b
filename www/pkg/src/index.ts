/// <reference lib="esnext.disposable" preserve="true" />
// The public API: `import { Kinglet } from 'kinglet'`. Loads a model into a worker and gives OpenAI's calls on it. Nothing heavy
// happens here: the page holds the client, the worker does the work.

import { type ChatCompletions, createChat } from './chat.js';
import { Client } from './client.js';
import { type Completions, createCompletion } from './completions.js';
import { type Conversation, type ConversationParams, createConversation, restoreConversation } from './conversation.js';
import { Core } from './core.js';
import { classify, createEmbeddings, type Embeddings, fillMask, label } from './encoders.js';
import { fromPlain, type PlainError, unsupported } from './errors.js';
import { choose, type Choice, describeSimd, detect } from './features.js';
import { locate, type PackageFiles, workerFor } from './files.js';
import { baseUrl, spawn } from './host.js';
import { describeModel, type DescribedModel } from './model-files.js';
import { asBag, checkLoad, checkMessages, checkTemplate, checkTokens, plainHeaders } from './params.js';
import type { EngineRequests, GenerateOutput, LoadInput, LoadOutput } from './protocol.js';
import { score } from './score.js';
import { watchStart } from './spawn.js';
import { describeTemplate } from './template-facts.js';
import { TemplateRenderer, templateOf } from './templates.js';
import { knownSpeeds, Speedometer } from './speeds.js';
import { firstTuning, GPU_KEY, kept, remember, rememberGpu } from './tuning.js';
import type {
  CallOptions,
  ChatMessage,
  Classification,
  Continuation,
  EncoderInput,
  FilledMask,
  Info,
  LabelledToken,
  LoadOptions,
  Profile,
  ScoredContinuation,
  ScoreOptions,
  Source,
  Task,
  TemplateOptions,
  TokenizeOptions,
} from './types.js';
import { VERSION } from './version.js';

export { MemoryBudget } from './budget.js';
export type { MemoryShare } from './budget.js';
export { KingletError } from './errors.js';
export type { ErrorCode, ErrorDetails } from './errors.js';
export type { ChatCompletions } from './chat.js';
export type { Completions } from './completions.js';
export type { Conversation, ConversationParams, Said, SendParams } from './conversation.js';
export type { Embeddings } from './encoders.js';
export type * from './types.js';

/** A loaded model. Make one with {@link Kinglet.load}; end it with {@link Kinglet.close}, which gives its memory back. */
export class Kinglet {
  readonly #core: Core;
  /** OpenAI's chat completions. Calls run one after the other, in the order of the calls. */
  readonly chat: { readonly completions: ChatCompletions };
  /** OpenAI's legacy completions. */
  readonly completions: Completions;
  /** OpenAI's embeddings, of a model that `info.tasks` says can embed; brought to length 1. */
  readonly embeddings: Embeddings;

  /**
   * For people who look for what is slow. `profile(true)` begins to measure where the time of requests goes and gives what was measured
   * since the last call, the first time nothing; `profile(false)` gives it and ends. Measuring costs some time itself. On a
   * GPU without timestamps nothing is measured. What it gives may change.
   */
  readonly debug: { profile(on: boolean): Promise<Profile | undefined> };

  private constructor(core: Core) {
    this.#core = core;
    this.chat = {
      completions: { create: ((params, options) => createChat(core, params, options)) as ChatCompletions['create'] },
    };
    this.completions = {
      create: ((params, options) => createCompletion(core, params, options)) as Completions['create'],
    };
    this.embeddings = {
      create: ((params, options) => createEmbeddings(core, params, options)) as Embeddings['create'],
    };
    this.debug = {
      profile: async (on) => {
        core.checkOpen();
        if (typeof on !== 'boolean') throw new TypeError('profile takes true or false');
        return core.profile(on);
      },
    };
  }

  /**
   * Loads a model: a GGUF file, or a checkpoint as published. What cannot work is said before the weights are fetched.
   *
   * @throws KingletError with a code; TypeError or RangeError for wrong options; the signal's reason after an abort.
   */
  static async load(source: Source, options: LoadOptions = {}): Promise<Kinglet> {
    checkLoad(options);
    options.signal?.throwIfAborted();
    const choice = choose(detect(), options.threads);
    const described = describeModel(source, plainHeaders(options.headers), options.sha256, baseUrl());
    if (options.quantize !== undefined && described.descriptor.kind !== 'checkpoint') {
      described.dispose();
      throw new TypeError('quantize is for checkpoints: the weights of a GGUF file stay as they are');
    }
    const files = locate(options);
    const script = workerFor(files, described.descriptor);
    const watch = watchStart(script === files.worker ? 'worker.js' : 'checkpoint-worker.js', script);
    const faults = new BroadcastChannel(`kinglet-${crypto.getRandomValues(new Uint32Array(4)).join('-')}`);
    let client: Client<EngineRequests> | undefined;
    let templates: TemplateRenderer | undefined;
    let release = (): void => {};
    let hold = ({ name, memory }: Pick<Info, 'name' | 'memory'>): void => {
      release();
      if (options.budget) release = options.budget.reserve(name, sum(Object.values(memory)));
    };
    try {
      const engine = new Client<EngineRequests>(spawn(script), () => watch.error());
      client = engine;
      faults.onmessage = ({ data }: MessageEvent<PlainError>) => engine.fail(fromPlain(data));
      engine.whenFailed(() => {
        faults.close();
        release();
        hold = () => {};
      });
      templates = startTemplates(files);
      const loading = engine.call('load', loadInput(described, choice, options, { files, faultChannel: faults.name }), {
        transfer: described.transfer,
        signal: options.signal,
        onEvent: (event) => {
          try {
            if (event.model) hold(event.model);
            options.onProgress?.(event);
          } catch (thrown) {
            engine.fail(thrown); // the caller's own exception comes back as it is
          }
        },
      });
      const [loaded] = await Promise.all([loading.result, templates.started]);
      const info = infoOf(loaded, choice);
      const isNewlyTuned = rememberGpu(loaded.info.tuned);
      hold(info);
      const speculates = options.speculation !== 'off';
      const onMeasured = recorder(options, choice, loaded, { info, isNewlyTuned });
      return new Kinglet(new Core(engine, templates, loaded, { info, speculates, onMeasured }));
    } catch (thrown) {
      client?.fail(thrown);
      faults.close();
      templates?.close(thrown);
      throw thrown;
    } finally {
      described.dispose();
      watch.stop();
    }
  }

  /** Reads only a model's header; not built yet. */
  static async inspect(_source: Source): Promise<never> {
    return notBuilt('Kinglet.inspect');
  }

  /** Models kept on this machine; not built yet. */
  static readonly storage = {
    list: async (): Promise<never> => notBuilt('Kinglet.storage'),
    size: async (): Promise<never> => notBuilt('Kinglet.storage'),
    delete: async (_name?: string): Promise<never> => notBuilt('Kinglet.storage'),
    persist: async (): Promise<never> => notBuilt('Kinglet.storage'),
  };

  /** What is loaded, and what it runs on and why. */
  get info(): Info {
    return this.#core.info;
  }

  /** The ids of a text. */
  async tokenize(text: string, options: TokenizeOptions = {}): Promise<number[]> {
    this.#core.checkOpen();
    if (typeof text !== 'string') throw new TypeError('text must be a string');
    const bag = asBag(options, 'options', new Set(['addSpecial', 'parseSpecial']));
    for (const name of ['addSpecial', 'parseSpecial']) {
      if (bag[name] !== undefined && typeof bag[name] !== 'boolean')
        throw new TypeError(`${name} must be true or false`);
    }
    return Array.from(
      await this.#core.tokenize(text, {
        addSpecial: options.addSpecial ?? true,
        parseSpecial: options.parseSpecial ?? false,
      }),
    );
  }

  /** The text of ids, special tokens written out. */
  async detokenize(tokens: number[] | Uint32Array): Promise<string> {
    this.#core.checkOpen();
    checkTokens(tokens, 'tokens', this.info.vocabularySize);
    return this.#core.detokenize(Uint32Array.from(tokens));
  }

  /** For each text (or pair of texts) how much each label applies, the most likely first. A ranker has one label. */
  async classify(texts: readonly EncoderInput[], options?: CallOptions): Promise<Classification[][]> {
    return classify(this.#core, texts, options);
  }

  /** For each text its tokens, each with its label. Of a pair, the tokens of the first text. */
  async label(texts: readonly EncoderInput[], options?: CallOptions): Promise<LabelledToken[][]> {
    return label(this.#core, texts, options);
  }

  /**
   * For each text and each mask in it (written as the model's own mask, such as `[MASK]`) the tokens that are most likely there,
   * best first: `top` of them, 5 by default, at most 1,000. With `only`, these tokens instead.
   */
  async fillMask(
    texts: readonly EncoderInput[],
    options?: CallOptions & { top?: number; only?: readonly number[] },
  ): Promise<FilledMask[][][]> {
    return fillMask(this.#core, texts, options);
  }

  /**
   * How probable continuations of texts are. Those of one item are computed together: what their texts have in common, once (and what all
   * items begin with, too). An encoder-decoder reads the context, and writes the continuation and its end token; the continuations
   * of one item then have one context. At most 4,096 items of 4,096 continuations. On the CPU activations keep 12 bits here instead of 8: the
   * figures are nearer to the model's own than those of `completions` with `echo`, which say what it writes by.
   *
   * @throws KingletError E_CONTEXT_OVERFLOW where a text is longer than the context; E_UNSUPPORTED_TASK with an encoder.
   */
  async score(items: readonly (readonly Continuation[])[], options?: ScoreOptions): Promise<ScoredContinuation[][]> {
    return score(this.#core, items, options);
  }

  /**
   * A conversation as the text that the model reads: what `apply_chat_template` of Hugging Face's transformers gives.
   *
   * @throws KingletError E_TEMPLATE with the template's own words, or with what is wrong with it.
   */
  async applyChatTemplate(messages: ChatMessage[], options: TemplateOptions = {}): Promise<string> {
    this.#core.checkOpen();
    checkMessages(messages);
    checkTemplate(options);
    const { text, joiner } = await this.#core.render(messages, options);
    return text.replaceAll(joiner, '');
  }

  /**
   * A conversation: it keeps its messages, and can be forked and saved. `params` are its first messages and what its calls have that do not
   * say otherwise, as `chat.completions.create` takes them.
   */
  conversation(params?: ConversationParams): Conversation {
    return createConversation(this.#core, params);
  }

  /**
   * Takes up a conversation that `snapshot()` has saved: its next call computes only what is new.
   *
   * @throws KingletError E_INTEGRITY where the bytes are damaged, or of another model, version of this package, or `kvType`;
   * E_CONTEXT_OVERFLOW where they are longer than the context. The engine is unharmed.
   */
  async restore(snapshot: Uint8Array, options?: CallOptions): Promise<Conversation> {
    return restoreConversation(this.#core, snapshot, options);
  }

  /** Ends the workers, so that their memory comes back. What is pending rejects with an AbortError; later calls with an InvalidStateError. */
  async close(): Promise<void> {
    await this.#core.close();
  }

  /** {@link Kinglet.close}, at the end of the block of `await using engine = await Kinglet.load(…)`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function notBuilt(what: string): never {
  throw unsupported(`${what} is not built yet`);
}

const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);

function startTemplates({ templates, fullTemplates }: PackageFiles): TemplateRenderer {
  return new TemplateRenderer((isFull) => {
    const url = isFull ? fullTemplates : templates;
    const watch = watchStart(isFull ? 'full-template-worker.js' : 'template-worker.js', url);
    try {
      return { worker: spawn(url), startError: () => watch.error(), started: () => watch.stop() };
    } catch (thrown) {
      watch.stop();
      throw thrown;
    }
  });
}

/** Whether a model has conversations: an encoder-decoder only with a template of its own. */
const hasChats = (tasks: readonly Task[], template: Info['template']['source']): boolean =>
  tasks.includes('generate') && (template === 'file' || !tasks.includes('remember'));

function loadInput(
  described: DescribedModel,
  choice: Choice,
  options: LoadOptions,
  { files, faultChannel }: Pick<LoadInput, 'files' | 'faultChannel'>,
): LoadInput {
  const input: LoadInput = {
    source: described.descriptor,
    device: options.device ?? 'auto',
    build: choice.build,
    threads: choice.threads,
    sharedMemory: choice.sharedMemory,
    kvType: options.kvType ?? 'f16',
    gpuTuned: kept(GPU_KEY),
    files: { worker: files.worker, wasm: files.wasm },
    faultChannel,
  };
  if (options.threads === undefined && choice.threads > 1)
    input.tuning = firstTuning(detect().cores, choice.threads, `${VERSION} ${choice.build}`);
  if (options.threads === undefined && input.device === 'auto') input.speeds = knownSpeeds(machineOf(choice));
  if (options.quantize !== undefined) input.quantize = options.quantize;
  if (options.contextLength !== undefined) input.contextLength = options.contextLength;
  if (described.sha256 !== undefined) input.sha256 = described.sha256;
  return input;
}

/** What the speed of the CPU depends on. */
const machineOf = ({ build, threads }: Choice): string => `${threads} ${VERSION} ${build}`;

/** Remembers what answers show of this machine; nothing where the caller has said how many threads. */
function recorder(
  { threads }: LoadOptions,
  choice: Choice,
  { device }: LoadOutput,
  { info: { build, fileBytes }, isNewlyTuned }: { info: Info; isNewlyTuned: boolean },
): (output: GenerateOutput) => void {
  if (threads !== undefined) return () => {};
  // What was found for a GPU holds from the next load on, and a software one is never chosen.
  const isTypical = device.kind === 'cpu' || !(device.software || isNewlyTuned);
  const speedometer = isTypical ? new Speedometer(machineOf(choice), device, fileBytes) : undefined;
  return ({ found, speed }) => {
    if (found) remember(detect().cores, build, fileBytes, found);
    if (speed) speedometer?.note(speed);
  };
}

function infoOf({ info, template, templateSha256, fileBytes, device }: LoadOutput, choice: Choice): Info {
  const { kind } = templateOf(template);
  const known = describeTemplate(kind, templateSha256, info);
  const onCpu = device.kind === 'cpu';
  return {
    architecture: info.architecture,
    name: info.name,
    parameters: info.parameters,
    quantization: info.quantization,
    fileBytes,
    tasks: info.tasks,
    labels: info.labels,
    embeddingLength: info.embeddingLength,
    contextLength: info.contextLength,
    vocabularySize: info.vocabularySize,
    chatTemplate: kind,
    template: known.template,
    // What has no conversations has no template to be told of.
    notices: [...(info.notices ?? []), ...(hasChats(info.tasks, known.template.source) ? known.notices : [])],
    device: {
      ...device,
      threads: onCpu ? choice.threads : 0,
      simd: onCpu ? info.simd : 'simd128',
      reason: onCpu ? `${device.reason}; ${describeSimd(info.simd, choice)}; ${choice.reason}` : device.reason,
    },
    memory: info.memory,
    build: `${VERSION} ${onCpu ? (info.simd === 'relaxed' ? 'relaxed' : 'simd') : 'gpu'}`,
  };
}
