// From a file to a benchmark: which published form it has, and its items. Knows no model.

import { KingletError } from '../errors.js';
import { decodeText } from './decode.js';
import {
  arcFromJson,
  articlesOf,
  copaFromJson,
  copaFromXml,
  isHeading,
  type Items,
  type JsonRecord,
  lambadaFromJson,
  lambadaFromLines,
  plainText,
  schemasFromJson,
  schemasFromMasks,
  schemasFromXml,
} from './forms.js';
import type { Benchmark, BenchmarkKind, BenchmarkName, Conventions, ReadOptions } from './types.js';
import { parseXml } from './xml.js';

/** WSC273 is the first 273 schemas of the collection, which has grown since. */
const N_WSC273 = 273;

type Family = 'arc' | 'copa' | 'wsc' | 'lambada' | 'text';

/** Which names a file of each family may have. */
const NAMES: Readonly<Record<Family, readonly BenchmarkName[]>> = {
  arc: ['arc_easy', 'arc_challenge'],
  copa: ['copa'],
  wsc: ['wsc273', 'wsc285'],
  lambada: ['lambada'],
  text: ['perplexity', 'wikitext', 'lambada'],
};

const ALL_NAMES = [...new Set(Object.values(NAMES).flat())];
const KNOWN =
  'ARC as JSON lines (AI2, Hugging Face, llm-foundry), COPA as XML or JSON lines, Winograd schemas as XML, JSON lines or text with masks, LAMBADA as JSON lines, and plain text';

interface Found {
  family: Family;
  form: string;
  items(): Items;
}

/**
 * Reads a benchmark from its file. Bytes are decoded by their byte order mark or XML declaration, or else as UTF-8: better than a
 * string that somebody has decoded already. Lines may end in CRLF.
 *
 * @throws KingletError E_FILE_FORMAT for what is no published form, has no usable item, or is another benchmark than `name`;
 * TypeError for wrong options.
 */
export function readBenchmark(data: string | Uint8Array | ArrayBuffer, options: ReadOptions = {}): Benchmark {
  checkRead(data, options);
  const text = decodeText(data).replace(/\r\n?/g, '\n');
  if (text.trim() === '') throw new KingletError('E_FILE_FORMAT', 'the file is empty');
  if (text.includes('\0')) throw new KingletError('E_FILE_FORMAT', 'the file is not a text');
  const { name: wanted, conventions = 'lm-eval-0.3' } = options;
  const found =
    wanted === 'perplexity' || wanted === 'wikitext' ? asText(text, wanted) : sniff(text, options, conventions);
  if (wanted !== undefined && !NAMES[found.family].includes(wanted))
    throw new KingletError('E_FILE_FORMAT', `the file is not ${wanted}; it looks like ${found.form}`);
  const { items, skipped } = found.items();
  const first = skipped[0];
  if (items.length === 0)
    throw new KingletError(
      'E_FILE_FORMAT',
      first
        ? `no item of the file can be used (it looks like ${found.form}); line ${first.line}: ${first.reason}`
        : `there is no item in the file; it looks like ${found.form}`,
      { details: { skipped } },
    );
  const name = nameOf(found, wanted, options.fileName);
  if (name === 'wsc273')
    for (const { line } of items.splice(N_WSC273))
      skipped.push({ line, reason: 'not among the first 273 schemas, which are WSC273 (all are wsc285)' });
  return { name, kind: kindOf(name), form: found.form, conventions, items, skipped };
}

function checkRead(data: unknown, { name, fileName, conventions }: ReadOptions): void {
  if (typeof data !== 'string' && !(data instanceof Uint8Array) && !(data instanceof ArrayBuffer))
    throw new TypeError('data must be a string or bytes');
  if (name !== undefined && !ALL_NAMES.includes(name))
    throw new TypeError(`name must be one of ${ALL_NAMES.join(', ')}`);
  if (fileName !== undefined && typeof fileName !== 'string') throw new TypeError('fileName must be a string');
  if (conventions !== undefined && conventions !== 'lm-eval-0.3' && conventions !== 'lm-eval-0.4')
    throw new TypeError("conventions must be 'lm-eval-0.3' or 'lm-eval-0.4'");
}

function nameOf({ family, form }: Found, wanted: BenchmarkName | undefined, fileName = ''): Benchmark['name'] {
  if (wanted !== undefined) return wanted;
  if (family === 'arc')
    return /challenge/i.test(fileName) ? 'arc_challenge' : /easy/i.test(fileName) ? 'arc_easy' : 'arc';
  if (family === 'wsc') return 'wsc273';
  if (family === 'text') return form === WIKITEXT ? 'wikitext' : 'perplexity';
  return family;
}

const kindOf = (name: Benchmark['name']): BenchmarkKind =>
  name === 'lambada' ? 'greedy' : name === 'perplexity' || name === 'wikitext' ? 'perplexity' : 'choices';

const WIKITEXT = 'WikiText, raw';

const asText = (text: string, name: 'perplexity' | 'wikitext'): Found =>
  name === 'wikitext'
    ? { family: 'text', form: WIKITEXT, items: () => articlesOf(text) }
    : { family: 'text', form: 'plain text', items: () => plainText(text) };

/** Which form the file has. */
function sniff(text: string, { name, fileName = '' }: ReadOptions, conventions: Conventions): Found {
  const start = text.trimStart();
  if (/^<(\?xml|!--|!DOCTYPE|[A-Za-z][\w-]*[\s/>])/.test(start)) return fromXml(text, conventions);
  const looksLikeJson = /^\{\s*["}]/.test(start) || /^\[\s*\{\s*"/.test(start) || /\.jsonl?$/i.test(fileName);
  if (looksLikeJson) return fromJson(recordsOf(text), conventions);
  const lines = start.split('\n', 3);
  if (/^\[\w+\]$/.test(lines[1]?.trim() ?? '') && lines[0]?.includes(lines[1]?.trim() as string))
    return {
      family: 'wsc',
      form: 'Winograd schemas, text with masks',
      items: () => schemasFromMasks(text, conventions),
    };
  if (name === 'lambada')
    return { family: 'text', form: 'LAMBADA, lines of text', items: () => lambadaFromLines(text) };
  return asText(text, lines.some((line) => isHeading(line)) ? 'wikitext' : 'perplexity');
}

function fromXml(text: string, conventions: Conventions): Found {
  const root = parseXml(text);
  if (root.name === 'copa-corpus')
    return { family: 'copa', form: 'COPA, XML', items: () => copaFromXml(root, conventions) };
  if (root.name === 'collection')
    return { family: 'wsc', form: 'Winograd schemas, XML', items: () => schemasFromXml(root, conventions) };
  throw unknown(`XML with <${root.name}> at its root`);
}

function fromJson(records: readonly JsonRecord[], conventions: Conventions): Found {
  const first = (records.find(({ value }) => typeof value === 'object' && value !== null)?.value ?? {}) as object;
  const has = (...names: string[]) => names.every((name) => name in first);
  if (has('premise', 'choice1', 'choice2'))
    return { family: 'copa', form: 'COPA, JSON lines', items: () => copaFromJson(records, conventions) };
  if (has('text', 'pronoun', 'options'))
    return { family: 'wsc', form: 'Winograd schemas, JSON lines', items: () => schemasFromJson(records, conventions) };
  if (has('query', 'choices', 'gold'))
    return { family: 'arc', form: 'ARC, JSON lines of llm-foundry', items: () => arcFromJson(records) };
  if (has('question', 'answerKey'))
    return { family: 'arc', form: 'ARC, JSON lines', items: () => arcFromJson(records) };
  if (has('text')) return { family: 'lambada', form: 'LAMBADA, JSON lines', items: () => lambadaFromJson(records) };
  throw unknown(`JSON with ${Object.keys(first).slice(0, 8).join(', ') || 'no objects'}`);
}

const unknown = (what: string): KingletError =>
  new KingletError('E_FILE_FORMAT', `${what} is no benchmark that is known. Known are ${KNOWN}.`);

/** JSON lines; or one JSON list, which is what some tools make of them; or the rows of Hugging Face's data set server. */
function recordsOf(text: string): JsonRecord[] {
  const lines = text
    .split('\n')
    .map((line, i) => ({ line: i + 1, value: parsed(line), isEmpty: line.trim() === '' }))
    .filter(({ isEmpty }) => !isEmpty);
  const isLines = lines.length > 1 && lines.some(({ value }) => typeof value === 'object' && value !== null);
  const whole = isLines ? undefined : parsed(text);
  const list = Array.isArray(whole) ? whole : (whole as { rows?: unknown } | undefined)?.rows;
  if (!Array.isArray(list)) return lines;
  return list.map((value, i) => ({ line: i + 1, value: (value as { row?: unknown } | null)?.row ?? value }));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
