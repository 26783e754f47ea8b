// One line at the foot of the page about what has just been done, with what can still be done about it. It stays while it is pointed at or
// has the focus.
import { el } from '../dom.js';

const STAYS_MS = 12_000;

export class Toast {
  readonly #place: HTMLElement;
  #timer = 0;

  constructor(place: HTMLElement) {
    this.#place = place;
    for (const type of ['pointerenter', 'focusin']) place.addEventListener(type, () => clearTimeout(this.#timer));
    for (const type of ['pointerleave', 'focusout']) place.addEventListener(type, () => this.#wait());
  }

  show(text: string, action?: { label: string; run: () => Promise<void> }): void {
    const close = el(
      'button',
      { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: () => this.#hide() },
      '×',
    );
    const parts: Node[] = [el('span', {}, text)];
    if (action)
      parts.push(
        el(
          'button',
          {
            type: 'button',
            onclick: () => {
              this.#hide();
              void action.run();
            },
          },
          action.label,
        ),
      );
    this.#place.replaceChildren(...parts, close);
    this.#wait();
  }

  #wait(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#hide(), STAYS_MS);
  }

  #hide(): void {
    clearTimeout(this.#timer);
    this.#place.replaceChildren();
  }
}
