// The conversation as it is seen: one list item per message, with what can be done to it. Knows nothing of the engine.
import { el } from './dom.js';
import { MarkdownView } from './render.js';
import type { PlainError } from './words.js';

export class Transcript {
  readonly #list: HTMLElement;
  readonly #scroller: HTMLElement;

  constructor(list: HTMLElement, scroller: HTMLElement) {
    this.#list = list;
    this.#scroller = scroller;
  }

  clear(): void {
    this.#list.replaceChildren();
  }

  addUser(text: string): void {
    this.#list.append(
      el('li', { class: 'user' }, el('h3', { class: 'sr-only' }, 'You'), el('p', { class: 'said' }, text)),
    );
    this.scrollDown();
  }

  addAnswer(regenerate: () => void): AnswerView {
    for (const old of this.#list.querySelectorAll('button.regenerate')) old.remove();
    const view = new AnswerView(this, regenerate);
    this.#list.append(view.element);
    this.scrollDown();
    return view;
  }

  scrollDown(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Runs a change and stays at the end if the reader was there; who has scrolled up to read is left alone. */
  keepingPlace(change: () => void): void {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < 60;
    change();
    if (atEnd) this.scrollDown();
  }
}

/** One answer: text that grows at most once per frame, then figures and actions. */
export class AnswerView {
  readonly element: HTMLElement;
  readonly #transcript: Transcript;
  readonly #regenerate: () => void;
  readonly #body = el('div', { class: 'answer-text' });
  readonly #foot = el('p', { class: 'foot' });
  readonly #view = new MarkdownView(this.#body);
  #text = '';
  #frame = 0;

  constructor(transcript: Transcript, regenerate: () => void) {
    this.#transcript = transcript;
    this.#regenerate = regenerate;
    this.element = el(
      'li',
      { class: 'answer', 'aria-busy': 'true' },
      el('h3', { class: 'sr-only' }, 'Model'),
      this.#body,
      this.#foot,
    );
    this.#foot.append(el('span', { class: 'thinking' }, 'Reading'));
  }

  get text(): string {
    return this.#text;
  }

  append(more: string): void {
    if (this.#text === '' && more !== '') this.#foot.replaceChildren();
    this.#text += more;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** The answer is complete, or was stopped: shows the figures and the actions. */
  finish(figures: string): void {
    cancelAnimationFrame(this.#frame);
    this.#draw();
    this.element.removeAttribute('aria-busy');
    this.#transcript.keepingPlace(() => {
      this.#foot.replaceChildren(el('span', { class: 'figures' }, figures));
      if (this.#text) this.#foot.append(this.#copyButton());
      this.#foot.append(
        el('button', { type: 'button', class: 'quiet regenerate', onclick: this.#regenerate }, 'Regenerate'),
      );
    });
  }

  fail(error: PlainError): void {
    this.#transcript.keepingPlace(() => this.element.insertBefore(errorBox(error), this.#foot));
  }

  #draw(): void {
    this.#frame = 0;
    this.#transcript.keepingPlace(() => this.#view.show(this.#text));
  }

  #copyButton(): HTMLElement {
    const button = el('button', { type: 'button', class: 'quiet' }, 'Copy');
    button.addEventListener('click', async () => {
      const done = await navigator.clipboard.writeText(this.#text).then(
        () => true,
        () => false,
      );
      button.textContent = done ? 'Copied' : 'Copying was refused';
      setTimeout(() => (button.textContent = 'Copy'), 1500);
    });
    return button;
  }
}

/** An error in plain words, its code beside it, the engine's own words behind a disclosure. */
export function errorBox({ text, code, detail }: PlainError): HTMLElement {
  return el(
    'div',
    { class: 'error' },
    el('p', {}, text, ' ', el('code', {}, code)),
    el('details', {}, el('summary', {}, 'Details'), el('p', { class: 'fine' }, detail)),
  );
}
