// What a task brings: a text that grows at most once per frame, bars, or what went wrong; and its figures in small print.
import { el } from '../dom.js';
import { errorBox } from '../transcript.js';
import type { PlainError } from '../words.js';
import { percent } from './words.js';

export class Output {
  readonly element: HTMLElement;
  readonly #hint: string;
  readonly #body = el('div', { class: 'output-body' });
  readonly #figures = el('span', { class: 'figures' });
  readonly #foot: HTMLElement;
  readonly #copy = el('button', { type: 'button', class: 'quiet', hidden: true }, 'Copy');
  #text = '';
  #paragraph: HTMLElement | undefined;
  #frame = 0;

  /** `hint` stands where nothing has come yet. */
  constructor(label: string, hint: string) {
    this.#hint = hint;
    this.#foot = el('p', { class: 'foot' }, this.#figures, this.#copy);
    this.#copy.addEventListener('click', () => void this.#copyText());
    this.element = el('div', { class: 'output', role: 'group', 'aria-label': label }, this.#body, this.#foot);
    this.clear();
  }

  get text(): string {
    return this.#text;
  }

  clear(): void {
    this.#end();
    this.#text = '';
    this.#body.replaceChildren(el('p', { class: 'hint' }, this.#hint));
    this.#foot.hidden = true;
    this.#copy.hidden = true;
  }

  /** More of a text. */
  write(piece: string): void {
    this.#text += piece;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  show(...nodes: Node[]): void {
    this.#end();
    this.#body.replaceChildren(...nodes);
  }

  add(...nodes: Node[]): void {
    this.#draw();
    this.#body.append(...nodes);
  }

  finish(figures: string): void {
    this.#draw();
    this.#figures.textContent = figures;
    this.#foot.hidden = figures === '';
    this.#copy.hidden = this.#text === '';
  }

  /** What has come stays. */
  fail(error: PlainError): void {
    this.#draw();
    if (this.#text === '') this.show(errorBox(error));
    else this.#body.append(errorBox(error));
  }

  #draw(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#text === '') return;
    if (!this.#paragraph) {
      this.#paragraph = el('p', { class: 'written' });
      this.#body.replaceChildren(this.#paragraph);
    }
    this.#paragraph.textContent = this.#text;
  }

  #end(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#paragraph = undefined;
  }

  async #copyText(): Promise<void> {
    const done = await navigator.clipboard.writeText(this.#text).then(
      () => true,
      () => false,
    );
    this.#copy.textContent = done ? 'Copied' : 'Copying was refused';
    setTimeout(() => (this.#copy.textContent = 'Copy'), 1500);
  }
}

/** A list of shares, each with its bar. */
export function bars(label: string, rows: readonly { name: string; share: number }[]): HTMLElement {
  return el(
    'ol',
    { class: 'bars', 'aria-label': label },
    ...rows.map(({ name, share }) => {
      const bar = el('span', { class: 'stripe small', 'aria-hidden': 'true' }, el('span', { class: 'stripe-fill' }));
      bar.style.setProperty('--part', String(Math.max(0, Math.min(1, share))));
      return el('li', {}, el('span', { class: 'name' }, name), bar, el('span', { class: 'figures' }, percent(share)));
    }),
  );
}
