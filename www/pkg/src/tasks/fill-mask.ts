// fillMask: what may stand in the blanks of a text: what a masked language model finds most probable, or which of a few words. A decoder
// can only compare words: by how probable it finds the text with each.

import { softmax } from '../softmax.js';
import type { FilledMask } from '../types.js';
import { overflow, reach } from './chunks.js';
import { checkNames, checkOptions, checkText, whole } from './options.js';
import { measureOf, roomOf, withSignal } from './passages.js';
import { Progress } from './progress.js';
import { supported } from './support.js';
import type { FillMaskOptions, MaskFilling, TaskEngine } from './types.js';

/** As models write their masks. Either is understood, whatever the model's own is. */
const MASKS = ['[MASK]', '<mask>'] as const;
const ANY_MASK = /\[MASK\]|<mask>/g;
const TOP = 5;
const MAX_TOP = 1000;
const SEAM_TOKENS = 8;

/**
 * For each mask in the text, `[MASK]` or `<mask>`, what may stand there, the best first. Each mask is looked at with the others empty.
 * With `candidates` only these are compared; of one of several tokens that is the probability of all of them, one after the other.
 * Where a text does not fit the context, a mask is seen with what stands before and after it.
 *
 * A decoder compares `candidates` in a text with a single mask.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that can do neither; RangeError for a text without a mask.
 */
export async function fillMask(
  engine: TaskEngine,
  text: string,
  options: FillMaskOptions = {},
): Promise<MaskFilling[][]> {
  checkOptions('fillMask', options);
  const by = supported(engine, 'fillMask');
  checkText(text);
  const candidates = options.candidates === undefined ? undefined : checkNames(options.candidates, 'candidates', 1);
  const top = whole(options.top, 'top', 1, MAX_TOP);
  const blanks = blanksOf(text);
  if (blanks.length === 0) throw new RangeError(`text has no mask: ${MASKS.join(' or ')}`);
  if (by !== 'head') checkForDecoder(engine, blanks.length, candidates);
  const progress = new Progress(blanks.length, options.onProgress);
  const filler = new Filler(engine, text, blanks, options.signal);
  const all: MaskFilling[][] = [];
  for (const blank of blanks) {
    const found =
      candidates === undefined
        ? await filler.propose(blank, top ?? TOP)
        : amongThemselves(await (by === 'head' ? filler.judge(blank, candidates) : filler.read(blank, candidates)));
    all.push(
      found.slice(0, top ?? found.length).map((filling) => ({
        ...filling,
        filled: text.slice(0, blank.start) + filling.text + text.slice(blank.end),
      })),
    );
    progress.step();
  }
  return all;
}

interface Blank {
  start: number;
  end: number;
}

const blanksOf = (text: string): Blank[] =>
  Array.from(text.matchAll(ANY_MASK), ({ 0: mask, index }) => ({ start: index, end: index + mask.length }));

function checkForDecoder(engine: TaskEngine, n_blanks: number, candidates: string[] | undefined): void {
  if (candidates === undefined)
    throw new TypeError(
      `candidates: ${engine.info.name} reads from left to right, and can only compare words that are given`,
    );
  if (n_blanks > 1) throw new RangeError(`text has ${n_blanks} masks: ${engine.info.name} can fill in one`);
}

interface Scored {
  text: string;
  logprob: number;
}

/** Probabilities among some candidates, the best first. */
function amongThemselves(scored: Scored[]): { text: string; score: number }[] {
  const scores = softmax(scored.map(({ logprob }) => logprob));
  return scored.map(({ text }, i) => ({ text, score: scores[i] ?? 0 })).sort((a, b) => b.score - a.score);
}

class Filler {
  readonly #engine: TaskEngine;
  readonly #text: string;
  readonly #blanks: readonly Blank[];
  readonly #signal: AbortSignal | undefined;

  constructor(engine: TaskEngine, text: string, blanks: readonly Blank[], signal: AbortSignal | undefined) {
    this.#engine = engine;
    this.#text = text;
    this.#blanks = blanks;
    this.#signal = signal;
  }

  /** The tokens that are most probable in a blank. */
  async propose(blank: Blank, top: number): Promise<{ text: string; score: number }[]> {
    const { mask, first, last } = await this.#marks();
    const { before, after } = await this.#around(blank, 1);
    const tokens = [...first, ...before, mask, ...after, ...last];
    const [found] = await this.#engine.fillMask([tokens], { top, ...withSignal(this.#signal) });
    return (found?.[before.filter((id) => id === mask).length] ?? []).map(({ text, score }) => ({
      text: text.trim(),
      score,
    }));
  }

  /** How probable a masked language model finds each candidate: token after token, those after it masked. */
  async judge(blank: Blank, candidates: readonly string[]): Promise<Scored[]> {
    const { mask, first, last } = await this.#marks();
    const ids = await Promise.all(candidates.map((candidate) => this.#tokensIn(blank, candidate)));
    const silent = candidates.find((_, i) => ids[i]?.length === 0);
    if (silent !== undefined)
      throw new RangeError(`candidates has ${JSON.stringify(silent)}, of which no token is made`);
    const { before, after } = await this.#around(blank, Math.max(...ids.map((some) => some.length)));
    const n_masksBefore = before.filter((id) => id === mask).length;
    // Candidates that begin alike ask the same.
    const questions = new Map<string, { tokens: number[]; only: Set<number> }>();
    const asked = ids.map((some) =>
      some.map((id, i) => {
        const filled = [...some.slice(0, i), ...some.slice(i).map(() => mask)];
        const question = questions.get(filled.join()) ?? {
          tokens: [...first, ...before, ...filled, ...after, ...last],
          only: new Set<number>(),
        };
        question.only.add(id);
        questions.set(filled.join(), question);
        return { id, key: filled.join() };
      }),
    );
    const answers = new Map<string, FilledMask[]>();
    for (const [key, { tokens, only }] of questions) {
      const [masks] = await this.#engine.fillMask([tokens], { only: [...only], ...withSignal(this.#signal) });
      answers.set(key, masks?.[n_masksBefore] ?? []);
    }
    const logprobOf = ({ id, key }: { id: number; key: string }): number =>
      answers.get(key)?.find(({ token }) => token === id)?.logprob ?? -Infinity;
    return candidates.map((text, c) => ({
      text,
      logprob: (asked[c] ?? []).reduce((sum, one) => sum + logprobOf(one), 0),
    }));
  }

  /** How probable a decoder finds each candidate and what stands after it. */
  async read(blank: Blank, candidates: readonly string[]): Promise<Scored[]> {
    const measure = measureOf(this.#engine, this.#signal);
    const n_candidate = Math.max(...(await Promise.all(candidates.map(measure))));
    const room = (await roomOf(this.#engine)) - n_candidate - SEAM_TOKENS;
    const { start, end } = await this.#window(blank, room);
    const context = this.#text.slice(start, blank.start);
    const rest = this.#text.slice(blank.end, end);
    const items = [candidates.map((candidate) => ({ context, continuation: candidate + rest }))];
    const [scores = []] = await this.#engine.score(items, withSignal(this.#signal));
    return candidates.map((text, i) => ({ text, logprob: scores[i]?.logprob ?? -Infinity }));
  }

  /** The id of the model's mask, and what its tokenizer adds at the ends of a text. */
  async #marks(): Promise<{ mask: number; takesSpace: boolean; first: number[]; last: number[] }> {
    for (const text of MASKS) {
      const [mask, ...more] = await this.#engine.tokenize(text, { addSpecial: false, parseSpecial: true });
      if (mask === undefined || more.length > 0) continue;
      const whole = await this.#engine.tokenize(text, { parseSpecial: true });
      const at = whole.indexOf(mask);
      // Some masks take the space before them with them.
      const spaced = await this.#engine.tokenize(` ${text}`, { addSpecial: false, parseSpecial: true });
      return { mask, takesSpace: spaced.length === 1, first: whole.slice(0, at), last: whole.slice(at + 1) };
    }
    throw new RangeError(`this model's mask is neither ${MASKS.join(' nor ')}`);
  }

  /** The tokens before and after a blank, with the other masks in them, as far as they fit beside so many. */
  async #around(blank: Blank, n_tokens: number): Promise<{ before: number[]; after: number[] }> {
    const room = (await roomOf(this.#engine)) - n_tokens;
    const window = await this.#window(blank, room - SEAM_TOKENS);
    const { mask, takesSpace } = await this.#marks();
    const textTo = (at: number, end: number): string => {
      const part = this.#text.slice(at, end);
      return takesSpace ? part.trimEnd() : part;
    };
    const tokensOf = async (start: number, end: number): Promise<number[]> => {
      const ids: number[] = [];
      let at = start;
      for (const other of this.#blanks.filter((other) => other.start >= start && other.end <= end)) {
        ids.push(...(await this.#tokensOf(textTo(at, other.start))), mask);
        at = other.end;
      }
      const isBefore = end === blank.start;
      const last = isBefore ? textTo(at, end) : this.#text.slice(at, end);
      return [...ids, ...(await this.#tokensOf(last))];
    };
    return { before: await tokensOf(window.start, blank.start), after: await tokensOf(blank.end, window.end) };
  }

  /** The part of the text about a blank that fits; the whole text, if it does. */
  async #window(blank: Blank, room: number): Promise<Blank> {
    const measure = measureOf(this.#engine, this.#signal);
    const n_text = await measure(this.#text);
    if (n_text <= room) return { start: 0, end: this.#text.length };
    const half = room >> 1;
    if (half < 1) throw overflow(n_text, room);
    return {
      start: await reach(this.#text, { before: blank.start }, half, measure),
      end: await reach(this.#text, { after: blank.end }, half, measure),
    };
  }

  async #tokensOf(text: string): Promise<number[]> {
    return text === '' ? [] : this.#engine.tokenize(text, { addSpecial: false });
  }

  /** The tokens of a candidate in its place: after a space, where one stands before the blank. */
  async #tokensIn(blank: Blank, candidate: string): Promise<number[]> {
    const isAfterSpace = /\s$/.test(this.#text.slice(0, blank.start));
    return this.#tokensOf(isAfterSpace ? ` ${candidate}` : candidate);
  }
}
