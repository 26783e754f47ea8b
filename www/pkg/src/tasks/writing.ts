// One answer of a model that writes, and how much room its context has for a text: what summarize, translate, answer and complete are
// made of.

import type { ChatCompletion, ChatCompletionChunk, Completion, CompletionChunk, Timings, Usage } from '../types.js';
import { type Measure, overflow, type Span, split } from './chunks.js';
import { measureOf, roomOf, withSignal } from './passages.js';
import type { Prompt } from './prompts.js';
import { type Manner, mannerOf } from './support.js';
import type { TaskEngine, WriteOptions, Written } from './types.js';

/** Tokens that may come to be where the parts of a prompt meet. */
const SEAM_TOKENS = 8;

/** How a text is written: the caller's wishes, with the limit that this answer has. */
export interface Ask {
  max_tokens: number;
  options: WriteOptions & { stop?: string[] };
  /** Told of the text as it appears. */
  onText?: ((piece: string) => void) | undefined;
  /** Keep white space at the ends. */
  asIs?: boolean;
}

type Part = Omit<Written, 'chunks'>;

export class Writer {
  readonly engine: TaskEngine;
  readonly manner: Manner;
  readonly #signal: AbortSignal | undefined;

  constructor(engine: TaskEngine, signal: AbortSignal | undefined, manner = mannerOf(engine.info)) {
    this.engine = engine;
    this.manner = manner;
    this.#signal = signal;
    this.measure = measureOf(engine, signal);
  }

  get isEncoderDecoder(): boolean {
    return this.engine.info.tasks.includes('remember');
  }

  /** Tokens of a text by itself; nothing in it is a special token. */
  readonly measure: Measure;

  /** Tokens that the context has for text and answer together, or of an encoder-decoder for the text. */
  async room(prompt: Prompt): Promise<number> {
    if (this.manner !== 'chat') return this.plainRoom(prompt);
    // The marks of the template are special tokens; nothing that a user wrote is counted as such.
    const text = await this.engine.applyChatTemplate([{ role: 'user', content: 'a' }], {
      variables: NOT_THINKING,
      ...withSignal(this.#signal),
    });
    const marks = await this.engine.tokenize(text, { parseSpecial: true });
    const n_words = (await this.measure(prompt.before)) + (await this.measure(prompt.after));
    return this.engine.info.contextLength - marks.length - n_words - SEAM_TOKENS;
  }

  /** The same without a chat template: for what is scored. */
  async plainRoom({ before, after }: Prompt): Promise<number> {
    return (await roomOf(this.engine, before + after)) - SEAM_TOKENS;
  }

  /** The parts of a text that fit a prompt with an answer of `max_tokens` each. */
  async split(text: string, prompt: Prompt, max_tokens: number): Promise<{ spans: Span[]; limit: number }> {
    const limit = (await this.room(prompt)) - (this.isEncoderDecoder ? 0 : max_tokens);
    if (limit < 1) throw overflow(await this.measure(text), limit);
    return { spans: await split(text, limit, this.measure), limit };
  }

  /** What the model says to a prompt. */
  async write(prompt: string, ask: Ask): Promise<Part> {
    const { options } = ask;
    const { num_beams, temperature, stop, signal } = options;
    const params = {
      max_tokens: ask.max_tokens,
      temperature: temperature ?? 0,
      ...(num_beams !== undefined && { num_beams }),
      ...(stop && { stop }),
    };
    const call = withSignal(signal);
    const { chat, completions } = this.engine;
    if (this.manner === 'chat') {
      const chatting = {
        messages: [{ role: 'user' as const, content: prompt }],
        chat_template_kwargs: NOT_THINKING,
        ...params,
      };
      return ask.onText
        ? read(await chat.completions.create({ ...chatting, ...STREAMED }, call), ask)
        : whole(await chat.completions.create(chatting, call), ask);
    }
    return ask.onText
      ? read(await completions.create({ prompt, ...params, ...STREAMED }, call), ask)
      : whole(await completions.create({ prompt, ...params }, call), ask);
  }
}

/** Templates of models that can think first are told not to; the others do not know the word. */
const NOT_THINKING = { enable_thinking: false };
const STREAMED = { stream: true, stream_options: { include_usage: true } } as const;

/** Takes white space from the ends of a text that comes in pieces. */
class Trimmed {
  text = '';
  #held = '';
  readonly #asIs: boolean;

  constructor(asIs = false) {
    this.#asIs = asIs;
  }

  /** What of the text can be shown now. */
  push(piece: string): string {
    const all = this.#held + piece;
    const whole = this.text === '' && !this.#asIs ? all.trimStart() : all;
    const shown = this.#asIs ? whole : whole.trimEnd();
    this.#held = this.text === '' && shown === '' ? '' : whole.slice(shown.length);
    this.text += shown;
    return shown;
  }
}

function whole(answer: ChatCompletion | Completion, { asIs }: Ask): Part {
  const [choice] = answer.choices;
  const text = !choice ? '' : 'message' in choice ? choice.message.content : choice.text;
  return {
    text: asIs ? text : text.trim(),
    finish_reason: choice?.finish_reason ?? 'stop',
    usage: answer.usage,
    timings: answer.timings,
  };
}

async function read(stream: AsyncIterable<ChatCompletionChunk | CompletionChunk>, ask: Ask): Promise<Part> {
  const trimmed = new Trimmed(ask.asIs);
  const part: Part = { text: '', finish_reason: 'stop', usage: noUsage(), timings: noTimings() };
  for await (const { choices, usage, timings } of stream) {
    const [choice] = choices;
    if (choice) {
      const shown = trimmed.push('delta' in choice ? (choice.delta.content ?? '') : choice.text);
      if (shown !== '') ask.onText?.(shown);
      if (choice.finish_reason) part.finish_reason = choice.finish_reason;
    }
    if (usage) part.usage = usage;
    if (timings) part.timings = timings;
  }
  return { ...part, text: trimmed.text };
}

const noUsage = (): Usage => ({
  prompt_tokens: 0,
  completion_tokens: 0,
  total_tokens: 0,
  prompt_tokens_details: { cached_tokens: 0 },
});
const noTimings = (): Timings => ({ prompt_n: 0, prompt_ms: 0, predicted_n: 0, predicted_ms: 0 });

/** What several answers took together. */
export class Costs {
  readonly usage = noUsage();
  readonly timings: Timings = noTimings();

  add(part: Part): Part {
    this.usage.prompt_tokens += part.usage.prompt_tokens;
    this.usage.completion_tokens += part.usage.completion_tokens;
    this.usage.total_tokens += part.usage.total_tokens;
    this.usage.prompt_tokens_details.cached_tokens += part.usage.prompt_tokens_details.cached_tokens;
    for (const name of ['prompt_n', 'prompt_ms', 'predicted_n', 'predicted_ms'] as const)
      this.timings[name] += part.timings[name];
    for (const name of ['draft_n', 'draft_n_accepted'] as const) {
      const more = part.timings[name];
      if (more !== undefined) this.timings[name] = (this.timings[name] ?? 0) + more;
    }
    return part;
  }
}
