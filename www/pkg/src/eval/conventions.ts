// How an item becomes texts to score: lm-evaluation-harness's conventions, function by function. Called by the readers of forms; knows
// no file. Sources are paths in EleutherAI/lm-evaluation-harness, release 0.4.13 unless another is named; where the harness
// has a choice, it is without examples (0-shot), as its tasks are by default.

import type { BenchmarkItem, Conventions } from './types.js';

/** What makes an item unusable; the reader notes it with the line. */
export class Unusable extends Error {}

/** What every item has. */
export interface Place {
  id: string;
  line: number;
}

/**
 * tasks/arc/arc_easy.yaml, arc_challenge.yaml: `Question: {{question}}\nAnswer:`, and each choice behind a space. Questions have 3, 4 or 5
 * choices. Files in which all have 4 repeat a choice or leave one empty: what is there twice counts once, so neither changes
 * the result.
 */
export function arcItem(place: Place, question: string, choices: readonly string[], gold: number): BenchmarkItem {
  const stem = question.trim();
  if (stem === '') throw new Unusable('the question is empty');
  const right = choices[gold]?.trim();
  if (!right) throw new Unusable('the right answer is not among the choices');
  const distinct = [...new Set(choices.map((choice) => choice.trim()))].filter((choice) => choice !== '');
  if (distinct.length < 2) throw new Unusable('there are fewer than two choices');
  const context = `Question: ${stem}\nAnswer:`;
  return {
    ...place,
    text: stem,
    choices: distinct,
    gold: distinct.indexOf(right),
    requests: distinct.map((choice) => ({ context, continuation: ` ${choice}` })),
  };
}

const CONNECTORS = { cause: 'because', effect: 'therefore' };

/**
 * tasks/super_glue/copa/utils.py: the premise without its full stop and ` because` (asked for the cause) or ` therefore` (effect), then
 * the alternative with a small first letter; behind one space in 0.3.0 (tasks/superglue.py, class Copa), behind two in 0.4.
 */
export function copaItem(
  place: Place,
  premise: string,
  asksFor: string,
  alternatives: readonly string[],
  gold: number,
  conventions: Conventions,
): BenchmarkItem {
  if (asksFor !== 'cause' && asksFor !== 'effect') throw new Unusable('it asks neither for the cause nor the effect');
  const choices = alternatives.map((text) => text.trim());
  if (premise.trim() === '' || choices.length !== 2 || choices.includes(''))
    throw new Unusable('there is no premise with two alternatives');
  if (gold !== 0 && gold !== 1) throw new Unusable('it does not say which alternative is right');
  // The harness cuts one character whatever it is; COPA's premises all end in a full stop.
  const context = `${premise.trim().replace(/[.!?]$/, '')} ${CONNECTORS[asksFor]}`;
  const gap = conventions === 'lm-eval-0.4' ? '  ' : ' ';
  return {
    ...place,
    text: `${premise.trim()} (${asksFor})`,
    choices,
    gold,
    requests: choices.map((choice) => ({ context, continuation: gap + lowerFirst(choice) })),
  };
}

const lowerFirst = (text: string): string => {
  const [first = ''] = text;
  return first.toLowerCase() + text.slice(first.length);
};

/** A sentence with the place of its pronoun, counted in characters (code points), and what the pronoun may stand for. */
export interface Schema {
  text: string;
  pronoun: string;
  pronounStart: number;
  options: readonly string[];
  gold: number;
}

/**
 * tasks/wsc273/default.yaml and utils.py, partial scoring (Trinh & Le, arXiv:1806.02847): the context is the text up to the pronoun
 * and a candidate in its place; what follows is scored, behind one space in 0.3.0 (tasks/wsc273.py), behind two in 0.4.
 */
export function schemaItem(place: Place, schema: Schema, conventions: Conventions): BenchmarkItem {
  const { pronoun, pronounStart, gold } = schema;
  const characters = [...schema.text];
  const end = pronounStart + [...pronoun].length;
  if (pronoun === '' || characters.slice(pronounStart, end).join('') !== pronoun)
    throw new Unusable('the pronoun is not where it should be');
  const [before, after] = [characters.slice(0, pronounStart).join(''), characters.slice(end).join('')];
  if (after.trim() === '') throw new Unusable('nothing follows the pronoun');
  if (schema.options.length < 2 || schema.options.includes('')) throw new Unusable('there are no two candidates');
  if (schema.options[gold] === undefined) throw new Unusable('the right answer is not among the candidates');
  // As Python counts from the end, so does the harness: of a pronoun that begins the text it looks at the last letter but one.
  const startsSentence = characters.at(pronounStart - 2) === '.';
  const choices = schema.options.map((option) => candidate(option, pronoun, startsSentence));
  const continuation = ` ${conventions === 'lm-eval-0.4' ? after : after.trim()}`;
  return {
    ...place,
    text: pronoun.startsWith('[') ? schema.text : `${before}[${pronoun}]${after}`,
    choices,
    gold,
    requests: choices.map((choice) => ({ context: before + choice, continuation })),
  };
}

const POSSESSIVES = ['my', 'his', 'her', 'our', 'their'];
const CAPITALIZED = ['A', 'An', 'The', 'She', 'He', 'It', 'They', 'My', 'His', 'Her', 'Their'];

/** tasks/wsc273/utils.py, `__normalize_option`. */
function candidate(option: string, pronoun: string, startsSentence: boolean): string {
  const whole = POSSESSIVES.includes(pronoun.toLowerCase()) ? `${option}'s` : option;
  const [first = ''] = whole.split(' ');
  return !startsSentence && CAPITALIZED.includes(first) ? whole.replaceAll(first, first.toLowerCase()) : whole;
}

/** tasks/lambada/lambada_openai.yaml: the last word, cut off at the last space, is the continuation. */
export function lambadaItem(place: Place, passage: string): BenchmarkItem {
  const text = passage.trimEnd();
  const at = text.lastIndexOf(' ');
  const word = text.slice(at + 1);
  if (at <= 0 || word === '') throw new Unusable('there is no last word after a space');
  return {
    ...place,
    text,
    choices: [word],
    gold: 0,
    requests: [{ context: text.slice(0, at), continuation: ` ${word}` }],
  };
}

/** A text as it is. Words as tasks/wikitext counts them: pieces between spaces. */
export function textItem(place: Place, text: string): BenchmarkItem {
  return { ...place, text, choices: [], gold: 0, requests: [], ...sizesOf(text) };
}

/** tasks/wikitext/preprocess_wikitext.py: spaces round marks are taken away; words and bytes are those of the text before that. */
export function articleItem(place: Place, page: string): BenchmarkItem {
  return { ...place, text: detokenized(page), choices: [], gold: 0, requests: [], ...sizesOf(page) };
}

const sizesOf = (text: string) => ({
  n_bytes: new TextEncoder().encode(text).length,
  n_words: text.split(/\s+/).length,
});

/** `wikitext_detokenizer`, in its order. Its second rule, `/' [0-9]/`, has slashes by mistake and never applies. */
function detokenized(page: string): string {
  let text = page.replaceAll("s '", "s'");
  for (const mark of ['-', ',', '.']) text = text.replaceAll(` @${mark}@ `, mark);
  for (const mark of [':', ';', '.', '!', '?', ',']) text = text.replaceAll(` ${mark} `, `${mark} `);
  text = text
    .replace(/\(\s*([^)]*?)\s*\)/g, '($1)')
    .replace(/\[\s*([^\]]*?)\s*\]/g, '[$1]')
    .replace(/\{\s*([^}]*?)\s*\}/g, '{$1}')
    .replace(/"\s*([^"]*?)\s*"/g, '"$1"')
    .replace(/'\s*([^']*?)\s*'/g, "'$1'");
  for (const rule of ['====', '===', '==']) text = text.replaceAll([...rule].join(' '), rule);
  return text
    .replaceAll(' \u00b0 ', '\u00b0')
    .replaceAll(' \n', '\n')
    .replaceAll('\n ', '\n')
    .replaceAll(' N ', ' 1 ')
    .replaceAll(" 's", "'s");
}
