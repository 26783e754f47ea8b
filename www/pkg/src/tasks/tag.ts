// tag: the parts of a text that a token classifier has labels for. Tokens become words, and words spans.

import type { LabelledToken } from '../types.js';
import { type Measure, overflow, type Span, split, widened } from './chunks.js';
import { checkOptions, checkTexts } from './options.js';
import { inBatches, measureOf, roomOf, withSignal } from './passages.js';
import { Progress } from './progress.js';
import { supported } from './support.js';
import type { TaggedSpan, TaskEngine, TaskOptions } from './types.js';

/** Windows of a call of the engine. */
const BATCH = 16;
/** So much of a window is what stands before and after the words that it labels. */
const MARGIN = 1 / 8;
/** No tokenizer gives more tokens than there are bytes. */
const MAX_TOKENS_PER_UNIT = 3;
const SEAM_TOKENS = 2;
const OUTSIDE = 'O';

/**
 * The labelled parts of each text, in order. A word has the label of its first token, as models are trained; words whose labels belong
 * together (`B-`, `I-`, `E-`, `S-` and kin, or the same label twice where the model has a label `O`) are one part; words with `O` are
 * none. A text that does not fit the context is read in windows that overlap, and each word is labelled in the middle of one.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that labels no tokens.
 */
export async function tag(
  engine: TaskEngine,
  texts: string | readonly string[],
  options: TaskOptions = {},
): Promise<TaggedSpan[][]> {
  checkOptions('tag', options);
  supported(engine, 'tag');
  const list = checkTexts(texts);
  const { signal } = options;
  const progress = new Progress(list.length, options.onProgress);
  const windows = await windowsOf(list, (await roomOf(engine)) - SEAM_TOKENS, measureOf(engine, signal));
  const words = list.map((): Word[] => []);
  await inBatches(windows, BATCH, async (some) => {
    const inputs = some.map(({ index, wide }) => list[index]?.slice(wide.start, wide.end) ?? '');
    const labelled = await engine.label(inputs, withSignal(signal));
    for (const [i, { index, core, wide, isLast }] of some.entries()) {
      words[index]?.push(...wordsOf(list[index] ?? '', labelled[i] ?? [], wide.start).filter(isIn(core)));
      if (isLast) progress.step();
    }
    return [];
  });
  progress.finish();
  const scheme = schemeOf(engine.info.labels);
  return words.map((some, i) => spansOf(list[i] ?? '', some, scheme));
}

/** A part of a text that is labelled, and with what is about it. */
interface Window {
  index: number;
  core: Span;
  wide: Span;
  isLast: boolean;
}

const isIn =
  ({ start, end }: Span) =>
  (word: Word): boolean =>
    word.start >= start && word.start < end;

async function windowsOf(texts: readonly string[], limit: number, measure: Measure): Promise<Window[]> {
  const windows: Window[] = [];
  for (const [index, text] of texts.entries()) {
    const whole = { start: 0, end: text.length };
    if (MAX_TOKENS_PER_UNIT * text.length <= limit || (await measure(text)) <= limit) {
      windows.push({ index, core: whole, wide: whole, isLast: true });
      continue;
    }
    const margin = Math.floor(MARGIN * limit);
    if (limit < 1) throw overflow(await measure(text), limit);
    const cores = await split(text, Math.max(1, limit - 2 * margin - SEAM_TOKENS), measure);
    const wides = await widened(text, cores, margin, measure);
    for (const [i, core] of cores.entries())
      windows.push({ index, core, wide: wides[i] ?? core, isLast: i === cores.length - 1 });
  }
  return windows;
}

interface Word extends Span {
  label: string;
  score: number;
}

/** Tokens that follow each other within a word are one, with the label of the first. `offset`: where what was labelled begins. */
function wordsOf(text: string, tokens: readonly LabelledToken[], offset: number): Word[] {
  const words: Word[] = [];
  for (const { start, end, label, score } of tokens) {
    if (start === null || end === null || start === end) continue;
    const last = words.at(-1);
    const at = offset + start;
    if (last && at <= last.end && isWithinWord(text, at)) last.end = Math.max(last.end, offset + end);
    else words.push({ start: at, end: offset + end, label, score });
  }
  // Some tokenizers count the space before a word to it.
  return words.map(({ start, end, ...rest }) => {
    const lead = /^\s*/.exec(text.slice(start, end))?.[0].length ?? 0;
    return { start: start + lead, end, ...rest };
  });
}

/** Whether letters or digits meet at a place. */
const isWithinWord = (text: string, at: number): boolean =>
  /[\p{L}\p{N}\p{M}_]$/u.test(text.slice(Math.max(0, at - 2), at)) &&
  /^[\p{L}\p{N}\p{M}_]/u.test(text.slice(at, at + 2));

/** How labels belong together: with marks for beginning, inside and end; the same ones in a row; or each word for itself. */
type Scheme = 'marked' | 'runs' | 'words';

const MARK = /^([BIESUL])[-_](?=.)/;

function schemeOf(labels: readonly string[]): Scheme {
  const named = labels.filter((label) => label !== OUTSIDE);
  if (named.length > 0 && named.every((label) => MARK.test(label))) return 'marked';
  return named.length < labels.length ? 'runs' : 'words';
}

function spansOf(text: string, words: readonly Word[], scheme: Scheme): TaggedSpan[] {
  const spans: (TaggedSpan & { scores: number[]; isOpen: boolean })[] = [];
  for (const { start, end, label: full, score } of words) {
    if (full === OUTSIDE) {
      const last = spans.at(-1);
      if (last) last.isOpen = false;
      continue;
    }
    const mark = scheme === 'marked' ? (MARK.exec(full)?.[1] ?? 'I') : 'I';
    const label = scheme === 'marked' ? full.replace(MARK, '') : full;
    const last = spans.at(-1);
    const goesOn = last?.isOpen && last.label === label && 'IEL'.includes(mark);
    // A mark for the end, or for a part of one word, closes it.
    const isOpen = scheme !== 'words' && !'ESUL'.includes(mark);
    if (goesOn) {
      last.end = end;
      last.scores.push(score);
      last.isOpen = isOpen;
    } else spans.push({ label, start, end, text: '', score: 0, scores: [score], isOpen });
  }
  return spans.map(({ label, start, end, scores }) => ({
    label,
    start,
    end,
    text: text.slice(start, end),
    score: scores.reduce((a, b) => a + b, 0) / scores.length,
  }));
}
