// Long texts in parts that fit: every character of a text is in exactly one part, in order, and each part is cut where the text has
// an end of its own. Knows nothing of models: what a text measures is for the caller to say.

import { KingletError } from '../errors.js';
import { CUT, middleCut, sentenceCuts, wordStarts } from './sentences.js';

/** A part of a text, as in `text.slice(start, end)`; UTF-16. */
export interface Span {
  start: number;
  end: number;
}

/** Tokens of a text. */
export type Measure = (text: string) => Promise<number>;

/** A part that is not cut further, what it measures, and how well the text can be cut after it. */
interface Atom extends Span {
  n_tokens: number;
  strength: number;
}

/** Texts that are measured at a time. */
const AT_ONCE = 64;
/** Sentences that do not fit are cut to pieces of at most so much of a chunk. */
const PIECE_SHARE = 0.25;
/** A chunk may be so much shorter than an even share where a paragraph ends there. */
const LEAST_SHARE = 0.5;
/** What an end of a paragraph is worth, in shares that a chunk may be shorter or longer for it. */
const STRENGTH_WEIGHT = 0.1;

/**
 * Parts of at most `limit` tokens each, of about the same length. One part where the text fits; none of an empty text.
 *
 * @throws KingletError E_CONTEXT_OVERFLOW where not even a character fits.
 */
export async function split(text: string, limit: number, measure: Measure): Promise<Span[]> {
  if (text.length === 0) return [];
  if (limit < 1) throw overflow(await measure(text), limit);
  const whole = { start: 0, end: text.length };
  if ((await measure(text)) <= limit) return [whole];
  return pack(text, await atomsOf(text, limit, measure), limit, measure);
}

/** The sentences of a text; those that do not fit in pieces of words, and words that do not fit in pieces of characters. */
async function atomsOf(text: string, limit: number, measure: Measure): Promise<Atom[]> {
  const cuts = sentenceCuts(text);
  const atoms: Atom[] = [];
  for (let first = 0; first < cuts.length; first += AT_ONCE) {
    const some = cuts.slice(first, first + AT_ONCE).map(({ at, strength }, i) => ({
      start: cuts[first + i - 1]?.at ?? 0,
      end: at,
      strength,
    }));
    const measured = await Promise.all(some.map(({ start, end }) => measure(text.slice(start, end))));
    for (const [i, sentence] of some.entries()) {
      const atom = { ...sentence, n_tokens: measured[i] ?? 0 };
      if (atom.n_tokens <= limit) atoms.push(atom);
      else atoms.push(...(await halved(text, atom, limit, measure)));
    }
  }
  return atoms;
}

/** An atom in pieces that are small enough to be packed well. */
async function halved(text: string, atom: Atom, limit: number, measure: Measure): Promise<Atom[]> {
  if (atom.n_tokens <= limit * PIECE_SHARE) return [atom];
  const cut = middleCut(text, atom.start, atom.end);
  if (!cut || (cut.strength === CUT.character && atom.n_tokens <= limit)) {
    if (atom.n_tokens > limit) throw overflow(atom.n_tokens, limit);
    return [atom];
  }
  const halves = [
    { start: atom.start, end: cut.at, strength: cut.strength },
    { start: cut.at, end: atom.end, strength: atom.strength },
  ];
  const pieces: Atom[] = [];
  for (const half of halves) {
    const n_tokens = await measure(text.slice(half.start, half.end));
    pieces.push(...(await halved(text, { ...half, n_tokens }, limit, measure)));
  }
  return pieces;
}

/** Joins atoms to chunks. Each ends where it is nearest to an even share, or a little off where a better end is. */
async function pack(text: string, atoms: Atom[], limit: number, measure: Measure): Promise<Span[]> {
  let n_left = atoms.reduce((sum, { n_tokens }) => sum + n_tokens, 0);
  const spans: Span[] = [];
  for (let first = 0; first < atoms.length;) {
    const share = n_left / Math.ceil(n_left / limit);
    const { end, n_tokens } = bestEnd(atoms, first, share, limit);
    spans.push(...(await fitting(text, atoms.slice(first, end), limit, measure)));
    n_left -= n_tokens;
    first = end;
  }
  return spans;
}

/** Where a chunk that begins with `first` ends (exclusive), and what it measures. */
function bestEnd(atoms: Atom[], first: number, share: number, limit: number): { end: number; n_tokens: number } {
  let best = { end: first + 1, n_tokens: atoms[first]?.n_tokens ?? 0, cost: Infinity };
  let n_tokens = 0;
  for (let end = first + 1; end <= atoms.length; end++) {
    const atom = atoms[end - 1];
    n_tokens += atom?.n_tokens ?? 0;
    if (n_tokens > limit) break;
    if (n_tokens < LEAST_SHARE * share && end < atoms.length) continue;
    const cost = Math.abs(n_tokens - share) / share - STRENGTH_WEIGHT * (atom?.strength ?? CUT.word);
    if (cost <= best.cost) best = { end, n_tokens, cost };
  }
  return best;
}

/** Atoms as one span, or, where together they measure more than the sum of what each does, as two or more. */
async function fitting(text: string, atoms: Atom[], limit: number, measure: Measure): Promise<Span[]> {
  const span = { start: atoms[0]?.start ?? 0, end: atoms.at(-1)?.end ?? 0 };
  if (atoms.length <= 1 || (await measure(text.slice(span.start, span.end))) <= limit) return [span];
  const half = atoms.length >> 1;
  return [
    ...(await fitting(text, atoms.slice(0, half), limit, measure)),
    ...(await fitting(text, atoms.slice(half), limit, measure)),
  ];
}

/** No tokenizer's tokens are longer on average. */
const MAX_CHARS_PER_TOKEN = 16;

/** How far a text can be read back from a place, or on from it, at words' ends, for at most `n_tokens`. */
export async function reach(
  text: string,
  from: { before: number } | { after: number },
  n_tokens: number,
  measure: Measure,
): Promise<number> {
  const isBefore = 'before' in from;
  const fixed = isBefore ? from.before : from.after;
  const far = n_tokens * MAX_CHARS_PER_TOKEN;
  const [start, end] = isBefore ? [Math.max(0, fixed - far), fixed] : [fixed, Math.min(text.length, fixed + far)];
  const words = wordStarts(text, start, end).filter((at) => at !== fixed);
  const edge = isBefore ? 0 : text.length;
  const places = [...(start === edge || end === edge ? [edge] : []), ...(isBefore ? words : words.reverse())];
  // The farthest first: which is the first that fits is found by halving.
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const at = places[middle] ?? fixed;
    if ((await measure(isBefore ? text.slice(at, fixed) : text.slice(fixed, at))) <= n_tokens) high = middle;
    else low = middle + 1;
  }
  return places[low] ?? fixed;
}

/** The parts of a text, each with up to `n_tokens` more of the text on either side, so that nothing is read without what is about it. */
export async function widened(text: string, spans: Span[], n_tokens: number, measure: Measure): Promise<Span[]> {
  if (n_tokens < 1) return spans;
  return Promise.all(
    spans.map(async ({ start, end }) => ({
      start: start === 0 ? 0 : await reach(text, { before: start }, n_tokens, measure),
      end: end === text.length ? end : await reach(text, { after: end }, n_tokens, measure),
    })),
  );
}

export function overflow(requestedTokens: number, availableTokens: number): KingletError {
  return new KingletError(
    'E_CONTEXT_OVERFLOW',
    `${requestedTokens} tokens do not fit: the model's context has room for ${Math.max(0, availableTokens)} of a text`,
    { details: { requestedTokens, availableTokens: Math.max(0, availableTokens) } },
  );
}
