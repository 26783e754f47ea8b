// The tokens of the answers of one conversation: which are known, and which the model that is loaded could go on from.
import { modelKey } from '../generation.js';
import type { Engine } from '../loader.js';
import type { ConversationStore } from './store.js';
import type { AnswerTokens, Message } from './types.js';

export class TokenBook {
  readonly #store: ConversationStore;
  readonly #engine: () => Engine | undefined;
  /** As far as they were asked for; undefined where there are none. */
  readonly #known = new Map<string, AnswerTokens | undefined>();

  constructor(store: ConversationStore, engine: () => Engine | undefined) {
    this.#store = store;
    this.#engine = engine;
  }

  /** Another conversation. */
  clear(): void {
    this.#known.clear();
  }

  get(id: string): AnswerTokens | undefined {
    return this.#known.get(id);
  }

  set(tokens: AnswerTokens): void {
    this.#known.set(tokens.message, tokens);
  }

  /** None yet, of an answer that the model that is loaded will write. */
  none({ id, conversation }: Message): AnswerTokens {
    const engine = this.#engine();
    return { message: id, conversation, model: engine ? modelKey(engine.info) : '', tokens: [] };
  }

  /** The tokens of an answer, where all of them are known. */
  async of(message: Message): Promise<AnswerTokens | undefined> {
    if (!this.#known.has(message.id))
      this.#known.set(message.id, await this.#store.tokens(message.id).catch(() => undefined));
    const known = this.#known.get(message.id);
    return known?.tokens.map(({ text }) => text).join('') === message.text ? known : undefined;
  }

  /** The same, where the model that is loaded wrote them. */
  async ofThisModel(message: Message): Promise<AnswerTokens | undefined> {
    const known = await this.of(message);
    const engine = this.#engine();
    return known && engine && known.model === modelKey(engine.info) ? known : undefined;
  }
}
