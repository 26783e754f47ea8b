// Two reports on the same benchmark, item by item: two models, two quantizations, two devices.

import { meanOf, metricsOf } from './metrics.js';
import type { ComparedItem, Comparison, ItemResult, Report } from './types.js';

/**
 * Compares the items that are in both reports.
 *
 * @throws RangeError where the reports are on different benchmarks, follow different conventions, or have none or other items in common.
 */
export function compare(a: Report, b: Report): Comparison {
  if (a.benchmark !== b.benchmark || a.kind !== b.kind)
    throw new RangeError(`the reports are on different benchmarks, ${a.benchmark} and ${b.benchmark}`);
  if (a.conventions !== b.conventions)
    throw new RangeError(`the reports follow different conventions, ${a.conventions} and ${b.conventions}`);
  const pairs = pairsOf(a, b);
  const { kind, benchmark } = a;
  const isJudged = kind !== 'perplexity';
  const count = (inA: boolean, inB: boolean) =>
    isJudged ? pairs.filter((pair) => pair.a.correct === inA && pair.b.correct === inB).length : 0;
  const [both, only_a, only_b, neither] = [
    count(true, true),
    count(true, false),
    count(false, true),
    count(false, false),
  ];
  const { value, stderr } = meanOf(pairs.map((pair) => Number(pair.b.correct) - Number(pair.a.correct)));
  const metrics = (of: (pair: ComparedItem) => ItemResult) => metricsOf({ name: benchmark, kind }, pairs.map(of));
  return {
    benchmark,
    kind,
    n_items: pairs.length,
    n_only_in_a: a.items.length - pairs.length,
    n_only_in_b: b.items.length - pairs.length,
    both,
    only_a,
    only_b,
    neither,
    same_choice: kind === 'greedy' ? both + neither : pairs.filter((p) => isJudged && p.a.choice === p.b.choice).length,
    difference: isJudged ? { value, stderr } : null,
    p_value: isJudged ? mcNemar(only_a, only_b) : null,
    metrics_a: metrics((pair) => pair.a),
    metrics_b: metrics((pair) => pair.b),
    items: isJudged
      ? pairs.filter((pair) => pair.a.correct !== pair.b.correct)
      : [...pairs].sort((x, y) => bitsApart(y) - bitsApart(x)),
  };
}

function pairsOf(a: Report, b: Report): ComparedItem[] {
  const others = new Map(b.items.map((item) => [item.id, item]));
  const pairs: ComparedItem[] = [];
  for (const item of a.items) {
    const other = others.get(item.id);
    if (!other) continue;
    if (!isSame(item, other)) throw new RangeError(`item ${item.id} is another one in the second report`);
    pairs.push({ id: item.id, text: item.text, a: item, b: other });
  }
  if (pairs.length === 0) throw new RangeError('the reports have no item in common');
  return pairs;
}

function isSame(x: ItemResult, y: ItemResult): boolean {
  const texts = ({ text, choices }: ItemResult) => JSON.stringify([text, choices.map((choice) => choice.text)]);
  return texts(x) === texts(y) && x.gold === y.gold && x.n_bytes === y.n_bytes;
}

/** How far two models are apart on a text, in bits per byte; the same for any two tokenizers. */
const bitsApart = ({ a, b }: ComparedItem): number => Math.abs(a.logprob - b.logprob) / (a.n_bytes || 1);

/**
 * McNemar's exact test (Psychometrika 12, 1947; the binomial form): the probability that of `x + y` throws of a coin the sides are at
 * least as uneven as x and y.
 */
export function mcNemar(x: number, y: number): number {
  const n = x + y;
  let term = -n * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= Math.min(x, y); k++) {
    tail += Math.exp(term);
    term += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}
