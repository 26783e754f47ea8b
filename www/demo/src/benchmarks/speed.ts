// How fast the loaded model is here: runs the cases of measure.ts, shows what they gave, and gives it to the visitor to copy or keep.
import { copyButton } from '../copy.js';
import { el } from '../dom.js';
import { download, labelled } from '../fields.js';
import type { Frame } from '../frame.js';
import { errorBox } from '../transcript.js';
import { count, plainError } from '../words.js';
import { type Context, Work } from '../work.js';
import { type Case, CASES, fits, measureCase, type Timing } from './measure.js';
import type { Pane } from './page.js';
import * as reports from './speed-report.js';

const DEFAULT_RUNS = 5;
const MOST_RUNS = 20;

export class SpeedPane implements Pane {
  readonly path = 'speed';
  readonly title = 'Speed';
  readonly element = el('div', { hidden: true });
  readonly dropHint = 'Drop a model to measure it';
  readonly #frame: Frame;
  readonly #runs = el('input', { type: 'number', min: 1, max: MOST_RUNS, step: 1, inputmode: 'numeric' });
  readonly #work: Work;
  readonly #why = el('p', { class: 'notice', role: 'note', hidden: true });
  readonly #fault = el('div', { role: 'alert' });
  readonly #found = el('section', { class: 'card', 'aria-labelledby': 'speed-found-title', hidden: true });
  readonly #place = el('div', { class: 'given' });

  constructor(frame: Frame) {
    this.#frame = frame;
    this.#runs.value = String(DEFAULT_RUNS);
    this.#work = new Work({
      frame,
      action: 'Measure',
      unit: 'runs',
      run: (context) => this.#run(context),
      failed: (error) => this.#fault.replaceChildren(errorBox(plainError(error))),
      cancelled: () => undefined,
    });
    this.#found.append(el('h2', { id: 'speed-found-title' }, 'Result'), this.#place);
    this.element.append(this.#card(), this.#found);
    this.modelChanged();
  }

  #card(): HTMLElement {
    const other = el('button', { type: 'button', class: 'quiet when-ready' }, 'Load another model');
    other.addEventListener('click', () => void this.#frame.changeModel());
    return el(
      'section',
      { class: 'card', 'aria-labelledby': 'speed-title' },
      el('h2', { id: 'speed-title' }, 'Speed'),
      el(
        'p',
        {},
        'The model reads texts of 132 and 512 tokens, and writes 64 tokens behind 132 and 2,000, each several times; the middle of the times counts. ',
        el(
          'span',
          { class: 'fine' },
          'Close what else keeps this machine busy. The figures stay here: nothing is sent.',
        ),
      ),
      this.#fault,
      this.#why,
      el('div', { class: 'run-row' }, labelled('Runs of each', this.#runs), this.#work.start, this.#work.cancel, other),
      this.#work.progress,
    );
  }

  modelChanged(): void {
    const tasks = this.#frame.engine?.info.tasks;
    const isSilent = tasks !== undefined && !tasks.includes('generate');
    this.#why.textContent = isSilent
      ? 'This model reads texts but writes none. Speed is measured of models that write.'
      : '';
    this.#why.hidden = !isSilent;
    this.#work.start.disabled = isSilent;
  }

  stop(): Promise<void> | undefined {
    return this.#work.stop();
  }

  take(): boolean {
    return false; // whatever it is, it is a model's
  }

  /** What was measured is shown, also where it was stopped or has failed on the way. */
  async #run({ engine, signal }: Context): Promise<string> {
    this.#fault.replaceChildren();
    const runs = this.#wanted();
    const cases = CASES.filter((one) => fits(one, engine.info));
    const found = new Map<Case, Timing[]>();
    const hidden = new Hidden();
    const total = cases.length * (runs + 1);
    let done = 0;
    try {
      for (const one of cases) {
        const say = () =>
          this.#work.say(`${reports.caseName(one)}: ${count(done)} of ${count(total)} runs`, done / total);
        say();
        found.set(one, await measureCase(engine, one, { runs, signal, onRun: () => (done++, say()) }));
      }
    } finally {
      const { modelName: name, loading } = this.#frame;
      const about = { name, info: engine.info, browser: browserFacts(), loading, runs, date: new Date() };
      const all = CASES.map((one) => reports.caseReport(one, found.get(one) ?? [], engine.info));
      const ended = { stopped: found.size < cases.length, wasHidden: hidden.end() };
      if (found.size > 0) this.#show(reports.reportOf(about, all, ended));
    }
    const said = [...found.keys()].map((one) => {
      const speed = reports.caseReport(one, found.get(one) ?? [], engine.info).tokens_per_second;
      return `${reports.caseName(one)}: ${speed ? reports.speedOf(speed.median) : 'not timed'}`;
    });
    return `Done. ${said.join('; ')}.`;
  }

  /** What the field says, brought within its bounds. */
  #wanted(): number {
    const asked = Math.round(this.#runs.valueAsNumber);
    const runs = Number.isFinite(asked) ? Math.min(MOST_RUNS, Math.max(1, asked)) : DEFAULT_RUNS;
    this.#runs.value = String(runs);
    return runs;
  }

  #show(report: reports.SpeedReport): void {
    const notes: string[] = [];
    if (report.stopped) notes.push('It was stopped before all was measured.');
    if (report.was_hidden) notes.push('The page was in the background meanwhile, where browsers may slow it down.');
    if (report.device.software) notes.push('This GPU is imitated in software; a real one is faster.');
    const json = `${JSON.stringify(report, null, 2)}\n`;
    const save = () => download(reports.speedFileName(report), 'application/json', json);
    this.#place.replaceChildren(
      tableOf(report),
      ...notes.map((note) => el('p', { class: 'fine' }, note)),
      el(
        'dl',
        { class: 'known' },
        ...reports.circumstances(report).flatMap(([term, fact]) => [el('dt', {}, term), el('dd', {}, fact)]),
      ),
      el(
        'p',
        { class: 'row' },
        copyButton(() => reports.textOf(report)),
        el('button', { type: 'button', onclick: save }, 'Download JSON'),
      ),
    );
    this.#found.hidden = false;
  }
}

function tableOf(report: reports.SpeedReport): HTMLElement {
  const head = ['', 'Median', 'Lowest to highest'].map((text, i) =>
    el('th', { scope: 'col', class: i === 0 ? '' : 'number' }, text || el('span', { class: 'sr-only' }, 'What')),
  );
  const rows = report.cases.map((one) => {
    const { tokens_per_second: speed } = one;
    const name = el('th', { scope: 'row' }, reports.caseName(one));
    if (!speed) return el('tr', {}, name, el('td', { colspan: 2 }, reports.whyNone(one, report)));
    const number = (text: string) => el('td', { class: 'number' }, text);
    return el('tr', {}, name, number(reports.speedOf(speed.median)), number(reports.rangeOf(speed)));
  });
  return el(
    'div',
    { class: 'table-wrap', tabindex: 0, role: 'group', 'aria-label': 'Table: speed' },
    el(
      'table',
      { class: 'speeds' },
      el('caption', { class: 'sr-only' }, `Speed, medians of ${count(report.settings.runs)} runs`),
      el('thead', {}, el('tr', {}, ...head)),
      el('tbody', {}, ...rows),
    ),
  );
}

function browserFacts(): reports.BrowserFacts {
  const { deviceMemory } = navigator as Navigator & { deviceMemory?: number };
  return {
    user_agent: navigator.userAgent,
    logical_cores: navigator.hardwareConcurrency,
    memory_gb: deviceMemory ?? null,
    cross_origin_isolated: crossOriginIsolated,
  };
}

/** Whether the page was in the background at any time until `end`. */
class Hidden {
  #was = document.hidden;
  readonly #note = (): void => {
    this.#was ||= document.hidden;
  };

  constructor() {
    document.addEventListener('visibilitychange', this.#note);
  }

  end(): boolean {
    document.removeEventListener('visibilitychange', this.#note);
    return this.#was;
  }
}
