// What the benchmark page says of figures. No DOM.
import type { Comparison, Metric, Metrics, Report } from 'kinglet/eval';
import { count } from '../words.js';

const NAMES: Record<string, string> = {
  arc: 'ARC',
  arc_easy: 'ARC-Easy',
  arc_challenge: 'ARC-Challenge',
  copa: 'COPA',
  wsc273: 'Winograd schemas (WSC273)',
  wsc285: 'Winograd schemas (WSC285)',
  lambada: 'LAMBADA',
  wikitext: 'WikiText, perplexity',
  perplexity: 'Perplexity of a text',
};

export const benchmarkName = (name: string): string => NAMES[name] ?? name;

/** "43.2 ± 2.2 %" of an accuracy. */
export const accuracyText = (metric: Metric | undefined): string =>
  metric ? `${withError(100 * metric.value, metric.stderr === null ? null : 100 * metric.stderr, 1)} %` : '–';

/** "28.76 ± 0.31" of a perplexity. */
export const figureText = (metric: Metric | undefined, digits = 2): string =>
  metric ? withError(metric.value, metric.stderr, digits) : '–';

const withError = (value: number, stderr: number | null, digits: number): string =>
  stderr === null ? value.toFixed(digits) : `${value.toFixed(digits)} ± ${stderr.toFixed(digits)}`;

/** What of the figures a table shows, in its order. */
export function metricRows(metrics: Metrics): [name: string, text: string][] {
  const rows: [string, string][] = [];
  if (metrics.accuracy) rows.push(['Accuracy', accuracyText(metrics.accuracy)]);
  if (metrics.accuracy_norm) rows.push(['Normalised', accuracyText(metrics.accuracy_norm)]);
  if (metrics.perplexity) rows.push(['Perplexity', figureText(metrics.perplexity)]);
  if (metrics.word_perplexity) rows.push(['By word', figureText(metrics.word_perplexity)]);
  if (metrics.bits_per_byte) rows.push(['Bits per byte', figureText(metrics.bits_per_byte, 3)]);
  return rows;
}

/** "12 s", "3 min 20 s", "2 h 5 min". */
export function timeLeft(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const speedText = (perSecond: number): string =>
  perSecond >= 10 ? perSecond.toFixed(0) : perSecond.toFixed(perSecond >= 1 ? 1 : 2);

/** A short name of what was measured: model and quantization. */
export const modelText = ({ model }: Pick<Report, 'model'>): string =>
  `${model.name || model.architecture} · ${model.quantization}`;

/** What guessing would reach: the mean of one over the number of choices; undefined where there are none to guess from. */
export function chance({ kind, items }: Pick<Report, 'kind' | 'items'>): number | undefined {
  if (kind !== 'choices' || items.length === 0) return undefined;
  return items.reduce((sum, { choices }) => sum + 1 / Math.max(1, choices.length), 0) / items.length;
}

/** What McNemar's test says, in words. */
export function verdict({ only_a, only_b, p_value, difference }: Comparison): string {
  if (p_value === null || difference === null) return '';
  if (only_a + only_b === 0) return 'Both have the same items right.';
  const better = only_a > only_b ? 'A' : 'B';
  const odds = p_value < 0.001 ? 'p < 0.001' : `p = ${p_value.toFixed(3)}`;
  if (only_a === only_b) return `Each has ${count(only_a)} right that the other has not (McNemar’s ${odds}).`;
  const sure =
    p_value < 0.05
      ? `${better} is better: so uneven a split would seldom come by chance`
      : `No difference is shown: so uneven a split may well come by chance`;
  return `${sure} (McNemar’s exact test, ${odds}).`;
}

/** Reports of one benchmark that may be compared. */
export const areComparable = (a: Report, b: Report): boolean => a.benchmark === b.benchmark && a.kind === b.kind;

/** "arc_easy SmolLM2-135M Q4_1.json", without what file systems do not take. */
export const reportFileName = ({ benchmark, model }: Report): string =>
  `${benchmark} ${model.name || model.architecture} ${model.quantization}.json`.replace(/[^\w.\- ]+/g, '_');
