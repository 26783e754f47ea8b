// The panel of conversations: beside the chat where there is room, over it where there is not. Whether it is open beside the chat is
// remembered on this machine.
import { byId } from './dom.js';

const KEY = 'kinglet.conversations';

export class HistoryPanel {
  readonly #panel = byId('history', HTMLElement);
  readonly #toggle = byId('history-toggle', HTMLButtonElement);
  /** As history.css has it. */
  readonly #wide = matchMedia('(min-width: 75rem)');

  constructor() {
    this.#toggle.addEventListener('click', () => {
      this.#show(!this.#isOpen);
      if (this.#wide.matches) remember(this.#isOpen);
      // On a phone the focus in a field would call the keyboard.
      if (this.#isOpen) byId(this.isOver ? 'history-close' : 'conversation-search', HTMLElement).focus();
    });
    byId('history-close', HTMLButtonElement).addEventListener('click', () => this.close());
    byId('history-shade', HTMLElement).addEventListener('click', () => this.close());
    this.#wide.addEventListener('change', () => this.#show(false));
  }

  /** It lies over the chat. */
  get isOver(): boolean {
    return this.#isOpen && !this.#wide.matches;
  }

  get #isOpen(): boolean {
    return this.#panel.hasAttribute('data-open');
  }

  /** On a wide page it is open from the beginning where there is something in it. */
  begin(hasConversations: boolean): void {
    if (this.#wide.matches && hasConversations && remembered() !== 'closed') this.#show(true);
  }

  /** Where it lies over the chat it goes away. */
  close(): void {
    if (!this.isOver) return;
    const hadFocus = this.#panel.contains(document.activeElement);
    this.#show(false);
    if (hadFocus) this.#toggle.focus();
  }

  #show(isOpen: boolean): void {
    this.#panel.toggleAttribute('data-open', isOpen);
    byId('history-shade', HTMLElement).hidden = !this.isOver;
    for (const beneath of document.querySelectorAll('header, main, #panel'))
      beneath.toggleAttribute('inert', this.isOver);
    this.#toggle.setAttribute('aria-expanded', String(isOpen));
  }
}

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function remember(isOpen: boolean): void {
  try {
    localStorage.setItem(KEY, isOpen ? 'open' : 'closed');
  } catch {
    // It still holds for this visit.
  }
}
