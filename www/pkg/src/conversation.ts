// Conversations: the messages so far with the parameters that they go on with. A conversation holds no part of the engine: what the cache
// has of it is found by its tokens, so that a fork costs nothing and any number of them may take turns.

import { cloneOf, createChat } from './chat.js';
import type { Core } from './core.js';
import { KingletError } from './errors.js';
import { checkChat } from './params.js';
import { newest } from './truncation.js';
import type {
  CallOptions,
  ChatCompletion,
  ChatCompletionChunk,
  ChatMessage,
  ChatParams,
  GenerationParams,
  Stream,
} from './types.js';

/** Parameters of a conversation's calls: those of `chat.completions.create`, but for what the conversation itself knows. */
export type SendParams = Omit<ChatParams, 'messages' | 'n' | 'stream' | 'stream_options'>;

/** How a conversation begins, and what its calls have that do not say otherwise. */
export interface ConversationParams extends SendParams {
  /** Default none. */
  messages?: readonly ChatMessage[];
}

/** What is said next: a text is a message of the user. */
export type Said = string | ChatMessage | readonly ChatMessage[];

/** What a snapshot has of a conversation beside keys and values. */
interface Saved {
  messages: ChatMessage[];
  params: SendParams;
  truncated: number;
}

/** A conversation with an engine. Made by `engine.conversation()` and `engine.restore()`. */
export class Conversation {
  readonly #core: Core;
  readonly #params: SendParams;
  #messages: ChatMessage[];
  /** How many of the oldest the newest answer did without. */
  #truncated: number;
  #isAnswering = false;

  constructor(core: Core, { messages, params, truncated }: Saved) {
    this.#core = core;
    this.#messages = messages;
    this.#params = params;
    this.#truncated = truncated;
  }

  /** What was said so far, a copy. An answer counts when it has ended. */
  get messages(): ChatMessage[] {
    return cloneOf(this.#messages);
  }

  /**
   * Says something and resolves to the answer; `params` are for this call alone. If it fails or is aborted, nothing was said. With an empty
   * list the messages that there are get an answer.
   *
   * @throws KingletError E_BUSY while an earlier answer has not ended; what `chat.completions.create` throws.
   */
  async send(said: Said, params: SendParams = {}, options: CallOptions = {}): Promise<ChatCompletion> {
    const messages = this.#begin(said, params);
    try {
      const all = { ...this.#params, ...params, messages, stream: false } as const;
      const answer = (await createChat(this.#core, all, options)) as ChatCompletion;
      this.#add(messages, answer.choices[0]?.message.content ?? '', answer.truncated_messages);
      return answer;
    } finally {
      this.#isAnswering = false;
    }
  }

  /**
   * The same as a stream of chunks. Of a stream that is left early the answer counts as far as it was read; one that is neither read
   * nor left keeps the conversation busy.
   */
  async stream(
    said: Said,
    params: SendParams & Pick<GenerationParams, 'stream_options'> = {},
    options: CallOptions = {},
  ): Promise<Stream<ChatCompletionChunk>> {
    const messages = this.#begin(said, params, ['stream_options']);
    let [text, truncated, isOver] = ['', 0, false];
    const end = (failed: boolean): void => {
      if (isOver) return;
      [isOver, this.#isAnswering] = [true, false];
      options.signal?.removeEventListener('abort', onAbort);
      if (!failed) this.#add(messages, text, truncated);
    };
    const chunk = ({ choices, truncated_messages }: ChatCompletionChunk): void => {
      text += choices[0]?.delta.content ?? '';
      truncated = truncated_messages ?? truncated;
    };
    const onAbort = (): void => end(true);
    options.signal?.addEventListener('abort', onAbort);
    try {
      const all = { ...this.#params, ...params, messages, stream: true } as const;
      return (await createChat(this.#core, all, options, { chunk, end })) as Stream<ChatCompletionChunk>;
    } catch (thrown) {
      end(true);
      throw thrown;
    }
  }

  /** Another conversation that begins as this one. What both have in common is computed once. */
  fork(): Conversation {
    return new Conversation(this.#core, this.#saved);
  }

  /**
   * The conversation as bytes: messages, parameters, tokens, and what the engine's cache has of their keys and values. `engine.restore()`
   * takes them up, also on another page, with the same model and version of this package. What the cache had no room for is computed
   * again then.
   */
  async snapshot(callOptions: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    this.#core.checkOpen();
    const { signal } = callOptions;
    const saved = this.#saved;
    const { messages, params, truncated } = saved;
    const note = new TextEncoder().encode(JSON.stringify(saved));
    const isBegun = messages.some(({ role }) => role === 'user');
    const options = {
      addGenerationPrompt: false,
      variables: params.chat_template_kwargs ?? {},
      ...(signal && { signal }),
    };
    const tokens = async (): Promise<Uint32Array> =>
      isBegun ? this.#core.chatPrompt(newest(messages, truncated), options) : new Uint32Array();
    return this.#core.snapshot(note, tokens, callOptions);
  }

  /** What is never changed, but replaced. */
  get #saved(): Saved {
    return { messages: this.#messages, params: this.#params, truncated: this.#truncated };
  }

  /** The messages with what is said. */
  #begin(said: Said, params: object, also: string[] = []): ChatMessage[] {
    refuse(
      params,
      ['messages', 'n', 'stream', 'stream_options'].filter((name) => !also.includes(name)),
    );
    if (this.#isAnswering) throw new KingletError('E_BUSY', 'the conversation is still being answered');
    const more = typeof said === 'string' ? { role: 'user' as const, content: said } : said;
    const messages = cloneOf(this.#messages.concat(more));
    this.#isAnswering = true;
    return messages;
  }

  #add(messages: ChatMessage[], content: string, truncated = 0): void {
    this.#messages = [...messages, { role: 'assistant', content }];
    this.#truncated = truncated;
  }
}

/** A conversation whose every part has been checked. */
export function createConversation(
  core: Core,
  { messages = [], ...params }: ConversationParams = {},
  truncated = 0,
): Conversation {
  core.checkOpen();
  core.checkTask('generate', 'conversation');
  core.checkChats();
  refuse(params, ['n', 'stream', 'stream_options']);
  const begun = messages.length === 0 ? [{ role: 'user' as const, content: '' }] : messages;
  checkChat({ ...params, messages: begun as ChatMessage[] }, core.info.vocabularySize);
  return new Conversation(core, cloneOf({ messages: [...messages], params, truncated }));
}

/** The conversation of a snapshot, when the cache holds what it held. */
export async function restoreConversation(
  core: Core,
  snapshot: Uint8Array,
  options: CallOptions = {},
): Promise<Conversation> {
  core.checkOpen();
  core.checkTask('generate', 'restore');
  if (!(snapshot instanceof Uint8Array)) throw new TypeError('a snapshot is a Uint8Array');
  const note = await core.restore(snapshot, options);
  try {
    const { messages, params, truncated } = JSON.parse(new TextDecoder().decode(note)) as Saved;
    if (!Array.isArray(messages)) throw new TypeError('no messages');
    return createConversation(core, { ...params, messages }, truncated);
  } catch (cause) {
    throw new KingletError('E_INTEGRITY', 'snapshot: its messages are damaged', { cause });
  }
}

function refuse(params: object, names: string[]): void {
  const found = names.find((name) => (params as Record<string, unknown>)[name] != null);
  if (found !== undefined) throw new TypeError(`${found} is not a parameter here: a conversation has its own`);
}
