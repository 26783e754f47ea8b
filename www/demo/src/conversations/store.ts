// Keeps conversations in this browser (IndexedDB), and tells other tabs of the page when something has changed. Where the browser
// refuses, they are held in memory until the page is closed, and `opened` says so: the page has to tell the visitor.
import { IndexedRecords } from './indexed.js';
import { MemoryRecords } from './memory.js';
import type { AnswerTokens, Conversation, Message, Whole } from './types.js';

/** What a place for conversations can do. */
export interface Records {
  conversations(): Promise<Conversation[]>;
  messages(conversation: string): Promise<Message[]>;
  tokens(message: string): Promise<AnswerTokens | undefined>;
  /** Puts these in the place of those with the same ids. */
  put(whole: Partial<Whole>): Promise<void>;
  /** Takes a conversation out, with all that belongs to it. */
  take(id: string): Promise<Whole | undefined>;
  /** Conversations with messages that hold this, whatever the case. */
  holding(text: string): Promise<Set<string>>;
}

export class ConversationStore {
  /** Whether conversations are kept after the page is closed, and if not, why. */
  readonly opened: Promise<{ isKept: boolean; reason?: unknown }>;
  readonly #records: Promise<Records>;
  readonly #channel = new BroadcastChannel('kinglet.conversations');

  constructor() {
    const indexed = IndexedRecords.open();
    this.#records = indexed.catch(() => new MemoryRecords());
    this.opened = indexed.then(
      () => ({ isKept: true }),
      (reason: unknown) => ({ isKept: false, reason }),
    );
  }

  /** Another tab has changed something. */
  onChange(changed: () => void): void {
    this.#channel.addEventListener('message', changed);
  }

  /** The one that was used last first. */
  async list(): Promise<Conversation[]> {
    const all = await (await this.#records).conversations();
    return all.sort((a, b) => b.updatedMs - a.updatedMs);
  }

  async open(id: string): Promise<{ conversation: Conversation; messages: Message[] } | undefined> {
    const records = await this.#records;
    const conversation = (await records.conversations()).find((one) => one.id === id);
    return conversation && { conversation, messages: await records.messages(id) };
  }

  async tokens(message: string): Promise<AnswerTokens | undefined> {
    return (await this.#records).tokens(message);
  }

  async save(whole: Partial<Whole>): Promise<void> {
    await (await this.#records).put(whole);
    this.#channel.postMessage('changed');
  }

  async saveAll(wholes: readonly Whole[]): Promise<void> {
    const records = await this.#records;
    for (const whole of wholes) await records.put(whole);
    this.#channel.postMessage('changed');
  }

  /** Gives what was deleted, so that it can be put back. */
  async delete(id: string): Promise<Whole | undefined> {
    const whole = await (await this.#records).take(id);
    this.#channel.postMessage('changed');
    return whole;
  }

  /** The same with every conversation. */
  async deleteAll(): Promise<Whole[]> {
    const records = await this.#records;
    const wholes: Whole[] = [];
    for (const { id } of await records.conversations()) {
      const whole = await records.take(id);
      if (whole) wholes.push(whole);
    }
    this.#channel.postMessage('changed');
    return wholes;
  }

  /** The conversations with these words in their title or messages. */
  async search(text: string): Promise<Conversation[]> {
    const wanted = text.trim().toLowerCase();
    const [all, holding] = await Promise.all([this.list(), (await this.#records).holding(wanted)]);
    return all.filter(({ id, title }) => holding.has(id) || title.toLowerCase().includes(wanted));
  }
}
