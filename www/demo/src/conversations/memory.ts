// Conversations until the page is closed, for browsers that keep nothing for it.
import type { Records } from './store.js';
import type { AnswerTokens, Conversation, Message, Whole } from './types.js';

export class MemoryRecords implements Records {
  readonly #conversations = new Map<string, Conversation>();
  readonly #messages = new Map<string, Message>();
  readonly #tokens = new Map<string, AnswerTokens>();

  async conversations(): Promise<Conversation[]> {
    return structuredClone([...this.#conversations.values()]);
  }

  async messages(conversation: string): Promise<Message[]> {
    return structuredClone([...this.#messages.values()].filter((message) => message.conversation === conversation));
  }

  async tokens(message: string): Promise<AnswerTokens | undefined> {
    return structuredClone(this.#tokens.get(message));
  }

  async put(whole: Partial<Whole>): Promise<void> {
    const { conversation, messages = [], tokens = [] } = structuredClone(whole);
    if (conversation) this.#conversations.set(conversation.id, conversation);
    for (const message of messages) this.#messages.set(message.id, message);
    for (const one of tokens) this.#tokens.set(one.message, one);
  }

  async take(id: string): Promise<Whole | undefined> {
    const conversation = this.#conversations.get(id);
    if (!conversation) return undefined;
    const messages = await this.messages(id);
    const tokens = messages.flatMap((message) => this.#tokens.get(message.id) ?? []);
    this.#conversations.delete(id);
    for (const message of messages) {
      this.#messages.delete(message.id);
      this.#tokens.delete(message.id);
    }
    return { conversation, messages, tokens };
  }

  async holding(text: string): Promise<Set<string>> {
    const found = [...this.#messages.values()].filter((message) => message.text.toLowerCase().includes(text));
    return new Set(found.map(({ conversation }) => conversation));
  }
}
