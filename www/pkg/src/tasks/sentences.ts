// Where a text may be cut: after paragraphs, lines, sentences, words, characters. By rules of our own and not by Intl.Segmenter, whose
// answers differ from browser to browser: the same text has the same parts everywhere.

/** How well a text can be cut at a place; a higher one is better. */
export const CUT = { paragraph: 4, line: 3, sentence: 2, word: 1, character: 0 } as const;

/** A place after which a text may be cut: the offset (UTF-16) of what comes next. */
export interface Cut {
  at: number;
  strength: number;
}

// A sentence ends with its mark, what closes it, and white space; marks of Chinese and Japanese need none.
const SENTENCE_END = /(?:(?<![.!?…])[.!?…]+["'”’»)\]]*(?=\s)|[。！？]+[」』”’）]*|\n)\s*/gu;
/** Words that are written with a full stop, which then ends no sentence. */
const ABBREVIATION =
  /(?:^|[\s("'“‘«[])(?:\p{L}|\p{L}\.(?:\s?\p{L}\.)*\p{L}|Mrs?|Ms|Drs?|Prof|St|Jr|Sr|vs|e\.g|i\.e|approx|cf|al|Inc|Ltd|Co|Nos?|Fig|bzw|ca|Nr|Str|usw|Mme|Mlle)\.$/u;

/** Ends of paragraphs, lines and sentences, ascending, the text's own end last. */
export function sentenceCuts(text: string): Cut[] {
  const cuts: Cut[] = [];
  for (const { 0: end, index } of text.matchAll(SENTENCE_END)) {
    const at = index + end.length;
    if (at === text.length) break;
    const n_lines = end.split('\n').length - 1;
    if (n_lines > 0) cuts.push({ at, strength: n_lines > 1 ? CUT.paragraph : CUT.line });
    else if (!goesOn(text, index, end, at)) cuts.push({ at, strength: CUT.sentence });
  }
  if (text.length > 0) cuts.push({ at: text.length, strength: CUT.paragraph });
  return cuts;
}

/** Whether what looks like the end of a sentence is none. */
function goesOn(text: string, index: number, end: string, at: number): boolean {
  if (/^[。！？]/u.test(end)) return false;
  if (/^\p{Ll}/u.test(text.slice(at, at + 2))) return true;
  return end.trimEnd() === '.' && ABBREVIATION.test(text.slice(Math.max(0, index - 24), index + 1));
}

/**
 * The place nearest to the middle of a part of a text where it can be cut: between words, or else between characters. Undefined where
 * none is.
 */
export function middleCut(text: string, start: number, end: number): Cut | undefined {
  const middle = (start + end) >> 1;
  const words = nearest(middle, start, end, (at) => /\s/.test(text.charAt(at - 1)) && /\S/.test(text.charAt(at)));
  if (words !== undefined) return { at: words, strength: CUT.word };
  // The halves of a character, and what combines with it, stay together.
  const characters = nearest(middle, start, end, (at) => !/^[\p{M}\u200d\udc00-\udfff]/u.test(text.slice(at, at + 2)));
  return characters === undefined ? undefined : { at: characters, strength: CUT.character };
}

/** The place in start + 1 … end - 1 that is nearest to `middle` among those that are good. */
function nearest(middle: number, start: number, end: number, isGood: (at: number) => boolean): number | undefined {
  for (let off = 0; off <= end - start; off++)
    for (const at of [middle - off, middle + off]) if (at > start && at < end && isGood(at)) return at;
  return undefined;
}

/** Where words begin in a part of a text, ascending. */
export function wordStarts(text: string, start: number, end: number): number[] {
  return Array.from(text.slice(start, end).matchAll(/(?<=\s)\S/g), ({ index }) => start + index);
}
