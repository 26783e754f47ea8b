// Checks every parameter before any work: TypeError for a wrong type, RangeError for a value out of range, and
// E_UNSUPPORTED_FEATURE for what is unknown or not built. None is ever ignored. `null` counts as absent, as with OpenAI.

import type { EncodeRequest, GenerateRequest } from './abi.js';
import { MemoryBudget } from './budget.js';
import { unsupported } from './errors.js';
import type { ContinuationInput } from './score-tokens.js';
import type {
  ChatMessage,
  ChatParams,
  CompletionParams,
  EmbeddingParams,
  Info,
  LoadOptions,
  TemplateOptions,
} from './types.js';

const MAX_INT = 2 ** 31 - 1;
const MAX_STOPS = 16;
const MAX_CHOICES = 128;
const MAX_LOGPROBS = 20;
const MAX_BEAMS = 8;
const MAX_LENGTH_PENALTY = 100;
const MAX_THREADS = 64;
const MAX_INPUTS = 2048;
const MAX_CANDIDATES = 1000;
const MAX_SCORED = 4096;
/** As OpenAI's legacy completions have it. */
const COMPLETION_MAX_TOKENS = 16;
const ROLES: readonly string[] = ['system', 'developer', 'user', 'assistant', 'tool'];

/** A request without its prompt, and how the answer is wanted. */
export interface Checked {
  request: Omit<GenerateRequest, 'prompt'>;
  stream: boolean;
  includeUsage: boolean;
}

type Bag = Record<string, unknown>;

const COMMON = [
  'model',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'repeat_penalty',
  'frequency_penalty',
  'presence_penalty',
  'logit_bias',
  'seed',
  'stop',
  'n',
  'stream',
  'stream_options',
  'ignore_eos',
  'cache_prompt',
  'speculation',
  'logprobs',
  'num_beams',
  'length_penalty',
  'early_stopping',
];
const CHAT = new Set([
  ...COMMON,
  'messages',
  'top_logprobs',
  'response_format',
  'tools',
  'tool_choice',
  'chat_template_kwargs',
  'truncation',
]);
/** What a template is told by other ways than by variables. */
const RESERVED = ['messages', 'tools', 'add_generation_prompt'];
/** What the calls themselves look at. */
const CALL = ['signal', 'whenBusy'];
const COMPLETION = new Set([...COMMON, 'prompt', 'echo']);
const LOAD = new Set([
  'device',
  'threads',
  'contextLength',
  'kvType',
  'cache',
  'quantize',
  'speculation',
  'sha256',
  'headers',
  'signal',
  'onProgress',
  'budget',
  'wasmUrl',
  'wasmLaterUrl',
  'workerUrl',
]);

/** Checks the parameters of `chat.completions.create`, the messages among them. */
export function checkChat(params: ChatParams, vocabularySize: number): Checked & { truncates: boolean } {
  const bag = asBag(params, 'params', CHAT);
  checkMessages(bag['messages']);
  const format = bag['response_format'];
  if (format != null && (format as Bag)['type'] !== 'text')
    throw unsupported(`response_format ${JSON.stringify((format as Bag)['type'])} is not built yet: only "text"`);
  const tools = bag['tools'];
  if (tools != null && !Array.isArray(tools)) throw new TypeError('tools must be a list');
  if (Array.isArray(tools) && tools.length > 0) throw unsupported('tools are not built yet');
  const choice = bag['tool_choice'];
  if (choice != null && choice !== 'none')
    throw unsupported(`tool_choice ${JSON.stringify(choice)} is not built yet: only "none"`);
  checkVariables(bag['chat_template_kwargs'], 'chat_template_kwargs');
  const wanted = boolean(bag, 'logprobs') ?? false;
  const top = integer(bag, 'top_logprobs', 0, MAX_LOGPROBS);
  if (top !== undefined && !wanted) throw new RangeError('top_logprobs needs logprobs: true');
  const maxTokens = tokenLimit(bag, 1);
  const truncates = oneOf(bag, 'truncation', ['auto', 'disabled']) === 'auto';
  const checked = common(bag, vocabularySize, { maxTokens, logprobs: wanted ? (top ?? 0) : undefined, echo: false });
  return { ...checked, truncates };
}

/** Checks the parameters of `completions.create`; the prompt's tokens too, where it is tokens. */
export function checkCompletion(params: CompletionParams, vocabularySize: number): Checked {
  const bag = asBag(params, 'params', COMPLETION);
  checkPrompt(bag['prompt'], vocabularySize);
  const echo = boolean(bag, 'echo') ?? false;
  const logprobs = integer(bag, 'logprobs', 0, MAX_LOGPROBS);
  const maxTokens = tokenLimit(bag, echo ? 0 : 1) ?? COMPLETION_MAX_TOKENS;
  return common(bag, vocabularySize, { maxTokens, logprobs, echo });
}

function common(
  bag: Bag,
  vocabularySize: number,
  own: { maxTokens: number | undefined; logprobs: number | undefined; echo: boolean },
): Checked {
  checkModel(bag);
  const stream = boolean(bag, 'stream') ?? false;
  const speculation = oneOf(bag, 'speculation', ['auto', 'off']);
  const beams = beamSearch(bag);
  const request: Checked['request'] = {
    stop: stops(bag['stop']),
    n: integer(bag, 'n', 1, MAX_CHOICES) ?? 1,
    seed: integer(bag, 'seed', 0, Number.MAX_SAFE_INTEGER) ?? randomSeed(),
    temperature: number(bag, 'temperature', 0, 100) ?? (beams ? 0 : 0.8),
    topK: integer(bag, 'top_k', 1, MAX_INT) ?? 40,
    topP: number(bag, 'top_p', 0, 1) ?? 0.95,
    minP: number(bag, 'min_p', 0, 1) ?? 0.05,
    repeatPenalty: number(bag, 'repeat_penalty', 1e-3, 10) ?? 1,
    frequencyPenalty: number(bag, 'frequency_penalty', -2, 2) ?? 0,
    presencePenalty: number(bag, 'presence_penalty', -2, 2) ?? 0,
    logitBias: logitBias(bag['logit_bias'], vocabularySize),
    echo: own.echo,
    ignoreEos: boolean(bag, 'ignore_eos') ?? false,
    cachePrompt: boolean(bag, 'cache_prompt') ?? true,
  };
  if (own.maxTokens !== undefined) request.maxTokens = own.maxTokens;
  if (own.logprobs !== undefined) request.logprobs = own.logprobs;
  if (speculation !== undefined) request.speculates = speculation === 'auto';
  if (beams) {
    request.beams = beams;
    checkWithBeams(request, beams.width);
  }
  return { request, stream, includeUsage: streamOptions(bag['stream_options'], stream) };
}

/** The parameters of a beam search, as Hugging Face's `generate` names them; undefined where there is but one beam. */
function beamSearch(bag: Bag): Checked['request']['beams'] {
  const width = integer(bag, 'num_beams', 1, MAX_BEAMS) ?? 1;
  const lengthPenalty = number(bag, 'length_penalty', -MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY);
  const early = bag['early_stopping'];
  if (early != null && typeof early !== 'boolean' && early !== 'never')
    throw new TypeError("early_stopping must be true, false or 'never'");
  if (width > 1)
    return {
      width,
      lengthPenalty: lengthPenalty ?? 1,
      earlyStopping: early === 'never' ? 'never' : early === true ? 'yes' : 'no',
    };
  if (lengthPenalty !== undefined || early != null)
    throw new RangeError('length_penalty and early_stopping need num_beams of at least 2');
  return undefined;
}

/** What a beam search cannot be combined with: it does not draw, and it looks at plain probabilities. */
function checkWithBeams(request: Checked['request'], width: number): void {
  if (request.temperature !== 0)
    throw new RangeError(`temperature is ${request.temperature}: with num_beams it must be 0 or left out`);
  if (request.n > width) throw new RangeError(`n is ${request.n}, more than num_beams, ${width}`);
  const { repeatPenalty, frequencyPenalty, presencePenalty, logitBias, logprobs } = request;
  if (repeatPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0)
    throw unsupported('penalties together with num_beams are not built yet');
  if (logitBias.length > 0) throw unsupported('logit_bias together with num_beams is not built yet');
  if (logprobs !== undefined) throw unsupported('logprobs together with num_beams are not built yet');
}

/** Checks the parameters of `embeddings.create`. */
export function checkEmbeddings(
  params: EmbeddingParams,
  { vocabularySize, embeddingLength }: Pick<Info, 'vocabularySize' | 'embeddingLength'>,
): { inputs: EncodeRequest['inputs']; dimensions: number | undefined; base64: boolean } {
  const bag = asBag(params, 'params', new Set(['model', 'input', 'dimensions', 'encoding_format']));
  checkModel(bag);
  const input = bag['input'];
  const isOne = typeof input === 'string' || (Array.isArray(input) && typeof input[0] === 'number');
  const list = isOne ? [input] : input;
  if (Array.isArray(list) && list.some((item) => typeof item !== 'string' && !Array.isArray(item)))
    throw new TypeError('input must be a string, token ids, or a list of one of these');
  return {
    inputs: checkTexts(list, vocabularySize, isOne ? () => 'input' : (i) => `input[${i}]`),
    dimensions: integer(bag, 'dimensions', 1, embeddingLength),
    base64: oneOf(bag, 'encoding_format', ['float', 'base64']) === 'base64',
  };
}

/** Checks what the heads look at. */
export function checkTexts(
  texts: unknown,
  vocabularySize: number,
  name: (i: number) => string = (i) => `texts[${i}]`,
): EncodeRequest['inputs'] {
  if (!Array.isArray(texts)) throw new TypeError('texts must be a list');
  if (texts.length === 0 || texts.length > MAX_INPUTS)
    throw new RangeError(`there are ${texts.length} texts, not 1 to ${MAX_INPUTS}`);
  return Array.from(texts, (item: unknown, i) => {
    if (typeof item === 'string') return { text: item };
    if (Array.isArray(item)) {
      checkTokens(item, name(i), vocabularySize);
      if (item.length === 0) throw new RangeError(`${name(i)} has no tokens`);
      return { tokens: Uint32Array.from(item) };
    }
    const { text, text_pair } = asBag(item, name(i), new Set(['text', 'text_pair']));
    if (typeof text !== 'string' || typeof text_pair !== 'string')
      throw new TypeError(`${name(i)} must be a string, token ids, or have the strings text and text_pair`);
    return { text, pair: text_pair };
  });
}

/** Checks the options of `fillMask`: how many tokens to propose, or which. */
export function checkFillMask(options: object, vocabularySize: number): { top?: number; only?: number[] } {
  const bag = asBag(options, 'options', new Set(['top', 'only', ...CALL]));
  const top = integer(bag, 'top', 1, MAX_CANDIDATES);
  const { only } = bag;
  if (only === undefined) return top === undefined ? {} : { top };
  checkTokens(only, 'only', vocabularySize);
  const ids = Array.from(only as number[]);
  if (ids.length < 1 || ids.length > MAX_CANDIDATES)
    throw new RangeError(`only has ${ids.length} tokens, not 1 to ${MAX_CANDIDATES}`);
  if (top !== undefined) throw new RangeError('top and only are two answers to the same question');
  return { only: ids };
}

/** Checks what is to be scored, and the options. */
export function checkScore(items: unknown, options: object, vocabularySize: number): ContinuationInput[][] {
  const { onProgress, onItem } = asBag(options, 'options', new Set(['onProgress', 'onItem', ...CALL]));
  for (const [name, call] of Object.entries({ onProgress, onItem })) {
    if (call !== undefined && typeof call !== 'function') throw new TypeError(`${name} must be a function`);
  }
  const text = (value: unknown, name: string): string | Uint32Array => {
    if (typeof value === 'string') return value;
    if (!Array.isArray(value) && !(value instanceof Uint32Array))
      throw new TypeError(`${name} must be a string or a list of token ids`);
    checkTokens(value, name, vocabularySize);
    return Uint32Array.from(value);
  };
  const continuation = (value: unknown, name: string): ContinuationInput => {
    const bag = asBag(value, name, new Set(['context', 'continuation']));
    const after = text(bag['continuation'], `${name}.continuation`);
    if (after.length === 0) throw new RangeError(`${name}.continuation is empty`);
    return { context: text(bag['context'], `${name}.context`), continuation: after };
  };
  return listOf(items, 'items').map((item, i) =>
    listOf(item, `items[${i}]`).map((one, j) => continuation(one, `items[${i}][${j}]`)),
  );
}

function listOf(value: unknown, name: string): unknown[] {
  if (!Array.isArray(value)) throw new TypeError(`${name} must be a list`);
  if (value.length === 0 || value.length > MAX_SCORED)
    throw new RangeError(`${name} has ${value.length} entries, not 1 to ${MAX_SCORED}`);
  return Array.from(value);
}

/** Checks the options of `Kinglet.load` that need no looking at the source. */
export function checkLoad(options: LoadOptions): LoadOptions {
  const bag = asBag(options, 'options', LOAD);
  oneOf(bag, 'device', ['auto', 'webgpu', 'cpu']);
  integer(bag, 'threads', 1, MAX_THREADS);
  integer(bag, 'contextLength', 1, MAX_INT);
  oneOf(bag, 'kvType', ['f16', 'q8_0', 'f32']);
  if (bag['cache'] !== undefined && typeof bag['cache'] !== 'boolean' && bag['cache'] !== 'revalidate')
    throw new TypeError("cache must be true, false or 'revalidate'");
  oneOf(bag, 'speculation', ['auto', 'off']);
  const { sha256 } = bag;
  const sums = typeof sha256 === 'object' && sha256 !== null ? Object.values(sha256) : [sha256 ?? '0'.repeat(64)];
  if (sha256 === null || sums.some((sum) => !(typeof sum === 'string' && /^[0-9a-f]{64}$/i.test(sum))))
    throw new TypeError('sha256 must be 64 hexadecimal digits, or an object of such by file name');
  if (bag['signal'] !== undefined && !(bag['signal'] instanceof AbortSignal))
    throw new TypeError('signal must be an AbortSignal');
  if (bag['onProgress'] !== undefined && typeof bag['onProgress'] !== 'function')
    throw new TypeError('onProgress must be a function');
  if (bag['budget'] !== undefined && !(bag['budget'] instanceof MemoryBudget))
    throw new TypeError('budget must be a MemoryBudget');
  oneOf(bag, 'quantize', ['f16', 'q8_0', 'q4_0']);
  return options;
}

/** Checks the options of `applyChatTemplate`. */
export function checkTemplate(options: TemplateOptions): void {
  const bag = asBag(options, 'options', new Set(['addGenerationPrompt', 'tools', 'variables', 'signal']));
  boolean(bag, 'addGenerationPrompt');
  if (bag['tools'] != null && !Array.isArray(bag['tools'])) throw new TypeError('tools must be a list');
  checkVariables(bag['variables'], 'variables');
}

function checkVariables(variables: unknown, name: string): void {
  if (variables == null) return;
  if (typeof variables !== 'object' || Array.isArray(variables)) throw new TypeError(`${name} must be an object`);
  const taken = RESERVED.find((reserved) => Object.hasOwn(variables, reserved));
  if (taken !== undefined) throw new RangeError(`${name} must not set ${JSON.stringify(taken)}`);
}

/** Checks the roles and contents of messages. */
export function checkMessages(messages: unknown): asserts messages is ChatMessage[] {
  if (!Array.isArray(messages)) throw new TypeError('messages must be a list');
  if (messages.length === 0) throw new RangeError('messages must hold at least one message');
  for (const [i, message] of messages.entries()) {
    if (typeof message !== 'object' || message === null) throw new TypeError(`messages[${i}] must be an object`);
    const { role, content, tool_calls, ...rest } = message as Bag;
    if (typeof role !== 'string') throw new TypeError(`messages[${i}].role must be a string`);
    if (!ROLES.includes(role))
      throw new RangeError(`messages[${i}].role is ${JSON.stringify(role)}, not one of ${ROLES.join(', ')}`);
    if (tool_calls != null && !Array.isArray(tool_calls))
      throw new TypeError(`messages[${i}].tool_calls must be a list`);
    for (const name of ['name', 'tool_call_id', 'reasoning_content', 'thinking', 'reasoning']) {
      if (rest[name] != null && typeof rest[name] !== 'string')
        throw new TypeError(`messages[${i}].${name} must be a string`);
    }
    if (Array.isArray(content)) checkParts(content, i);
    else if (content == null) {
      if (role !== 'assistant' || !Array.isArray(tool_calls))
        throw new TypeError(`messages[${i}].content must be a string or a list of parts`);
    } else if (typeof content !== 'string')
      throw new TypeError(`messages[${i}].content must be a string or a list of parts`);
  }
}

function checkParts(parts: unknown[], i: number): void {
  for (const [j, part] of parts.entries()) {
    const { type, text } = (part ?? {}) as Bag;
    if (typeof type !== 'string') throw new TypeError(`messages[${i}].content[${j}].type must be a string`);
    if (type !== 'text')
      throw unsupported(
        `messages[${i}].content[${j}]: parts of type ${JSON.stringify(type)} are not built yet: only "text"`,
      );
    if (typeof text !== 'string') throw new TypeError(`messages[${i}].content[${j}].text must be a string`);
  }
}

function checkPrompt(prompt: unknown, vocabularySize: number): void {
  if (typeof prompt === 'string') return;
  if (!Array.isArray(prompt) && !(prompt instanceof Uint32Array))
    throw new TypeError('prompt must be a string or a list of token ids');
  if (Array.isArray(prompt) && prompt.some((item) => typeof item === 'string' || Array.isArray(item)))
    throw unsupported('several prompts in one call are not built yet');
  checkTokens(prompt, 'prompt', vocabularySize);
}

/** Checks that every item is the id of a token. */
export function checkTokens(tokens: unknown, name: string, vocabularySize: number): void {
  if (!Array.isArray(tokens) && !(tokens instanceof Uint32Array))
    throw new TypeError(`${name} must be a list of token ids`);
  const wrong = (tokens as number[]).findIndex(
    (token) => !(Number.isInteger(token) && token >= 0 && token < vocabularySize),
  );
  if (wrong >= 0)
    throw new RangeError(
      `${name}[${wrong}] is ${String(tokens[wrong])}, not the id of one of ${vocabularySize} tokens`,
    );
}

/** Code that was written for OpenAI's server says which model it wants. An engine has one, whatever it is called. */
function checkModel({ model }: Bag): void {
  if (model != null && typeof model !== 'string') throw new TypeError('model must be a string');
}

function tokenLimit(bag: Bag, least: number): number | undefined {
  const old = integer(bag, 'max_tokens', least, MAX_INT);
  const name = integer(bag, 'max_completion_tokens', least, MAX_INT);
  if (old !== undefined && name !== undefined && old !== name)
    throw new RangeError(`max_tokens is ${old} and max_completion_tokens is ${name}: they mean the same`);
  return old ?? name;
}

function stops(value: unknown): string[] {
  if (value == null) return [];
  const list = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(list) || list.some((item) => typeof item !== 'string'))
    throw new TypeError('stop must be a string or a list of strings');
  if (list.length > MAX_STOPS) throw new RangeError(`stop has ${list.length} strings; at most ${MAX_STOPS}`);
  if (list.includes('')) throw new RangeError('stop must not hold an empty string');
  return list as string[];
}

function logitBias(value: unknown, vocabularySize: number): [number, number][] {
  if (value == null) return [];
  if (typeof value !== 'object' || Array.isArray(value))
    throw new TypeError('logit_bias must be an object of token ids');
  return Object.entries(value).map(([key, bias]) => {
    const token = /^\d+$/.test(key) ? Number(key) : NaN;
    if (!(token < vocabularySize))
      throw new RangeError(`logit_bias names ${JSON.stringify(key)}, not the id of one of ${vocabularySize} tokens`);
    return [token, number({ [`logit_bias[${key}]`]: bias }, `logit_bias[${key}]`, -100, 100) ?? 0];
  });
}

function streamOptions(value: unknown, stream: boolean): boolean {
  if (value == null) return false;
  if (!stream) throw new RangeError('stream_options needs stream: true');
  const bag = asBag(value, 'stream_options', new Set(['include_usage']));
  return boolean(bag, 'include_usage') ?? false;
}

/** An object none of whose set properties is unknown. */
export function asBag(value: unknown, name: string, known: ReadonlySet<string>): Bag {
  if (typeof value !== 'object' || value === null) throw new TypeError(`${name} must be an object`);
  for (const [key, item] of Object.entries(value)) {
    if (!known.has(key) && item !== undefined)
      throw unsupported(`${name}: ${JSON.stringify(key)} is unknown or not built yet`, { parameter: key });
  }
  return value as Bag;
}

function number(bag: Bag, name: string, least: number, most: number): number | undefined {
  const value = bag[name];
  if (value == null) return undefined;
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number`);
  if (!(value >= least && value <= most)) throw new RangeError(`${name} is ${value}, not in ${least}…${most}`);
  return value;
}

function integer(bag: Bag, name: string, least: number, most: number): number | undefined {
  const value = number(bag, name, least, most);
  if (value !== undefined && !Number.isInteger(value)) throw new RangeError(`${name} is ${value}, not a whole number`);
  return value;
}

function boolean(bag: Bag, name: string): boolean | undefined {
  const value = bag[name];
  if (value == null) return undefined;
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be true or false`);
  return value;
}

/** One of these, or nothing. */
export function oneOf<T extends string>(bag: Bag, name: string, values: readonly T[]): T | undefined {
  const value = bag[name];
  if (value == null) return undefined;
  if (typeof value !== 'string') throw new TypeError(`${name} must be one of ${values.join(', ')}`);
  const found = values.find((one) => one === value);
  if (found === undefined) throw new RangeError(`${name} is ${JSON.stringify(value)}, not one of ${values.join(', ')}`);
  return found;
}

/** 53 random bits: the page draws the seed, so that a run can be repeated from what the page holds. */
function randomSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 11) * 2 ** 32 + low;
}

/** Headers in any form that fetch takes, as a plain object. */
export function plainHeaders(headers: LoadOptions['headers']): Record<string, string> {
  const plain: Record<string, string> = {};
  if (headers !== undefined)
    new Headers(headers).forEach((value, name) => {
      plain[name] = value;
    });
  return plain;
}
