// The reports of this visit: a table, a chart for each benchmark, export and import as JSON.
import { type Report, reportToJson } from 'kinglet/eval';
import { el } from '../dom.js';
import { download } from '../fields.js';
import { count } from '../words.js';
import { chartOf } from './chart.js';
import { benchmarkName, metricRows, modelText, reportFileName, speedText } from './words.js';

export class Reports {
  readonly element = el('section', { class: 'card', 'aria-labelledby': 'reports-title', hidden: true });
  readonly #place = el('div', { class: 'given' });
  readonly #changed: (reports: readonly Report[]) => void;
  readonly #all: Report[] = [];

  constructor(changed: (reports: readonly Report[]) => void) {
    this.#changed = changed;
    this.element.append(el('h2', { id: 'reports-title', tabindex: -1 }, 'Results'), this.#place);
  }

  add(report: Report): void {
    this.#all.push(report);
    this.#show();
  }

  #remove(report: Report): void {
    this.#all.splice(this.#all.indexOf(report), 1);
    this.#show();
    this.element.querySelector<HTMLElement>('h2')?.focus();
  }

  #show(): void {
    this.element.hidden = this.#all.length === 0;
    const names = [...new Set(this.#all.map(({ benchmark }) => benchmark))];
    this.#place.replaceChildren(...names.map((name) => this.#benchmark(name)));
    this.#changed(this.#all);
  }

  #benchmark(name: string): HTMLElement {
    const reports = this.#all.filter(({ benchmark }) => benchmark === name);
    const columns = [...new Set(reports.flatMap(({ metrics }) => metricRows(metrics).map(([metric]) => metric)))];
    const head = ['Model', ...columns, 'Items', 'Items/s', ''].map((text, i) =>
      el('th', { scope: 'col', class: i === 0 ? '' : 'number' }, text || el('span', { class: 'sr-only' }, 'Report')),
    );
    const table = el(
      'table',
      { class: 'reports' },
      el('caption', { class: 'sr-only' }, benchmarkName(name)),
      el('thead', {}, el('tr', {}, ...head)),
      el('tbody', {}, ...reports.map((report) => this.#row(report, columns))),
    );
    const chart = chartOf(reports);
    return el(
      'section',
      { class: 'given' },
      el('h3', {}, benchmarkName(name)),
      ...(chart ? [el('figure', {}, chart)] : []),
      el(
        'div',
        { class: 'table-wrap', tabindex: 0, role: 'group', 'aria-label': `Table: ${benchmarkName(name)}` },
        table,
      ),
    );
  }

  #row(report: Report, columns: readonly string[]): HTMLElement {
    const figures = new Map(metricRows(report.metrics));
    const number = (text: string) => el('td', { class: 'number' }, text);
    const called = `${this.#all.indexOf(report) + 1}: ${modelText(report)}`;
    const button = (text: string, onclick: () => void) =>
      el('button', { type: 'button', class: 'quiet', 'aria-label': `${text} ${called}`, onclick }, text);
    const isPart = report.n_items < report.n_benchmark;
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, called, el('br'), el('span', { class: 'figures' }, circumstances(report))),
      ...columns.map((name) => number(figures.get(name) ?? '–')),
      number(isPart ? `${count(report.n_items)} of ${count(report.n_benchmark)}` : count(report.n_items)),
      number(speedText(report.items_per_second)),
      el(
        'td',
        { class: 'number' },
        button('Export', () => download(reportFileName(report), 'application/json', reportToJson(report))),
        button('Remove', () => this.#remove(report)),
      ),
    );
  }
}

const circumstances = ({ device, too_long }: Report): string =>
  too_long.length === 0 ? device : `${device}, ${count(too_long.length)} too long for its context`;
