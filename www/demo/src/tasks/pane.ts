// One task on the page: what it takes on the left, what comes of it on the right, and whether the loaded model is made for it.
import { support, type Support, type TaskName } from 'kinglet/tasks';
import { byId, el } from '../dom.js';
import type { Frame } from '../frame.js';
import { bytes } from '../words.js';
import { type Context, Work } from '../work.js';
import { Output } from './output.js';
import { supportLine, taskError } from './words.js';

/** A task as it is shown; search has a shape of its own. */
export interface Pane {
  readonly id: string;
  readonly title: string;
  readonly task: TaskName;
  readonly element: HTMLElement;
  modelChanged(): void;
  stop(): Promise<void> | undefined;
  take(files: File[]): boolean;
}

/** What is special about a task. */
export interface Spec {
  id: string;
  title: string;
  task: TaskName;
  /** What it does, in a sentence. */
  lead: string;
  /** Which kind of model does it well. */
  suits: string;
  /** On the button. */
  action: string;
  /** Stands where the result will come. */
  hint: string;
  fields: HTMLElement[];
  /** Which of them a text that is dropped goes into. */
  text: HTMLTextAreaElement;
  /** Fills the fields in; the model may decide with what. */
  example(by: Support['by'] | undefined): void;
  /** Adapts hints and defaults to the loaded model. */
  adapt?(by: Support['by'] | undefined, frame: Frame): void;
  /** Does it, and gives the small print. */
  run(context: Context, output: Output): Promise<string>;
}

export class FormPane implements Pane {
  readonly id: string;
  readonly title: string;
  readonly task: TaskName;
  readonly element: HTMLElement;
  readonly #spec: Spec;
  readonly #frame: Frame;
  readonly #work: Work;
  readonly #output: Output;
  readonly #suited: Suited;

  constructor(spec: Spec, frame: Frame) {
    this.#spec = spec;
    this.#frame = frame;
    this.id = spec.id;
    this.title = spec.title;
    this.task = spec.task;
    this.#suited = new Suited(spec, frame);
    this.#output = new Output('Result', spec.hint);
    this.#work = new Work({
      frame,
      action: spec.action,
      isSubmit: true,
      unit: 'parts',
      run: (context) => this.#run(context),
      failed: (error) => this.#failed(error),
      cancelled: () => this.#output.finish('cancelled'),
    });
    const example = el('button', { type: 'button', class: 'quiet', onclick: () => this.#example() }, 'Run the example');
    const form = el(
      'form',
      { class: 'given' },
      ...spec.fields,
      el('p', { class: 'row' }, this.#work.start, this.#work.cancel, example),
      this.#work.progress,
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#work.begin();
    });
    this.element = card(spec, this.#suited.element, el('div', { class: 'work' }, form, this.#output.element));
    this.modelChanged();
    spec.example(this.#by);
  }

  get #by(): Support['by'] | undefined {
    return supportOf(this.#frame, this.task)?.by;
  }

  modelChanged(): void {
    const by = this.#by;
    this.#suited.show();
    this.#work.start.disabled = by === null;
    this.#spec.adapt?.(by, this.#frame);
  }

  stop(): Promise<void> | undefined {
    return this.#work.stop();
  }

  take([file]: File[]): boolean {
    if (file) void this.#read(file);
    return true;
  }

  async #read(file: File): Promise<void> {
    const text = await textOf(file);
    if ('refused' in text) this.#output.show(el('p', { class: 'error', role: 'alert' }, `${text.refused}.`));
    else this.#spec.text.value = text.text;
  }

  #example(): void {
    if (this.#work.isBusy) return;
    this.#spec.example(this.#by);
    if (this.#by !== null) this.#work.begin();
  }

  async #run(context: Context): Promise<string> {
    this.#output.clear();
    this.#output.finish('');
    this.#output.element.scrollIntoView({ block: 'nearest' });
    const figures = await this.#spec.run(context, this.#output);
    this.#output.finish(figures);
    return this.#output.text || this.#output.element.innerText;
  }

  #failed(error: unknown): void {
    const plain = taskError(error);
    this.#output.fail(plain);
    byId('announce', HTMLElement).textContent = plain.text;
  }
}

const MAX_FILE_BYTES = 4_000_000;

/** A text that a visitor brings, or why it is not taken. */
export async function textOf(file: File): Promise<{ text: string } | { refused: string }> {
  if (file.size > MAX_FILE_BYTES) return { refused: `${file.name} is larger than ${bytes(MAX_FILE_BYTES)}` };
  const text = await file.text();
  if (text.includes('\0')) return { refused: `${file.name} is not a text` };
  return text.trim() === '' ? { refused: `${file.name} is empty` } : { text };
}

export const supportOf = ({ engine }: Frame, task: TaskName): Support | undefined => engine && support(engine)[task];

export const card = ({ id, title, lead }: Pick<Spec, 'id' | 'title' | 'lead'>, ...parts: HTMLElement[]): HTMLElement =>
  el(
    'section',
    { class: 'card task', id: `task-${id}`, 'aria-labelledby': `task-${id}-title`, hidden: true },
    el('div', {}, el('h2', { id: `task-${id}-title` }, title), el('p', { class: 'fine' }, lead)),
    ...parts,
  );

/** How the loaded model does a task, or why not and what would. */
export class Suited {
  readonly element = el('div', { class: 'suited', role: 'note' });
  readonly #spec: Pick<Spec, 'task' | 'suits'>;
  readonly #frame: Frame;

  constructor(spec: Pick<Spec, 'task' | 'suits'>, frame: Frame) {
    this.#spec = spec;
    this.#frame = frame;
  }

  show(): void {
    const found = supportOf(this.#frame, this.#spec.task);
    this.element.toggleAttribute('data-unsuited', found?.by === null);
    const suits = el('span', {}, `Made for it: ${this.#spec.suits}.`);
    if (!found) return this.element.replaceChildren(el('p', { class: 'fine' }, suits));
    const line = el('p', { class: found.by === null ? '' : 'fine' }, supportLine(found), ' ');
    if (found.by !== null) return this.element.replaceChildren(line);
    line.append(suits);
    const change = el('button', { type: 'button' }, 'Load another model');
    change.addEventListener('click', () => void this.#frame.changeModel());
    this.element.replaceChildren(line, change);
  }
}
