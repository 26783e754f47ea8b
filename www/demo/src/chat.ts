// The conversation: what was said, the answer that is being generated, stopping it, generating it again. The messages here
// are the truth; the engine gets all of them with every call and keeps what it has computed already.
import type { ChatCompletionChunk, ChatMessage, CompletionChunk, Timings, Usage } from 'kinglet';
import { byId } from './dom.js';
import { answersSingly } from './facts.js';
import type { Engine } from './loader.js';
import type { Sampling } from './settings.js';
import type { AnswerView, Transcript } from './transcript.js';
import { count, duration, plainError, type PlainError } from './words.js';

const announce = byId('announce', HTMLElement);
const speed = byId('speed', HTMLElement);
const contextText = byId('context-text', HTMLElement);
const contextMeter = byId('context-meter', HTMLElement);

export interface ChatOptions {
  engine: () => Engine | undefined;
  sampling: () => Sampling;
  systemPrompt: () => string;
  /** Told when an answer begins and ends. */
  busy: (isBusy: boolean) => void;
}

/** What one answer has brought so far, by the page's clock until the engine's own figures arrive. */
interface Run {
  startedMs: number;
  firstMs: number | undefined;
  tokens: number;
  usage?: Usage;
  timings?: Timings;
  reason?: string;
}

export class Chat {
  readonly #transcript: Transcript;
  readonly #options: ChatOptions;
  #messages: ChatMessage[] = [];
  /** A question to which nothing came. Templates want turns by turns, so it is sent again only when asked for. */
  #unanswered: ChatMessage | undefined;
  #abort: AbortController | undefined;
  /** The answer under way; the next one waits for it, so that stopping and asking again never overlap. */
  #running: Promise<void> = Promise.resolve();

  constructor(transcript: Transcript, options: ChatOptions) {
    this.#transcript = transcript;
    this.#options = options;
  }

  get isBusy(): boolean {
    return this.#abort !== undefined;
  }

  /** Nothing has been said. */
  get isEmpty(): boolean {
    return this.#messages.length === 0 && !this.#unanswered;
  }

  stop(): void {
    this.#abort?.abort();
  }

  /** Stops what runs and forgets the conversation. */
  async reset(): Promise<void> {
    this.stop();
    await this.#running;
    this.#messages = [];
    this.#unanswered = undefined;
    this.#transcript.clear();
    speed.textContent = '';
    this.#showContext(0);
  }

  send(text: string): void {
    this.#unanswered = undefined;
    this.#messages.push({ role: 'user', content: text });
    this.#transcript.addUser(text);
    this.#answer();
  }

  async #regenerate(view: AnswerView): Promise<void> {
    this.stop();
    await this.#running;
    if (this.#unanswered) this.#messages.push(this.#unanswered);
    else this.#messages.pop();
    this.#unanswered = undefined;
    view.element.remove();
    this.#answer();
  }

  #answer(): void {
    const engine = this.#options.engine();
    if (!engine) return;
    const view = this.#transcript.addAnswer(() => void this.#regenerate(view));
    const abort = (this.#abort = new AbortController());
    announce.textContent = 'The model is answering.';
    this.#options.busy(true);
    this.#running = this.#generate(engine, view, abort.signal).finally(() => {
      this.#abort = undefined;
      this.#options.busy(false);
    });
  }

  /** One answer from the first token to its figures; a fault is shown, never thrown. */
  async #generate(engine: Engine, view: AnswerView, signal: AbortSignal): Promise<void> {
    const run: Run = { startedMs: performance.now(), firstMs: undefined, tokens: 0 };
    let fault: PlainError | undefined;
    try {
      await this.#read(engine, view, run, signal);
    } catch (error) {
      if (signal.aborted) run.reason = 'stopped';
      else view.fail((fault = plainError(error)));
    }
    if (view.text) this.#messages.push({ role: 'assistant', content: view.text });
    else this.#unanswered = this.#messages.pop();
    view.finish(figures(run));
    speed.textContent = '';
    announce.textContent = fault?.text ?? view.text;
    if (run.usage) this.#showContext(run.usage.total_tokens);
  }

  async #read(engine: Engine, view: AnswerView, run: Run, signal: AbortSignal): Promise<void> {
    for await (const { choices, usage, timings } of await this.#stream(engine, signal)) {
      const choice = choices[0];
      if (choice?.token_ids.length) this.#counted(run, choice.token_ids.length);
      const text = choice && ('delta' in choice ? choice.delta.content : choice.text);
      if (text) view.append(text);
      if (choice?.finish_reason) run.reason = choice.finish_reason;
      if (usage) run.usage = usage;
      if (timings) run.timings = timings;
    }
  }

  /** The conversation goes on; or what was asked last is answered by itself, by a model that knows no conversations. */
  async #stream(engine: Engine, signal: AbortSignal): Promise<AsyncIterable<ChatCompletionChunk | CompletionChunk>> {
    const params = { stream: true as const, stream_options: { include_usage: true }, ...this.#options.sampling() };
    if (answersSingly(engine.info)) {
      const asked = this.#messages.at(-1)?.content;
      const prompt = typeof asked === 'string' ? asked : '';
      return engine.completions.create({ prompt, ...params }, { signal });
    }
    const system = this.#options.systemPrompt().trim();
    const messages = [...(system ? [{ role: 'system' as const, content: system }] : []), ...this.#messages];
    return engine.chat.completions.create({ messages, ...params }, { signal });
  }

  #counted(run: Run, tokens: number): void {
    run.firstMs ??= performance.now();
    run.tokens += tokens;
    const seconds = (performance.now() - run.firstMs) / 1000;
    if (run.tokens > 1 && seconds > 0.2) speed.textContent = `${((run.tokens - 1) / seconds).toFixed(1)} tok/s`;
  }

  #showContext(used: number): void {
    const total = this.#options.engine()?.info.contextLength ?? 0;
    contextText.textContent = total ? `${count(used)} of ${count(total)} tokens` : '';
    contextMeter.style.setProperty('--part', String(total ? Math.min(1, used / total) : 0));
  }
}

/** "41 tokens · 62.1 tok/s · first after 180 ms · stopped". */
function figures({ startedMs, firstMs, tokens, timings, reason }: Run): string {
  const parts: string[] = [];
  if (tokens > 0) parts.push(tokens === 1 ? '1 token' : `${count(tokens)} tokens`);
  const ms = timings?.predicted_ms ?? (firstMs === undefined ? 0 : performance.now() - firstMs);
  const after = timings?.predicted_n ?? tokens - 1;
  if (ms > 0 && after > 0) parts.push(`${((1000 * after) / ms).toFixed(1)} tok/s`);
  if (firstMs !== undefined) parts.push(`first after ${duration(firstMs - startedMs)}`);
  if (reason === 'length') parts.push('cut at the limit');
  if (reason === 'stopped') parts.push('stopped');
  return parts.join(' · ');
}
