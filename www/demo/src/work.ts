// Work that a view begins: the button that starts it, one that cancels it, how far it is. A fault is shown, never thrown.
import type { ItemProgress } from 'kinglet';
import { byId, el } from './dom.js';
import type { Frame } from './frame.js';
import type { Engine } from './loader.js';
import { count } from './words.js';

export interface Context {
  engine: Engine;
  signal: AbortSignal;
  onProgress(progress: ItemProgress): void;
}

export interface WorkOptions {
  frame: Frame;
  /** On the button. */
  action: string;
  /** Whether the button sends the form that it is in. */
  isSubmit?: boolean;
  /** What a progress counts, such as `parts`. */
  unit: string;
  /** Gives what a screen reader says at the end. */
  run(context: Context): Promise<string>;
  failed(error: unknown): void;
  /** It was cancelled. */
  cancelled(): void;
}

export class Work {
  readonly start: HTMLButtonElement;
  readonly cancel = el('button', { type: 'button', class: 'primary', hidden: true }, 'Cancel');
  /** A bar and how far it is; hidden while nothing runs. */
  readonly progress: HTMLElement;
  readonly #bar: HTMLElement;
  readonly #status = el('span', { class: 'figures' });
  readonly #options: WorkOptions;
  #abort: AbortController | undefined;
  #running: Promise<void> | undefined;
  #isWaiting = false;

  constructor(options: WorkOptions) {
    this.#options = options;
    const { action, isSubmit = false } = options;
    this.start = el('button', { type: isSubmit ? 'submit' : 'button', class: 'primary' }, action);
    if (!isSubmit) this.start.addEventListener('click', () => this.begin());
    this.cancel.addEventListener('click', () => void this.stop());
    this.#bar = el(
      'span',
      { class: 'stripe small', role: 'progressbar', 'aria-label': action, 'aria-valuemin': 0, 'aria-valuemax': 100 },
      el('span', { class: 'stripe-fill' }),
    );
    this.progress = el('p', { class: 'work-progress', hidden: true }, this.#bar, this.#status);
  }

  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  /** Where no model is loaded, the default one is loaded first. */
  begin(): void {
    if (this.#running || this.#isWaiting) return;
    if (this.#options.frame.engine) return this.#run(this.#options.frame.engine);
    void this.#load();
  }

  async #load(): Promise<void> {
    // Loading stops whatever runs, so this is not among it yet.
    this.#isWaiting = this.start.disabled = true;
    this.progress.hidden = false;
    this.say('The model is loaded first', undefined);
    const engine = await this.#options.frame.ready();
    this.#isWaiting = this.start.disabled = false;
    this.progress.hidden = true;
    if (engine) this.#run(engine);
    else this.#options.cancelled();
  }

  #run(engine: Engine): void {
    const abort = (this.#abort = new AbortController());
    this.#show(true);
    this.#running = this.#work(engine, abort.signal).finally(() => {
      this.#running = this.#abort = undefined;
      this.#show(false);
    });
  }

  /** Resolves when what runs has ended. */
  get ended(): Promise<void> | undefined {
    return this.#running;
  }

  /** Resolves when it has ended; undefined where nothing ran. */
  stop(): Promise<void> | undefined {
    this.#abort?.abort();
    return this.#running;
  }

  /** Says how far it is; `part` is 0…1, or undefined where that is not known. */
  say(text: string, part: number | undefined): void {
    this.#status.textContent = text;
    this.#bar.toggleAttribute('data-unknown', part === undefined);
    if (part === undefined) this.#bar.removeAttribute('aria-valuenow');
    else this.#bar.setAttribute('aria-valuenow', String(Math.round(100 * part)));
    this.#bar.setAttribute('aria-valuetext', text);
    this.#bar.style.setProperty('--part', String(part ?? 0));
  }

  async #work(engine: Engine, signal: AbortSignal): Promise<void> {
    const { run, failed, cancelled, unit } = this.#options;
    const announce = byId('announce', HTMLElement);
    try {
      this.say('Working', undefined);
      announce.textContent = 'Working.';
      announce.textContent = await run({
        engine,
        signal,
        onProgress: ({ done, total }) => {
          if (total > 1) this.say(`${count(done)} of ${count(total)} ${unit}`, done / total);
        },
      });
    } catch (error) {
      if (signal.aborted) {
        cancelled();
        announce.textContent = 'Cancelled.';
      } else failed(error);
    }
  }

  #show(isBusy: boolean): void {
    const { activeElement } = document;
    const hadFocus = activeElement === this.start || activeElement === this.cancel;
    this.start.hidden = isBusy;
    this.cancel.hidden = this.progress.hidden = !isBusy;
    if (hadFocus) (isBusy ? this.cancel : this.start).focus();
  }
}
