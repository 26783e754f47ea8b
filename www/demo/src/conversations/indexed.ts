// Conversations in IndexedDB: titles, messages and tokens apart, so that the list and the search read no more than they need.
import type { Records } from './store.js';
import type { AnswerTokens, Conversation, Message, Whole } from './types.js';

const NAME = 'kinglet';
const VERSION = 1;
const OPEN_LIMIT_MS = 5000;

export class IndexedRecords implements Records {
  readonly #db: IDBDatabase;

  private constructor(db: IDBDatabase) {
    this.#db = db;
    // A newer version of the page in another tab may want to change the database.
    db.onversionchange = () => db.close();
  }

  /** Rejects where the browser keeps nothing for this page. */
  static async open(): Promise<IndexedRecords> {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => create(request.result);
    // Some private modes neither open nor refuse.
    const limit = new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('the browser did not open its storage')), OPEN_LIMIT_MS);
    });
    return new IndexedRecords(await Promise.race([done(request), limit]));
  }

  conversations(): Promise<Conversation[]> {
    return done(this.#store('conversations').getAll());
  }

  messages(conversation: string): Promise<Message[]> {
    return done(this.#store('messages').index('conversation').getAll(conversation));
  }

  tokens(message: string): Promise<AnswerTokens | undefined> {
    return done(this.#store('tokens').get(message));
  }

  async put({ conversation, messages = [], tokens = [] }: Partial<Whole>): Promise<void> {
    const change = this.#db.transaction(['conversations', 'messages', 'tokens'], 'readwrite');
    if (conversation) change.objectStore('conversations').put(conversation);
    for (const message of messages) change.objectStore('messages').put(message);
    for (const one of tokens) change.objectStore('tokens').put(one);
    change.commit(); // at once: the page may be closing
    await ended(change);
  }

  async take(id: string): Promise<Whole | undefined> {
    const change = this.#db.transaction(['conversations', 'messages', 'tokens'], 'readwrite');
    const all = <T>(name: string): Promise<T[]> => done(change.objectStore(name).index('conversation').getAll(id));
    const [conversation, messages, tokens] = await Promise.all([
      done<Conversation | undefined>(change.objectStore('conversations').get(id)),
      all<Message>('messages'),
      all<AnswerTokens>('tokens'),
    ]);
    change.objectStore('conversations').delete(id);
    for (const message of messages) change.objectStore('messages').delete(message.id);
    for (const one of tokens) change.objectStore('tokens').delete(one.message);
    await ended(change);
    return conversation && { conversation, messages, tokens };
  }

  holding(text: string): Promise<Set<string>> {
    const found = new Set<string>();
    const request = this.#store('messages').openCursor();
    return new Promise((resolve, reject) => {
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return resolve(found);
        const message = cursor.value as Message;
        if (message.text.toLowerCase().includes(text)) found.add(message.conversation);
        cursor.continue();
      };
    });
  }

  #store(name: string): IDBObjectStore {
    return this.#db.transaction(name, 'readonly').objectStore(name);
  }
}

function create(db: IDBDatabase): void {
  db.createObjectStore('conversations', { keyPath: 'id' });
  db.createObjectStore('messages', { keyPath: 'id' }).createIndex('conversation', 'conversation');
  db.createObjectStore('tokens', { keyPath: 'message' }).createIndex('conversation', 'conversation');
}

const done = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const ended = (change: IDBTransaction): Promise<void> =>
  new Promise((resolve, reject) => {
    change.oncomplete = () => resolve();
    change.onerror = change.onabort = () => reject(change.error);
  });
