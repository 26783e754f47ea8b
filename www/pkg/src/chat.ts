// chat.completions.create in OpenAI's shape: messages to prompt, events to an answer or to chunks.

import type { Alternative, GenerateEvent } from './abi.js';
import { ChunkStream, eventsOf, head, pieceOf, type StreamWatcher, timingsOf, usageOf } from './answer.js';
import type { Core, Generation } from './core.js';
import { checkChat } from './params.js';
import { PLAIN_STOP } from './templates.js';
import { fit } from './truncation.js';
import type {
  CallOptions,
  ChatCompletion,
  ChatCompletionChunk,
  ChatLogprobs,
  ChatMessage,
  ChatParams,
  FinishReason,
  Stream,
} from './types.js';

export interface ChatCompletions {
  create(params: ChatParams & { stream: true }, options?: CallOptions): Promise<Stream<ChatCompletionChunk>>;
  create(params: ChatParams & { stream?: false | null }, options?: CallOptions): Promise<ChatCompletion>;
  create(params: ChatParams, options?: CallOptions): Promise<ChatCompletion | Stream<ChatCompletionChunk>>;
}

export async function createChat(
  core: Core,
  params: ChatParams,
  callOptions: CallOptions = {},
  watcher?: StreamWatcher<ChatCompletionChunk>,
): Promise<ChatCompletion | Stream<ChatCompletionChunk>> {
  core.checkOpen();
  core.checkTask('generate', 'chat.completions.create');
  core.checkChats();
  const { request, stream, includeUsage, truncates } = checkChat(params, core.info.vocabularySize);
  if (core.info.chatTemplate === 'plain') request.stop.push(PLAIN_STOP);
  // The caller may change the messages while the call waits: what was asked is what they said at the call.
  const [messages, variables] = cloneOf([params.messages, params.chat_template_kwargs ?? {}] as const);
  const { signal } = callOptions;
  const options = { variables, ...(signal && { signal }) };
  const prompt = (some: ChatMessage[]): Promise<Uint32Array> => core.chatPrompt(some, options);
  const extra: Extra = {};
  const fitted = async (): Promise<Uint32Array> => {
    const result = await fit(messages, prompt, core.promptRoom(request.maxTokens));
    extra.truncated_messages = result.truncated;
    return result.prompt;
  };
  const generation = await core.generate(request, truncates ? fitted : () => prompt(messages), stream, callOptions);
  return stream
    ? new ChunkStream(generation, chunks(generation, core.info.name, includeUsage, extra), watcher)
    : whole(generation, core.info.name, extra);
}

/** What an answer says of how its prompt was made. */
type Extra = Pick<ChatCompletion, 'truncated_messages'>;

/** A copy that nobody else can change; TypeError where it is no data. */
export function cloneOf<T>(data: T): T {
  try {
    return structuredClone(data);
  } catch (cause) {
    throw new TypeError('messages and parameters must be plain data', { cause });
  }
}

async function whole(generation: Generation, model: string, extra: Extra): Promise<ChatCompletion> {
  const withLogprobs = generation.request.logprobs !== undefined;
  const choices = generation.generated.map((token_ids, index) => ({
    index,
    message: { role: 'assistant' as const, content: '', refusal: null },
    finish_reason: 'stop' as FinishReason,
    logprobs: withLogprobs ? ({ content: [], refusal: null } as ChatLogprobs) : null,
    token_ids,
  }));
  const events = eventsOf(generation);
  for (let step = await events.next(); ; step = await events.next()) {
    if (step.done) {
      return {
        ...head('chatcmpl', 'chat.completion', model),
        choices,
        usage: usageOf(step.value),
        timings: timingsOf(generation.output, step.value),
        ...extra,
      };
    }
    const event = step.value;
    if (event.type !== 'token' && event.type !== 'done') continue;
    const choice = choices[event.choice];
    if (!choice) continue;
    choice.message.content += event.text;
    if (event.type === 'done') choice.finish_reason = event.reason;
    else choice.logprobs?.content.push(...(logprobs(event)?.content ?? []));
  }
}

async function* chunks(
  generation: Generation,
  model: string,
  includeUsage: boolean,
  extra: Extra,
): AsyncGenerator<ChatCompletionChunk, undefined> {
  type Choice = ChatCompletionChunk['choices'][number];
  const top = head('chatcmpl', 'chat.completion.chunk', model);
  const chunk = (choices: Choice[]): ChatCompletionChunk => ({
    ...top,
    choices,
    ...(includeUsage ? { usage: null } : {}),
  });
  const choice = (index: number, delta: Choice['delta'], rest: Partial<Choice> = {}): Choice => ({
    index,
    delta,
    finish_reason: null,
    logprobs: null,
    token_ids: [],
    ...rest,
  });
  for (let index = 0; index < generation.request.n; index++)
    yield { ...chunk([choice(index, { role: 'assistant', content: '' })]), ...(index === 0 && extra) };

  let n_open = generation.request.n;
  let last: ChatCompletionChunk | undefined;
  const events = eventsOf(generation);
  for (let step = await events.next(); ; step = await events.next()) {
    if (step.done) {
      const timings = timingsOf(generation.output, step.value);
      if (last) yield { ...last, timings };
      if (includeUsage) yield { ...top, choices: [], usage: usageOf(step.value), timings };
      return undefined;
    }
    const event = step.value;
    if (event.type === 'token')
      yield chunk([
        choice(event.choice, { content: event.text }, { logprobs: logprobs(event), token_ids: [event.id] }),
      ]);
    if (event.type === 'done') {
      const ended = chunk([
        choice(event.choice, event.text === '' ? {} : { content: event.text }, { finish_reason: event.reason }),
      ]);
      // The last one waits for the timings, which are known with the end.
      if (--n_open > 0) yield ended;
      else last = ended;
    }
  }
}

function logprobs(event: Extract<GenerateEvent, { type: 'token' }>): ChatLogprobs | null {
  if (event.logprob === undefined) return null;
  const entry = ({ id, text, logprob, bytes }: Alternative) => ({ id, token: text, logprob, bytes: [...bytes] });
  const { logprob, bytes = [] } = event;
  const one = entry({ ...event, text: pieceOf(event), logprob, bytes });
  return { content: [{ ...one, top_logprobs: (event.top ?? []).map(entry) }], refusal: null };
}
