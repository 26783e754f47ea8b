// The conversation: what was said on which branch, the answer that is being written, stopping it, going on with it, making it again.
// The messages here are the truth; the engine gets all of a branch with every call and keeps what it has computed already.
import type { ChatMessage } from 'kinglet';
import type { ConversationStore } from './conversations/store.js';
import { TokenBook } from './conversations/token-book.js';
import { Tree } from './conversations/tree.js';
import {
  type Alternative,
  type AnswerTokens,
  type Conversation,
  type Message,
  newId,
  now,
  titleOf,
} from './conversations/types.js';
import { byId } from './dom.js';
import { type Asked, generate } from './generation.js';
import type { Engine } from './loader.js';
import { MOST_CHARS } from './render.js';
import { Run } from './run.js';
import { score, startWith } from './scoring.js';
import type { Sampling } from './settings.js';
import type { Transcript } from './transcript.js';
import { plainError, type PlainError, PlainProblem } from './words.js';

const announce = byId('announce', HTMLElement);

/** What is written of an answer is kept this often, for the case that the page is closed. */
const SAVE_EVERY_MS = 1000;

export interface ChatOptions {
  transcript: Transcript;
  store: ConversationStore;
  engine: () => Engine | undefined;
  modelName: () => string;
  sampling: () => Sampling;
  /** Whether answers come with the probabilities of their tokens. */
  probabilities: () => boolean;
  system: { value: string };
  /** Told when an answer begins and ends. */
  busy: (isBusy: boolean) => void;
  /** Told of figures while an answer is written, and of undefined when there are none. */
  figures: (run: Run | undefined) => void;
  /** Tokens in the context, as far as they are known. */
  context: (tokens: number) => void;
  /** Another conversation is shown, or this one has changed. */
  changed: () => void;
  /** The browser did not keep something. */
  notKept: (error: unknown) => void;
}

export class Chat {
  readonly #options: ChatOptions;
  #conversation: Conversation | undefined;
  #tree = new Tree();
  readonly #tokens: TokenBook;
  /** Answers that are shown token by token. */
  readonly #asTokens = new Set<string>();
  #abort: AbortController | undefined;
  /** The answer under way; the next one waits for it, so that stopping and asking again never overlap. */
  #running: Promise<void> = Promise.resolve();

  /** Counts the conversations that were chosen: reading one takes a moment. */
  #opening = 0;
  /** The browser has it. */
  #isKept = false;
  /** The answer that is being written. */
  #current: Message | undefined;

  constructor(options: ChatOptions) {
    this.#options = options;
    this.#tokens = new TokenBook(options.store, options.engine);
    const save = (): void => this.#current && this.#save([this.#current]);
    addEventListener('pagehide', save);
    // On phones a page that is not seen may be ended without another word.
    document.addEventListener('visibilitychange', () => document.hidden && save());
  }

  get isBusy(): boolean {
    return this.#abort !== undefined;
  }

  /** Nothing has been said. */
  get isEmpty(): boolean {
    return this.#conversation === undefined;
  }

  /** Its id; empty where nothing has been said. */
  get id(): string {
    return this.#conversation?.id ?? '';
  }

  get title(): string {
    return this.#conversation?.title ?? '';
  }

  /** How the last answer on the branch came out. */
  get lastAnswer(): { figures: string; fault: PlainError | undefined } {
    const answer = this.#tree.get(this.#conversation?.leaf ?? null)?.answer;
    return { figures: answer?.figures ?? '', fault: answer?.error };
  }

  /** Ends the answer under way; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#abort?.abort();
    await this.#running;
  }

  /** Stops what runs and begins a new conversation. */
  async reset(): Promise<void> {
    this.#opening++;
    await this.stop();
    this.#become(undefined, []);
  }

  /** Shows a conversation that was kept; false where there is none with this id. */
  async open(id: string): Promise<boolean> {
    const turn = ++this.#opening;
    await this.stop();
    const found = await this.#options.store.open(id);
    if (turn !== this.#opening) return true; // another was chosen meanwhile
    if (!found) return false;
    this.#become(found.conversation, found.messages);
    this.#isKept = true;
    this.#options.system.value = found.conversation.system;
    this.#options.transcript.scrollDown();
    return true;
  }

  /** Another tab has changed what is kept: a conversation that was deleted there is no longer shown here. */
  async keptChanged(): Promise<void> {
    const { id } = this;
    if (!this.#isKept || this.isBusy) return;
    const found = await this.#options.store.open(id);
    if (id !== this.id || this.isBusy) return;
    if (!found) return this.reset();
    this.rename(found.conversation.title);
    this.#options.changed();
  }

  /** What can be said of the context has changed. */
  modelChanged(): void {
    this.#showContext();
  }

  /** It was renamed beside the chat. */
  rename(title: string): void {
    if (this.#conversation) this.#conversation.title = title;
  }

  send(text: string): void {
    const id = newId();
    this.#conversation ??= { id, title: titleOf(text), createdMs: now(), updatedMs: now(), system: '', leaf: null };
    this.#ask(text, this.#conversation.leaf);
  }

  /** Says something else in the place of a message: another branch. */
  async edit(id: string, text: string): Promise<void> {
    await this.stop();
    const message = this.#tree.get(id);
    if (message) this.#ask(text, message.parent);
  }

  /** Answers a question that has no answer, as a file may bring one. */
  async answer(id: string): Promise<void> {
    await this.stop();
    const question = this.#tree.get(id);
    if (question) this.#answer(question);
  }

  /** Another answer to the same question: another branch. */
  async regenerate(id: string): Promise<void> {
    await this.stop();
    const question = this.#tree.get(this.#tree.get(id)?.parent ?? null);
    if (question) this.#answer(question);
  }

  /** Goes on with an answer that was stopped or cut. */
  async goOn(id: string): Promise<void> {
    await this.stop();
    const message = this.#tree.get(id);
    if (!message) return;
    const known = await this.#tokens.ofThisModel(message);
    // Where an answer was stopped, its last token may have brought only a part of its text.
    const ids = known?.tokens.map((token) => token.id) ?? [];
    const isWhole = known && (await this.#options.engine()?.detokenize(ids))?.trim() === message.text.trim();
    if (known && isWhole) this.#write(message, known);
    else this.#write(message, this.#tokens.none(message), { text: message.text });
  }

  /** Shows the version of a message before or after it. */
  async turn(id: string, by: -1 | 1): Promise<void> {
    await this.stop();
    const message = this.#tree.get(id);
    if (!message || !this.#conversation) return;
    const versions = this.#tree.versions(message);
    const other = versions[versions.indexOf(message) + by];
    if (!other) return;
    this.#conversation.leaf = this.#tree.leafBelow(other.id);
    this.#show();
    this.#options.transcript.focusTurn(other.id, by);
    this.#save([]);
  }

  /** Shows an answer token by token, or as text again. What was not kept of its probabilities is worked out first. */
  async toggleTokens(id: string): Promise<void> {
    if (this.#asTokens.delete(id)) return this.#show();
    await this.stop();
    const message = this.#tree.get(id);
    const engine = this.#options.engine();
    if (!message || !engine) return;
    const recorded = await this.#tokens.of(message);
    if (recorded?.tokens.every(({ top }) => top)) {
      this.#asTokens.add(id);
      return this.#show();
    }
    const known = await this.#tokens.ofThisModel(message);
    const begun = { text: message.text, ...(known && { ids: known.tokens.map((token) => token.id) }) };
    this.#work(async (signal) => {
      try {
        const tokens = await score(engine, { messages: this.#asked(message), begun }, signal);
        this.#tokens.set({ ...this.#tokens.none(message), tokens });
        this.#asTokens.add(id);
        this.#show();
        this.#save([message]);
      } catch (error) {
        if (!signal.aborted) this.#options.transcript.answer(id)?.fail(plainError(error));
      }
    });
  }

  /** Goes on with another token in the place of one of an answer: another branch, the same up to there. */
  async branch(id: string, index: number, chosen: Alternative): Promise<void> {
    await this.stop();
    const message = this.#tree.get(id);
    const engine = this.#options.engine();
    if (!message || !engine) return;
    try {
      const known = await this.#tokens.ofThisModel(message);
      if (!known)
        throw new PlainProblem(
          'ANOTHER_MODEL',
          'Another model wrote this answer; only that one can go on from a token of it.',
        );
      const begun = await startWith(engine, { tokens: known.tokens, index, chosen });
      const start = begun.tokens.map((token) => token.text).join('');
      const other = this.#add({ role: 'assistant', text: start, parent: message.parent });
      this.#asTokens.add(other.id);
      const tokens = { ...this.#tokens.none(other), tokens: begun.tokens };
      if (begun.isEnd) this.#endHere(other, tokens);
      else this.#write(other, tokens);
    } catch (error) {
      this.#options.transcript.answer(id)?.fail(plainError(error));
    }
  }

  #ask(text: string, parent: string | null): void {
    const message = this.#add({ role: 'user', text, parent });
    this.#answer(message);
  }

  #answer(question: Message): void {
    const message = this.#add({ role: 'assistant', text: '', parent: question.id });
    this.#write(message, this.#tokens.none(message));
  }

  #add(said: Pick<Message, 'role' | 'text' | 'parent'>): Message {
    const message = { ...said, id: newId(), conversation: this.id, createdMs: now() };
    this.#tree.add(message);
    if (this.#conversation) this.#conversation.leaf = message.id;
    return message;
  }

  /** Writes an answer, from its beginning or from where it stands. */
  #write(message: Message, tokens: AnswerTokens, begun?: Asked['begun']): void {
    const engine = this.#options.engine();
    const conversation = this.#conversation;
    if (!engine || !conversation) return;
    begun ??= message.text ? { text: message.text, ids: tokens.tokens.map(({ id }) => id) } : undefined;
    conversation.system = this.#options.system.value.trim();
    message.answer = { model: this.#options.modelName(), figures: '', end: 'running' };
    if (this.#options.probabilities()) this.#asTokens.add(message.id);
    const asked: Asked = {
      messages: this.#asked(message),
      sampling: this.#options.sampling(),
      probabilities: this.#asTokens.has(message.id),
      ...(begun && { begun }),
    };
    this.#tokens.set(tokens);
    this.#current = message;
    this.#show();
    this.#options.transcript.answer(message.id)?.begin();
    this.#options.transcript.scrollDown();
    this.#save([...this.#tree.path(message.id).slice(-2)]);
    announce.textContent = 'The model is answering.';
    this.#work((signal) => this.#generate(engine, asked, { message, tokens, signal }));
  }

  /** What the model is given for an answer: the system prompt, and the branch up to its question. */
  #asked(answer: Message): ChatMessage[] {
    const system = this.#options.system.value.trim();
    return [
      ...(system ? [{ role: 'system' as const, content: system }] : []),
      ...turns(this.#tree.path(answer.parent)),
    ];
  }

  #work(run: (signal: AbortSignal) => Promise<void>): void {
    const abort = (this.#abort = new AbortController());
    this.#options.busy(true);
    this.#running = run(abort.signal).finally(() => {
      this.#abort = this.#current = undefined;
      this.#options.busy(false);
    });
  }

  /** An answer that ends where the visitor chose its end. */
  #endHere(message: Message, tokens: AnswerTokens): void {
    message.answer = { model: this.#options.modelName(), figures: 'ended here by choice', end: 'stop' };
    this.#tokens.set(tokens);
    this.#show();
    this.#save([message]);
  }

  /** One answer from the first token to its figures; a fault is shown, never thrown. */
  async #generate(
    engine: Engine,
    asked: Asked,
    { message, tokens, signal }: { message: Message; tokens: AnswerTokens; signal: AbortSignal },
  ): Promise<void> {
    const run = new Run(tokens.tokens.length);
    const answer = (message.answer ??= { model: '', figures: '', end: 'running' });
    // What goes on from text alone has no tokens of its beginning, so none are kept of the rest.
    const hasTokens = !asked.begun || asked.begun.ids !== undefined;
    try {
      await this.#read(generate(engine, asked, signal), run, { message, tokens: hasTokens ? tokens : undefined });
      answer.end = run.end ?? 'stop';
    } catch (error) {
      answer.end = signal.aborted ? 'stopped' : 'failed';
      if (!signal.aborted) answer.error = plainError(error);
    }
    // Text that was not given out when the answer was stopped is not part of it.
    if (signal.aborted) while (tokens.tokens.at(-1)?.text === '') tokens.tokens.pop();
    answer.figures = run.summary(answer.end);
    if (run.usage) answer.contextTokens = run.usage.total_tokens;
    this.#options.transcript.answer(message.id)?.finish();
    this.#options.figures(run);
    this.#showContext();
    announce.textContent = answer.error?.text ?? message.text.slice(0, MOST_CHARS);
    this.#save([message]);
  }

  async #read(
    pieces: ReturnType<typeof generate>,
    run: Run,
    { message, tokens }: { message: Message; tokens: AnswerTokens | undefined },
  ): Promise<void> {
    let savedMs = performance.now();
    for await (const piece of pieces) {
      message.text += piece.text;
      const last = tokens?.tokens.at(-1);
      if (piece.tokens.length > 0) tokens?.tokens.push(...piece.tokens);
      else if (last) last.text += piece.text; // what was held back until it was whole
      run.take(piece);
      this.#options.transcript.answer(message.id)?.grown();
      if (piece.tokens.length > 0) this.#options.figures(run);
      if (performance.now() - savedMs < SAVE_EVERY_MS) continue;
      savedMs = performance.now();
      this.#save([message]);
    }
  }

  #become(conversation: Conversation | undefined, messages: readonly Message[]): void {
    this.#conversation = conversation;
    this.#isKept = false;
    this.#tree = new Tree(messages);
    this.#tokens.clear();
    this.#asTokens.clear();
    this.#options.figures(undefined);
    this.#show();
  }

  #show(): void {
    const path = this.#tree.path(this.#conversation?.leaf ?? null);
    this.#options.transcript.show(
      path.map((message, i) => {
        const versions = this.#tree.versions(message);
        const tokens = this.#asTokens.has(message.id) ? this.#tokens.get(message.id)?.tokens : undefined;
        const place = versions.indexOf(message) + 1;
        const isLast = i === path.length - 1;
        return { message, place, of: versions.length, isLast, ...(tokens && { tokens }) };
      }),
    );
    this.#showContext();
    this.#options.changed();
  }

  #showContext(): void {
    const answers = this.#tree.path(this.#conversation?.leaf ?? null).map(({ answer }) => answer?.contextTokens);
    this.#options.context(answers.findLast((tokens) => tokens !== undefined) ?? 0);
  }

  #save(messages: Message[]): void {
    const conversation = this.#conversation;
    if (!conversation) return;
    if (messages.length > 0) conversation.updatedMs = now();
    const tokens = messages.flatMap(({ id }) => this.#tokens.get(id) ?? []);
    this.#options.store.save({ conversation, messages, tokens }).then(
      () => {
        this.#isKept ||= conversation === this.#conversation;
        this.#options.changed();
      },
      (error: unknown) => this.#options.notKept(error),
    );
  }
}

/**
 * The messages of a branch that ends with a question. Templates want turns by turns, so a question to which nothing came is left
 * out.
 */
function turns(path: readonly Message[]): ChatMessage[] {
  return path
    .filter((message, i) => message.text !== '' && (message.role !== 'user' || path[i + 1]?.text !== ''))
    .map(({ role, text }) => ({ role, content: text }));
}
