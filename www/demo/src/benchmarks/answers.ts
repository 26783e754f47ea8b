// How good the answers are: a file becomes a benchmark, a benchmark and the loaded model a report; reports are shown, compared, kept as
// files.
import { type Benchmark, evaluate, type EvaluateProgress, type ItemResult, reportOf } from 'kinglet/eval';
import { byId, el } from '../dom.js';
import { filePicker, labelled } from '../fields.js';
import type { Frame } from '../frame.js';
import { errorBox } from '../transcript.js';
import { count, plainError } from '../words.js';
import { type Context, Work } from '../work.js';
import { Comparing } from './comparing.js';
import type { Pane } from './page.js';
import { ReadError, Reader } from './reader.js';
import { Reports } from './reports.js';
import { SAMPLES } from './samples.js';
import { accuracyText, benchmarkName, figureText, timeLeft } from './words.js';

const DEFAULT_LIMIT = 200;
const N_SKIPPED_SHOWN = 5;

export class AnswersPane implements Pane {
  readonly path = '';
  readonly title = 'Answers';
  readonly element = el('div');
  readonly dropHint = 'Drop a benchmark’s file, a report, or a model';
  readonly #frame: Frame;
  readonly #reader = new Reader();
  readonly #known = el('div', { class: 'given', hidden: true });
  readonly #limit = el('input', { type: 'number', min: 1, step: 1, inputmode: 'numeric' });
  readonly #limitField = labelled('Items to run', this.#limit);
  readonly #work: Work;
  readonly #live = el('p', { class: 'live', hidden: true });
  readonly #why = el('p', { class: 'notice', role: 'note', hidden: true });
  readonly #fault = el('div', { role: 'alert' });
  readonly #reports: Reports;
  #benchmark: Benchmark | undefined;

  constructor(frame: Frame) {
    this.#frame = frame;
    const comparing = new Comparing();
    this.#reports = new Reports((reports) => comparing.show(reports));
    this.#work = new Work({
      frame,
      action: 'Run',
      unit: 'items',
      run: (context) => this.#run(context),
      failed: (error) => this.#failed(error),
      cancelled: () => undefined,
    });
    this.element.append(this.#chooser(), this.#reports.element, comparing.element);
    this.modelChanged();
  }

  #chooser(): HTMLElement {
    const pick = filePicker('Choose files', {
      accept: '.jsonl,.json,.xml,.txt,.raw,.text',
      multiple: true,
      chosen: (files) => this.take(files),
    });
    const samples = SAMPLES.map(({ title, fileName, text }) =>
      el('button', { type: 'button', onclick: () => void this.#read([new File([text], fileName)]) }, title),
    );
    const what = el(
      'p',
      {},
      'Drop a file here: ARC, COPA, Winograd schemas, LAMBADA or WikiText as they are published, or any text. ',
      el('span', { class: 'fine' }, 'Reports that were exported can be dropped too.'),
    );
    const other = el('button', { type: 'button', class: 'quiet when-ready' }, 'Load another model');
    other.addEventListener('click', () => void this.#frame.changeModel());
    this.#known.append(
      el('div'),
      this.#why,
      el('div', { class: 'run-row' }, this.#limitField, this.#work.start, this.#work.cancel, other),
      this.#live,
      this.#work.progress,
    );
    return el(
      'section',
      { class: 'card', 'aria-labelledby': 'benchmark-title' },
      el('h2', { id: 'benchmark-title' }, 'Benchmark'),
      el('div', { class: 'dropzone' }, what, pick),
      el('div', { class: 'samples' }, el('span', { class: 'fine' }, 'Or try a few items of our own:'), ...samples),
      this.#fault,
      this.#known,
    );
  }

  modelChanged(): void {
    const why = this.#unsuited();
    this.#why.textContent = why ?? '';
    this.#why.hidden = why === undefined;
    this.#work.start.disabled = why !== undefined;
  }

  stop(): Promise<void> | undefined {
    return this.#work.stop();
  }

  take(files: File[]): boolean {
    void this.#read(files);
    return true;
  }

  /** Why the loaded model cannot run what was dropped. */
  #unsuited(): string | undefined {
    const tasks = this.#frame.engine?.info.tasks;
    if (!tasks) return undefined;
    if (!tasks.includes('generate'))
      return 'This model reads texts but gives no probabilities of them. Benchmarks take a model that writes, such as SmolLM2, GPT-2 or T5.';
    if (this.#benchmark?.kind === 'perplexity' && tasks.includes('remember'))
      return 'This model reads a text before it writes. Perplexity is for models that only go on with a text, such as SmolLM2 or GPT-2.';
    return undefined;
  }

  async #read(files: File[]): Promise<void> {
    await this.#work.stop();
    this.#fault.replaceChildren();
    for (const file of files) {
      try {
        const found = await this.#reader.read(file.name, await file.arrayBuffer());
        if (found.kind === 'report') this.#reports.add(found.report);
        else this.#show(found.benchmark, file.name);
      } catch (error) {
        this.#refused(file.name, error);
      }
    }
  }

  #refused(name: string, error: unknown): void {
    const plain = plainError(error);
    const text =
      error instanceof ReadError && error.code === 'E_FILE_FORMAT'
        ? `${name} is not a benchmark or a report that can be read.`
        : `${name} could not be read.`;
    const box = errorBox({ ...plain, text });
    box.querySelectorAll('details').forEach((details) => (details.open = true)); // it says which forms are known
    this.#fault.append(box);
  }

  #show(benchmark: Benchmark, fileName: string): void {
    this.#benchmark = benchmark;
    const { items, skipped, form, name } = benchmark;
    const list = el(
      'dl',
      { class: 'known' },
      ...[
        ['File', fileName],
        ['Read as', `${benchmarkName(name)} (${form})`],
        ['Items', count(items.length)],
        ['Skipped', skipped.length === 0 ? 'none' : count(skipped.length)],
      ].flatMap(([term, text]) => [el('dt', {}, term ?? ''), el('dd', {}, text ?? '')]),
    );
    this.#known.firstElementChild?.replaceWith(
      el('div', { class: 'given' }, list, ...(skipped.length > 0 ? [skippedList(skipped)] : [])),
    );
    this.#limit.max = String(items.length);
    this.#limit.value = String(Math.min(items.length, DEFAULT_LIMIT));
    this.#limitField.hidden = items.length === 1;
    this.#live.hidden = true;
    this.#known.hidden = false;
    this.modelChanged();
    byId('announce', HTMLElement).textContent =
      `${fileName} was read as ${benchmarkName(name)}: ${count(items.length)} items, ${count(skipped.length)} skipped.`;
  }

  /** A report of what was done is kept, also where it was cancelled or has failed on the way. */
  async #run({ engine, signal }: Context): Promise<string> {
    const benchmark = this.#benchmark;
    if (!benchmark) return '';
    this.#fault.replaceChildren();
    const limit = this.#wanted(benchmark);
    const results: ItemResult[] = [];
    const started = performance.now();
    try {
      const report = await evaluate(engine, benchmark, {
        limit,
        signal,
        onItem: (result) => results.push(result),
        onProgress: (progress) => this.#progress(progress),
      });
      if (report.n_items === 0) {
        const text = 'No item fits into what this model can hold.';
        const detail = `Its context is ${count(engine.info.contextLength)} tokens.`;
        this.#fault.replaceChildren(errorBox({ text, code: 'E_CONTEXT_OVERFLOW', detail }));
        return text;
      }
      this.#reports.add(report);
      this.#live.lastChild?.replaceWith(el('span', { class: 'fine' }, this.#figureName));
      const { accuracy, perplexity } = report.metrics;
      return `Done: ${accuracy ? `accuracy ${accuracyText(accuracy)}` : `perplexity ${figureText(perplexity)}`}.`;
    } catch (error) {
      const seconds = (performance.now() - started) / 1000;
      if (results.length > 0) this.#reports.add(reportOf(engine.info, benchmark, results, { seconds }));
      throw error;
    }
  }

  /** What the field says, brought within what there is. */
  #wanted({ items }: Benchmark): number {
    const asked = Math.round(this.#limit.valueAsNumber);
    const limit = Number.isFinite(asked) ? Math.min(items.length, Math.max(1, asked)) : items.length;
    this.#limit.value = String(limit);
    return limit;
  }

  #progress({ done, total, remaining_ms, accuracy, perplexity }: EvaluateProgress): void {
    const left = remaining_ms === null || done === total ? '' : ` · ${timeLeft(remaining_ms)} left`;
    this.#work.say(`${count(done)} of ${count(total)}${left}`, done / total);
    this.#live.hidden = false;
    const figure =
      accuracy !== null ? `${(100 * accuracy).toFixed(1)} %` : perplexity !== null ? perplexity.toFixed(2) : '–';
    this.#live.replaceChildren(el('strong', {}, figure), el('span', { class: 'fine' }, `${this.#figureName} so far`));
  }

  get #figureName(): string {
    return this.#benchmark?.kind === 'perplexity' ? 'perplexity' : 'accuracy';
  }

  #failed(error: unknown): void {
    const plain = plainError(error);
    const text = plain.code === 'E_UNSUPPORTED_TASK' ? `${plain.detail}.` : plain.text;
    this.#fault.replaceChildren(errorBox({ ...plain, text }));
  }
}

function skippedList(skipped: Benchmark['skipped']): HTMLElement {
  const lines = skipped
    .slice(0, N_SKIPPED_SHOWN)
    .map(({ line, reason }) => el('li', {}, `Line ${count(line)}: ${reason}`));
  const left = skipped.length - lines.length;
  if (left > 0) lines.push(el('li', {}, `and ${count(left)} more`));
  return el('details', {}, el('summary', {}, 'What was skipped'), el('ul', { class: 'fine' }, ...lines));
}
