// Renders a chat template: an untrusted program from a model file. Runs in template-worker.ts, which the page ends when it takes
// too long; here are the limits that need no clock, the protection of roles, and errors in words. The language is in jinja/.

import type { CallContext, Handlers } from './dispatch.js';
import { describe, KingletError } from './errors.js';
import {
  fromData,
  LimitError,
  NeedsRare,
  PythonError,
  Raised,
  render,
  repr,
  type Str,
  type Variables,
} from './jinja/index.js';
import type { RenderInput, RenderOutput, TemplateRequests } from './protocol.js';
import { breakSpecials, chooseJoiner, stringsOf } from './roles.js';

/** Longest source of a template. The longest of a known model is a tenth of it. */
const MAX_SOURCE_CHARS = 256 * 1024;
/** Steps of one run: some eighty times what any known template takes for a talk with tools. */
const MAX_STEPS = 400_000;
/** More for long conversations: some templates go through all of it for every message. */
const STEPS_PER_CHAR = 16;

export class TemplateHost implements Handlers<TemplateRequests> {
  readonly #now: () => Date;

  constructor(now: () => Date = () => new Date()) {
    this.#now = now;
  }

  render = (input: RenderInput, call: CallContext<'rendering'>): RenderOutput | undefined => {
    const { template, messages } = input;
    if (template.length > MAX_SOURCE_CHARS)
      throw failed(`its source of ${template.length} characters is over the limit of ${MAX_SOURCE_CHARS}`);
    const data = { ...input.data, messages };
    const strings = [...stringsOf(data)];
    const joiner = chooseJoiner([template, ...strings, ...Object.values(input.tokens)]);
    const maxSteps = MAX_STEPS + STEPS_PER_CHAR * strings.reduce((n, text) => n + text.length, 0);
    call.emit('rendering');
    let text: Str;
    try {
      text = this.#run(input, maxSteps);
    } catch (error) {
      if (error instanceof NeedsRare) return undefined;
      throw error;
    }
    return { text: breakSpecials(text.s, text.u, input.specialStrings, joiner), joiner };
  };

  /** Content in parts goes to the template as it is; to one that fails on it, or only prints the list, as one text. */
  #run(input: RenderInput, maxSteps: number): Str {
    const { messages } = input;
    const parts = messages.filter(({ content }) => Array.isArray(content));
    let thrown: unknown;
    try {
      const text = this.#try(input, maxSteps);
      if (!parts.some(({ content }) => text.s.includes(repr(fromData(content)).s))) return text;
    } catch (error) {
      if (parts.length === 0 || error instanceof Raised || error instanceof LimitError) throw inWords(error);
      if (error instanceof NeedsRare) throw error;
      thrown = error;
    }
    try {
      return this.#try({ ...input, messages: messages.map(withoutParts) }, maxSteps);
    } catch (error) {
      throw inWords(error instanceof NeedsRare ? error : (thrown ?? error));
    }
  }

  #try({ template, messages, data, tokens, maxOutputChars }: RenderInput, maxSteps: number): Str {
    const variables: Variables = { own: tokens, data: { ...data, messages }, isOwn: isRole };
    return render(template, variables, { maxSteps, maxChars: maxOutputChars }, this.#now());
  }
}

/** The role of a message is one of a fixed set (params.ts), and templates make special tokens of it. */
function isRole(path: readonly string[]): boolean {
  return path.length === 2 && path[0] === 'messages' && path[1] === 'role';
}

function withoutParts(message: Record<string, unknown>): Record<string, unknown> {
  const { content } = message;
  if (!Array.isArray(content)) return message;
  return { ...message, content: content.map((part: { text: string }) => part.text).join('') };
}

function inWords(thrown: unknown): KingletError | NeedsRare {
  if (thrown instanceof NeedsRare) return thrown;
  if (thrown instanceof Raised) return new KingletError('E_TEMPLATE', thrown.message, { details: { raised: true } });
  if (thrown instanceof PythonError || thrown instanceof LimitError) return failed(thrown.message, thrown);
  return failed(thrown instanceof RangeError ? 'it nests too deeply' : describe(thrown), thrown);
}

function failed(why: string, cause?: unknown): KingletError {
  return new KingletError('E_TEMPLATE', `the chat template failed: ${why}`, { cause });
}
