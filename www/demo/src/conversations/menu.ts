// A small menu at a button: arrow keys, Escape, a click elsewhere closes it.
import { el } from '../dom.js';

type Entry = readonly [label: string, run: () => void];

export class Menu {
  readonly #element = el('div', { class: 'menu', role: 'menu', popover: 'auto' });
  #button: HTMLElement | undefined;

  /** `place`: the landmark that it belongs to. */
  constructor(place: HTMLElement) {
    place.append(this.#element);
    this.#element.addEventListener('keydown', (event) => this.#key(event));
    this.#element.addEventListener('toggle', (event) => {
      if ((event as ToggleEvent).newState === 'closed') this.#button?.removeAttribute('aria-expanded');
    });
    // What it belongs to moves away below it.
    addEventListener('resize', () => this.#element.hidePopover());
    document.addEventListener('scroll', () => this.#element.hidePopover(), true);
  }

  open(button: HTMLElement, entries: readonly Entry[]): void {
    this.#button = button;
    this.#element.replaceChildren(
      ...entries.map(([label, run]) =>
        el(
          'button',
          {
            type: 'button',
            role: 'menuitem',
            tabindex: -1,
            onclick: () => {
              this.#element.hidePopover();
              button.focus();
              run();
            },
          },
          label,
        ),
      ),
    );
    this.#element.setAttribute('aria-label', button.getAttribute('aria-label') ?? 'More');
    this.#element.showPopover();
    button.setAttribute('aria-expanded', 'true');
    const { left, bottom, top } = button.getBoundingClientRect();
    const { offsetWidth, offsetHeight } = this.#element;
    const isBelow = bottom + offsetHeight + 8 < innerHeight;
    this.#element.style.left = `${Math.max(8, Math.min(left, innerWidth - offsetWidth - 8))}px`;
    this.#element.style.top = `${isBelow ? bottom + 4 : Math.max(8, top - offsetHeight - 4)}px`;
    this.#items[0]?.focus();
  }

  get #items(): HTMLElement[] {
    return [...this.#element.children] as HTMLElement[];
  }

  #key(event: KeyboardEvent): void {
    const items = this.#items;
    const at = items.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === 'Escape' || event.key === 'Tab') {
      event.stopPropagation();
      event.preventDefault();
      this.#element.hidePopover();
      this.#button?.focus();
    }
    if (to === undefined) return;
    event.preventDefault();
    items.at(to % items.length)?.focus();
  }
}
