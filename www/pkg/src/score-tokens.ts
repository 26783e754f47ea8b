// Makes the tokens of what is to be scored, in the worker, where tokenizing is a call and not a message. Text and continuation are
// tokenized together, as lm-evaluation-harness does it (lm_eval/api/model.py, TemplateLM._encode_pair): spaces at the end of the
// context go to the continuation, whose tokens are those behind the context's.

import type { Engine, ScoreRequest, Span, TokensOrText } from './abi.js';
import { KingletError } from './errors.js';

/** A continuation as it crosses to the worker. */
export interface ContinuationInput {
  context: TokensOrText;
  continuation: TokensOrText;
}

/**
 * The request for the engine, and the tokens of each continuation.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for an empty context where the model has no token to begin with.
 */
export function tokenizeItems(
  engine: Engine,
  items: readonly (readonly ContinuationInput[])[],
): { request: ScoreRequest; tokens: Uint32Array[][] } {
  const tokenizer = new Tokenizer(engine);
  const spans = items.map((item) => item.map((one) => tokenizer.span(one)));
  const groups = engine.info().tasks.includes('remember')
    ? sourcesOf(items, spans, tokenizer)
    : spans.map((group) => ({ spans: group }));
  return {
    request: { groups },
    tokens: spans.map((group) => group.map(({ tokens, first }) => tokens.subarray(first))),
  };
}

/** Of an encoder-decoder a group has one source: an item whose contexts differ would be several. */
function sourcesOf(
  items: readonly (readonly ContinuationInput[])[],
  spans: Span[][],
  tokenizer: Tokenizer,
): ScoreRequest['groups'] {
  return spans.map((group, i) => {
    const sources = (items[i] ?? []).map(({ context }) => tokenizer.whole(context));
    const [source = new Uint32Array()] = sources;
    if (sources.some((other) => other.join() !== source.join()))
      throw new KingletError(
        'E_UNSUPPORTED_TASK',
        `item ${i} has several contexts: an encoder-decoder reads one for all continuations of an item`,
      );
    return { source, spans: group };
  });
}

class Tokenizer {
  readonly #engine: Engine;
  /** What the model puts before and behind a text. */
  readonly #begin: Uint32Array;
  readonly #n_end: number;
  readonly #isEncoderDecoder: boolean;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#isEncoderDecoder = engine.info().tasks.includes('remember');
    const alone = engine.tokenize('', true, false);
    const first = engine.tokenize('a', true, false)[0];
    const n_begin = alone.length > 0 && alone[0] === first ? 1 : 0;
    this.#begin = alone.subarray(0, n_begin);
    this.#n_end = alone.length - n_begin;
  }

  /** A text with all that belongs to it. */
  whole(text: TokensOrText): Uint32Array {
    return typeof text === 'string' ? this.#engine.tokenize(text, true, false) : text;
  }

  span({ context, continuation }: ContinuationInput): Span {
    // The answer of an encoder-decoder ends where its text does.
    if (this.#isEncoderDecoder) return { tokens: this.whole(continuation), first: 0 };
    if (typeof context !== 'string' || typeof continuation !== 'string') {
      const before = typeof context === 'string' ? this.#open(context) : context;
      const after = typeof continuation === 'string' ? this.#plain(continuation) : continuation;
      return joined(before.length > 0 ? before : this.#nothing(), after);
    }
    const text = context.trimEnd();
    const before = text === '' ? this.#nothing() : this.#open(text);
    const rest = context.slice(text.length) + continuation;
    if (text === '') return joined(before, this.#plain(rest));
    const all = this.#open(text + rest);
    // Where the border lies within a token, the continuation is tokenized by itself.
    return all.length > before.length ? { tokens: all, first: before.length } : joined(before, this.#plain(rest));
  }

  /** A text that goes on: with what the model begins by, without what it ends by. */
  #open(text: string): Uint32Array {
    const tokens = this.#engine.tokenize(text, true, false);
    return tokens.subarray(0, tokens.length - this.#n_end);
  }

  #plain(text: string): Uint32Array {
    return this.#engine.tokenize(text, false, false);
  }

  /** What stands before a text that has nothing before it. */
  #nothing(): Uint32Array {
    if (this.#begin.length > 0) return this.#begin;
    const { bosToken, eosToken } = this.#engine.template();
    const token = bosToken || eosToken;
    if (!token) throw new KingletError('E_UNSUPPORTED_TASK', 'an empty context: this model has no token to begin with');
    return this.#engine.tokenize(token, false, true);
  }
}

function joined(before: Uint32Array, after: Uint32Array): Span {
  const tokens = new Uint32Array(before.length + after.length);
  tokens.set(before);
  tokens.set(after, before.length);
  return { tokens, first: before.length };
}
