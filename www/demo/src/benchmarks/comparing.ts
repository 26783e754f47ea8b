// Two reports of one benchmark, item by item: which have both right, or only one, whether that is more than chance, and the items in
// which they differ.
import { compare, type ComparedItem, type Comparison, type ItemResult, type Report } from 'kinglet/eval';
import { el } from '../dom.js';
import { labelled } from '../fields.js';
import { errorBox } from '../transcript.js';
import { count, plainError } from '../words.js';
import { areComparable, metricRows, modelText, verdict } from './words.js';

const N_SHOWN = 25;

export class Comparing {
  readonly element = el('section', { class: 'card', 'aria-labelledby': 'compare-title', hidden: true });
  readonly #a = el('select', {});
  readonly #b = el('select', {});
  readonly #result = el('div', { class: 'given' });
  #reports: readonly Report[] = [];

  constructor() {
    this.element.append(
      el('h2', { id: 'compare-title' }, 'Item by item'),
      el('div', { class: 'row sides' }, labelled('A', this.#a), labelled('B', this.#b)),
      this.#result,
    );
    for (const select of [this.#a, this.#b]) select.addEventListener('change', () => this.#compare());
  }

  /** The newest is compared with the one before it of the same benchmark. */
  show(reports: readonly Report[]): void {
    this.#reports = reports;
    const last = reports.length - 1;
    const newest = reports[last];
    const other = newest ? reports.findLastIndex((report, i) => i < last && areComparable(report, newest)) : -1;
    this.element.hidden = other < 0;
    if (other < 0) return;
    for (const [select, chosen] of [
      [this.#a, other],
      [this.#b, last],
    ] as const)
      select.replaceChildren(...reports.map((report, i) => option(report, i, i === chosen)));
    this.#compare();
  }

  #compare(): void {
    const [a, b] = [this.#reports[Number(this.#a.value)], this.#reports[Number(this.#b.value)]];
    if (!a || !b) return;
    try {
      this.#result.replaceChildren(...comparisonOf(compare(a, b)));
    } catch (error) {
      const plain = plainError(error);
      this.#result.replaceChildren(errorBox({ ...plain, text: `These two cannot be compared: ${plain.detail}.` }));
    }
  }
}

const option = (report: Report, i: number, selected: boolean): HTMLElement =>
  el('option', { value: i, selected }, `${i + 1}: ${modelText(report)} · ${report.benchmark}`);

function comparisonOf(found: Comparison): HTMLElement[] {
  const { n_items, n_only_in_a, n_only_in_b, difference } = found;
  const left = n_only_in_a + n_only_in_b;
  const common = `${count(n_items)} items are in both${left > 0 ? `, ${count(left)} in one only` : ''}.`;
  if (found.p_value === null) return [el('p', { class: 'fine' }, common), figures(found), list(found)];
  const points = difference
    ? `B less A: ${(100 * difference.value).toFixed(1)}${difference.stderr === null ? '' : ` ± ${(100 * difference.stderr).toFixed(1)}`} points. `
    : '';
  return [
    el('p', {}, verdict(found)),
    quadrants(found),
    el('p', { class: 'fine' }, `${points}${common} The same choice in ${count(found.same_choice)}.`),
    figures(found),
    list(found),
  ];
}

function quadrants({ both, only_a, only_b, neither }: Comparison): HTMLElement {
  const cell = (name: string, n: number, isSplit: boolean) =>
    el('div', { 'data-split': isSplit }, el('dt', {}, name), el('dd', {}, count(n)));
  return el(
    'dl',
    { class: 'quadrants' },
    cell('Both right', both, false),
    cell('Only A right', only_a, true),
    cell('Only B right', only_b, true),
    cell('Neither', neither, false),
  );
}

function figures({ metrics_a, metrics_b }: Comparison): HTMLElement {
  const b = new Map(metricRows(metrics_b));
  return el(
    'table',
    {},
    el('caption', { class: 'sr-only' }, 'Figures over the common items'),
    el(
      'thead',
      {},
      el('tr', {}, ...['Over the common items', 'A', 'B'].map((name) => el('th', { scope: 'col' }, name))),
    ),
    el(
      'tbody',
      {},
      ...metricRows(metrics_a).map(([name, text]) =>
        el('tr', {}, el('th', { scope: 'row' }, name), el('td', {}, text), el('td', {}, b.get(name) ?? '–')),
      ),
    ),
  );
}

/** The items that differ, some at a time. */
function list({ items, kind }: Comparison): HTMLElement {
  const place = el('div', { class: 'differing' });
  const more = el('button', { type: 'button' });
  const add = () => {
    const from = place.childElementCount;
    place.append(...items.slice(from, from + N_SHOWN).map((item) => itemOf(item, kind)));
    const left = items.length - place.childElementCount;
    more.textContent = `Show more (${count(left)} left)`;
    more.hidden = left <= 0;
  };
  more.addEventListener('click', add);
  add();
  const title =
    kind === 'perplexity' ? 'Texts, the greatest difference first' : `Where they differ: ${count(items.length)}`;
  return el('section', { class: 'given' }, el('h3', {}, title), place, el('p', {}, more));
}

function itemOf({ id, text, a, b }: ComparedItem, kind: Comparison['kind']): HTMLElement {
  const right = kind === 'perplexity' ? [] : [el('span', { class: 'tag' }, `only ${a.correct ? 'A' : 'B'} right`), ' '];
  const details = el('details', {}, el('summary', {}, ...right, text, ' ', el('span', { class: 'figures' }, id)));
  // Thousands of tables would be much to lay out; each is made when it is opened.
  details.addEventListener('toggle', () => {
    if (details.open && details.childElementCount === 1) details.append(choicesOf(a, b, kind));
  });
  return details;
}

function choicesOf(a: ItemResult, b: ItemResult, kind: Comparison['kind']): HTMLElement {
  const head = ['Choice', 'ln P, A', 'ln P, B'].map((name, i) =>
    el('th', { scope: 'col', class: i > 0 ? 'number' : '' }, name),
  );
  const rows =
    kind === 'perplexity'
      ? [rowOf(`${count(a.n_bytes ?? 0)} bytes`, a.logprob, b.logprob, [])]
      : a.choices.map(({ text, logprob }, i) => {
          const tags: string[] = [];
          if (kind === 'choices' && i === a.gold) tags.push('right');
          if (kind === 'choices' && i === a.choice) tags.push('A');
          if (kind === 'choices' && i === b.choice) tags.push('B');
          return rowOf(text, logprob, b.choices[i]?.logprob ?? NaN, tags);
        });
  return el(
    'div',
    { class: 'table-wrap' },
    el('table', {}, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...rows)),
  );
}

function rowOf(text: string, a: number, b: number, tags: readonly string[]): HTMLElement {
  const marks = tags.flatMap((tag) => [
    ' ',
    el('span', { class: tag === 'right' ? 'tag right' : 'tag' }, tag === 'right' ? tag : `${tag}’s choice`),
  ]);
  const number = (value: number) => el('td', { class: 'number' }, value.toFixed(3));
  return el('tr', {}, el('th', { scope: 'row' }, text, ...marks), number(a), number(b));
}
