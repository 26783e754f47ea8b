// The published forms, one reader each: from records of JSON, elements of XML or lines of text to items. Called by read.ts, which has
// found out which form it is. A broken item is noted with its line and left out; a broken file is an error.

import { KingletError } from '../errors.js';
import { arcItem, articleItem, copaItem, lambadaItem, schemaItem, textItem, Unusable } from './conventions.js';
import type { Benchmark, BenchmarkItem, Conventions } from './types.js';
import { child, childrenOf, type XmlElement } from './xml.js';

/** A JSON value, and the line that it is on. */
export interface JsonRecord {
  line: number;
  /** Undefined where the line is not JSON. */
  value: unknown;
}

/** The items of a file, and what is not among them. */
export type Items = Pick<Benchmark, 'items' | 'skipped'>;

type Fields = Readonly<Record<string, unknown>>;

/** Reads each part by itself; what is unusable is noted. */
function readEach<T extends { line: number }>(
  parts: readonly T[],
  read: (part: T, number: number) => BenchmarkItem,
): Items {
  const found: Items = { items: [], skipped: [] };
  const ids = new Set<string>();
  for (const [i, part] of parts.entries()) {
    try {
      const item = read(part, i + 1);
      // Two reports are compared by ids: one that is there twice is told apart by its line.
      if (ids.has(item.id)) item.id = `${item.id} (line ${item.line})`;
      ids.add(item.id);
      found.items.push(item);
    } catch (thrown) {
      if (!(thrown instanceof Unusable)) throw thrown;
      found.skipped.push({ line: part.line, reason: thrown.message });
    }
  }
  return found;
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function fieldsOf({ value }: JsonRecord): Fields {
  if (!isFields(value)) throw new Unusable('the line is not a JSON object');
  return value;
}

function stringOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw new Unusable(`${name} is not a text`);
  return value;
}

function stringsOf(value: unknown, name: string): string[] {
  if (!Array.isArray(value) || !value.every((x) => typeof x === 'string'))
    throw new Unusable(`${name} is not a list of texts`);
  return value;
}

const idOf = (value: unknown, number: number): string =>
  (typeof value === 'string' && value !== '') || typeof value === 'number' ? String(value) : String(number);

/**
 * ARC in three forms: AI2's (`question: { stem, choices: [{ text, label }] }, answerKey`), Hugging Face's (`question, choices: { text,
 * label }, answerKey`), and llm-foundry's (`query, choices, gold`), whose queries begin with `Question: `.
 */
export function arcFromJson(records: readonly JsonRecord[]): Items {
  return readEach(records, (record, number) => {
    const fields = fieldsOf(record);
    const place = { id: idOf(fields.id, number), line: record.line };
    if ('query' in fields) {
      const question = stringOf(fields, 'query')
        .replace(/^Question:\s*/, '')
        .replace(/\s*Answer:\s*$/, '');
      const { gold } = fields;
      if (!Number.isInteger(gold)) throw new Unusable('gold is not a number');
      return arcItem(place, question, stringsOf(fields.choices, 'choices'), gold as number);
    }
    const inside = isFields(fields.question) ? fields.question : fields;
    const question = inside === fields ? stringOf(fields, 'question') : stringOf(inside, 'stem');
    const { texts, labels } = labelledChoices(inside.choices ?? fields.choices);
    return arcItem(place, question, texts, positionOf(fields.answerKey, labels));
  });
}

function labelledChoices(choices: unknown): { texts: string[]; labels: string[] } {
  if (isFields(choices))
    return { texts: stringsOf(choices.text, 'choices.text'), labels: stringsOf(choices.label, 'choices.label') };
  if (!Array.isArray(choices) || !choices.every(isFields)) throw new Unusable('choices have no text and label');
  return {
    texts: choices.map((choice) => stringOf(choice, 'text')),
    labels: choices.map((choice) => stringOf(choice, 'label')),
  };
}

const LETTERS = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'];

/** Where the right answer is. Keys are letters in most questions and numbers in some; a few files have one in the key and the other in the labels. */
function positionOf(answerKey: unknown, labels: readonly string[]): number {
  const key = typeof answerKey === 'string' || typeof answerKey === 'number' ? String(answerKey).trim() : '';
  if (key === '') throw new Unusable('there is no answerKey');
  const other = LETTERS.includes(key) ? String(LETTERS.indexOf(key) + 1) : LETTERS[Number(key) - 1];
  return labels.includes(key) ? labels.indexOf(key) : labels.indexOf(other ?? key);
}

/** SuperGLUE's COPA: `premise, choice1, choice2, question, label`; the files of its test set have no labels. */
export function copaFromJson(records: readonly JsonRecord[], conventions: Conventions): Items {
  return readEach(records, (record, number) => {
    const fields = fieldsOf(record);
    const place = { id: idOf(fields.idx, number), line: record.line };
    const alternatives = [stringOf(fields, 'choice1'), stringOf(fields, 'choice2')];
    return copaItem(
      place,
      stringOf(fields, 'premise'),
      stringOf(fields, 'question'),
      alternatives,
      Number(fields.label ?? -1),
      conventions,
    );
  });
}

/** COPA as its authors published it: `<item asks-for most-plausible-alternative>` with `<p>`, `<a1>`, `<a2>`. */
export function copaFromXml(root: XmlElement, conventions: Conventions): Items {
  return readEach(childrenOf(root, 'item'), (item, number) => {
    const { id, 'asks-for': asksFor = '', 'most-plausible-alternative': right } = item.attributes;
    const [p = '', ...alternatives] = ['p', 'a1', 'a2'].map((name) => cleaned(child(item, name)?.text));
    return copaItem(
      { id: idOf(id, number), line: item.line },
      p,
      asksFor,
      alternatives,
      Number(right) - 1,
      conventions,
    );
  });
}

const cleaned = (text = ''): string => text.trim().split(/\s+/).join(' ');

/** Winograd schemas as published: `<schema>` with text, answers and the right one, A or B. */
export function schemasFromXml(root: XmlElement, conventions: Conventions): Items {
  return readEach(childrenOf(root, 'schema'), (schema, number) => {
    const text = child(schema, 'text');
    const answers = child(schema, 'answers');
    if (!text || !answers) throw new Unusable('there is no text with answers');
    const [left = '', pronoun = '', right = ''] = ['txt1', 'pron', 'txt2'].map((name) =>
      cleaned(child(text, name)?.text),
    );
    const options = childrenOf(answers, 'answer').map((answer) => cleaned(answer.text));
    const gold = LETTERS.indexOf(/^([A-H])\.?$/.exec(cleaned(child(schema, 'correctAnswer')?.text))?.[1] ?? '');
    return joinedSchema({ id: String(number), line: schema.line }, left, pronoun, right, options, gold, conventions);
  });
}

/** As Hugging Face's `winograd_wsc` joins the parts, whose text lm-evaluation-harness scores. */
function joinedSchema(
  place: { id: string; line: number },
  left: string,
  pronoun: string,
  right: string,
  options: string[],
  gold: number,
  conventions: Conventions,
): BenchmarkItem {
  const text = [left, pronoun, right].join(' ').trim();
  const pronounStart = left === '' ? 0 : [...left].length + 1;
  return schemaItem(place, { text, pronoun, pronounStart, options, gold }, conventions);
}

/** Hugging Face's `winograd_wsc`: `text, pronoun, pronoun_loc, options, label`. */
export function schemasFromJson(records: readonly JsonRecord[], conventions: Conventions): Items {
  return readEach(records, (record, number) => {
    const fields = fieldsOf(record);
    const options = stringsOf(fields.options, 'options').map(cleaned);
    const [pronounStart, gold] = [fields.pronoun_loc, fields.label];
    if (!Number.isInteger(pronounStart) || (pronounStart as number) < 0)
      throw new Unusable('pronoun_loc is not a number');
    if (!Number.isInteger(gold)) throw new Unusable('label is not a number');
    const schema = {
      text: stringOf(fields, 'text').replaceAll('  ', ' '),
      pronoun: stringOf(fields, 'pronoun'),
      pronounStart: pronounStart as number,
      options,
      gold: gold as number,
    };
    return schemaItem({ id: idOf(fields.id ?? fields.idx, number), line: record.line }, schema, conventions);
  });
}

/**
 * Winograd schemas with `[MASK]` for the pronoun, as in the files of Kocijan et al. (arXiv:1905.06290): four lines each, the text, the mask,
 * the candidates with a comma between them, the right one. What pronoun it was is not said, so no candidate gets an `'s`.
 */
export function schemasFromMasks(text: string, conventions: Conventions): Items {
  return readEach(blocksOf(text), ({ line, lines }, number) => {
    const [sentence = '', mask = '', candidates = '', right = '', ...rest] = lines.map((one) => one.trim());
    const [left, after, ...more] = sentence.split(mask === '' ? '\n' : mask);
    if (rest.length > 0 || right === '' || after === undefined || more.length > 0)
      throw new Unusable('there are no four lines: a text with one mask, the mask, the candidates, the right one');
    const options = candidates.split(',').map(cleaned);
    const [before, behind] = [cleaned(left), cleaned(after)];
    return joinedSchema(
      { id: String(number), line },
      before,
      mask,
      behind,
      options,
      options.indexOf(cleaned(right)),
      conventions,
    );
  });
}

/** Lines between empty ones. */
function blocksOf(text: string): { line: number; lines: string[] }[] {
  const blocks: { line: number; lines: string[] }[] = [];
  let isInside = false;
  for (const [i, line] of text.split('\n').entries()) {
    const isEmpty = line.trim() === '';
    if (!isEmpty && isInside) blocks.at(-1)?.lines.push(line);
    else if (!isEmpty) blocks.push({ line: i + 1, lines: [line] });
    isInside = !isEmpty;
  }
  return blocks;
}

/** LAMBADA in OpenAI's form, `{ "text": … }` on each line. */
export function lambadaFromJson(records: readonly JsonRecord[]): Items {
  return readEach(records, (record, number) => {
    const text = stringOf(fieldsOf(record), 'text');
    return lambadaItem({ id: String(number), line: record.line }, text);
  });
}

/** LAMBADA as its authors published it: a passage on each line. */
export function lambadaFromLines(text: string): Items {
  const lines = text
    .split('\n')
    .map((passage, i) => ({ passage: passage.trim(), line: i + 1 }))
    .filter(({ passage }) => passage !== '');
  return readEach(lines, ({ passage, line }, number) => lambadaItem({ id: String(number), line }, passage));
}

/** WikiText's articles, cut where Hugging Face's `wikitext_document_level` cuts them: before each heading of the first rank. */
export function articlesOf(text: string): Items {
  const pages: { line: number; lines: string[] }[] = [{ line: 1, lines: [] }];
  for (const [i, line] of text.split('\n').entries()) {
    if (isHeading(line)) pages.push({ line: i + 1, lines: [] });
    pages.at(-1)?.lines.push(line);
  }
  const written = pages
    .map(({ line, lines }) => ({ line, page: lines.join('\n') }))
    .filter(({ page }) => page.trim() !== '');
  return readEach(written, ({ line, page }, number) => articleItem({ id: String(number), line }, page));
}

/** ` = Title = `, and not ` = = Section = = `. */
export function isHeading(line: string): boolean {
  const joined = line.replaceAll('= = =', '===').replaceAll('= =', '==').trim();
  return joined.startsWith('= ') && joined.endsWith(' =');
}

/** Any text, as one item. */
export function plainText(text: string): Items {
  if (text.trim() === '') throw new KingletError('E_FILE_FORMAT', 'the file is empty');
  return { items: [textItem({ id: '1', line: 1 }, text)], skipped: [] };
}
