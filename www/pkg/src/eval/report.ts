// Reports: made from results, written as JSON and read back with every part checked.

import { KingletError } from '../errors.js';
import type { Info } from '../types.js';
import { metricsOf } from './metrics.js';
import type { Benchmark, ItemResult, Report } from './types.js';

/** What a report says besides the results. */
export interface ReportFacts {
  seconds: number;
  /** Where the evaluation began. Default 0. */
  offset?: number;
  /** `perplexity`: tokens of a window. */
  windowTokens?: number;
  /** Indices of items that did not fit into the context. */
  tooLong?: readonly number[];
}

/** A report of results: of all, or of those that {@link EvaluateOptions.onItem} was given before an abort. */
export function reportOf(info: Info, benchmark: Benchmark, results: readonly ItemResult[], facts: ReportFacts): Report {
  const { seconds, offset = 0, windowTokens, tooLong = [] } = facts;
  return {
    version: 1,
    benchmark: benchmark.name,
    form: benchmark.form,
    conventions: benchmark.conventions,
    kind: benchmark.kind,
    model: {
      name: info.name,
      architecture: info.architecture,
      quantization: info.quantization,
      parameters: info.parameters,
      file_bytes: info.fileBytes,
    },
    device: deviceOf(info),
    build: info.build,
    metrics: metricsOf(benchmark, results),
    items: [...results],
    n_items: results.length,
    n_benchmark: benchmark.items.length,
    offset,
    ...(windowTokens === undefined ? {} : { window_tokens: windowTokens }),
    too_long: tooLong.map((index) => ({ index, id: benchmark.items[index]?.id ?? '' })),
    seconds,
    items_per_second: seconds > 0 ? results.length / seconds : 0,
    date: new Date().toISOString(),
  };
}

function deviceOf({ device }: Info): string {
  if (device.kind === 'cpu') return `cpu, ${device.threads} ${device.threads === 1 ? 'thread' : 'threads'}`;
  return `webgpu, ${device.adapter ?? 'an adapter without a name'}${device.software ? ' (played by the CPU)' : ''}`;
}

export function reportToJson(report: Report): string {
  return JSON.stringify(report);
}

/**
 * Reads what {@link reportToJson} wrote. The figures are counted again from the items.
 *
 * @throws KingletError E_FILE_FORMAT that names what is wrong.
 */
export function reportFromJson(text: string): Report {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KingletError('E_FILE_FORMAT', 'the report is not JSON', { cause });
  }
  check(value, REPORT, '');
  const report = value as Report;
  if (report.version !== 1) refuse(`version ${report.version} is not known`);
  if (!KINDS.includes(report.kind)) refuse(`kind ${report.kind} is not known`);
  for (const [i, item] of report.items.entries()) checkItem(item, report.kind, `items[${i}]`);
  if (report.n_items !== report.items.length) refuse('n_items is not the number of items');
  if (new Set(report.items.map(({ id }) => id)).size < report.items.length) refuse('an item is there twice');
  report.metrics = metricsOf({ name: report.benchmark, kind: report.kind }, report.items);
  return report;
}

const KINDS: readonly string[] = ['choices', 'greedy', 'perplexity'];

function checkItem(item: ItemResult, kind: Report['kind'], where: string): void {
  const { choices, gold, choice, choice_norm, choice_bytes } = item;
  if (kind === 'perplexity') {
    if (item.n_bytes === undefined || item.n_words === undefined || item.logprob_squares === undefined)
      refuse(`${where} does not say how long its text is`);
    return;
  }
  if ([gold, choice, choice_norm, choice_bytes].some((at) => at >= choices.length))
    refuse(`${where} speaks of a choice that it does not have`);
  if (kind === 'choices' && item.correct !== (choice === gold)) refuse(`${where}.correct is not what its choice says`);
}

function refuse(what: string): never {
  throw new KingletError('E_FILE_FORMAT', `this is no report of kinglet: ${what}`);
}

/** What a value has to be: of a type; a list of one shape; an object with these fields (a `?` at the end of a name: or absent). `count`: a whole number from 0. */
type Shape = 'string' | 'number' | 'count' | 'boolean' | readonly [Shape] | { readonly [name: string]: Shape };

const ITEM: Shape = {
  index: 'count',
  id: 'string',
  text: 'string',
  choices: [{ text: 'string', logprob: 'number', n_tokens: 'count' }],
  gold: 'count',
  choice: 'count',
  choice_norm: 'count',
  choice_bytes: 'count',
  correct: 'boolean',
  logprob: 'number',
  n_tokens: 'count',
  'logprob_squares?': 'number',
  'n_bytes?': 'count',
  'n_words?': 'count',
};

const REPORT: Shape = {
  version: 'count',
  benchmark: 'string',
  form: 'string',
  conventions: 'string',
  kind: 'string',
  model: { name: 'string', architecture: 'string', quantization: 'string', parameters: 'number', file_bytes: 'number' },
  device: 'string',
  build: 'string',
  items: [ITEM],
  n_items: 'count',
  n_benchmark: 'count',
  offset: 'count',
  'window_tokens?': 'count',
  too_long: [{ index: 'count', id: 'string' }],
  seconds: 'number',
  items_per_second: 'number',
  date: 'string',
};

function check(value: unknown, shape: Shape, where: string): void {
  if (typeof shape === 'string') {
    const isCount = Number.isSafeInteger(value) && (value as number) >= 0;
    if (shape === 'count' ? !isCount : typeof value !== shape || Number.isNaN(value)) refuse(`${where} is no ${shape}`);
  } else if (isList(shape)) {
    if (!Array.isArray(value)) refuse(`${where} is no list`);
    for (const [i, one] of value.entries()) check(one, shape[0], `${where}[${i}]`);
  } else {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(`${where || 'it'} is no object`);
    const fields = value as Record<string, unknown>;
    for (const [key, inner] of Object.entries(shape)) {
      const name = key.replace(/\?$/, '');
      if (name !== key && fields[name] === undefined) continue;
      check(fields[name], inner, where === '' ? name : `${where}.${name}`);
    }
  }
}

const isList = (shape: Shape): shape is readonly [Shape] => Array.isArray(shape);
