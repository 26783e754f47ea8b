// Models that were loaded from an address: offered again on the first screen. Only their addresses are kept, on this machine; files that
// were chosen cannot be opened again by a page.
import { byId, el } from './dom.js';

const KEY = 'kinglet.recent';
const MOST = 5;

interface Recent {
  name: string;
  url: string;
}

export class RecentModels {
  readonly #place = byId('recent', HTMLElement);
  readonly #load: (model: Recent) => void;
  #models = stored();

  constructor(load: (model: Recent) => void) {
    this.#load = load;
    this.#show();
  }

  /** It has just been loaded. */
  add(model: Recent): void {
    this.#models = [model, ...this.#models.filter(({ url }) => url !== model.url)].slice(0, MOST);
    this.#keep();
  }

  #forget(model: Recent): void {
    const at = this.#models.indexOf(model);
    this.#models = this.#models.filter((one) => one !== model);
    this.#keep();
    const left = this.#place.querySelectorAll<HTMLElement>('li .forget');
    (left[Math.min(at, left.length - 1)] ?? byId('load-default', HTMLButtonElement)).focus();
  }

  #keep(): void {
    this.#show();
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#models));
    } catch {
      // They still hold for this visit.
    }
  }

  #show(): void {
    this.#place.hidden = this.#models.length === 0;
    const items = this.#models.map((model) => {
      const { name, url } = model;
      const load = el('button', { type: 'button', title: url, onclick: () => this.#load(model) }, name);
      const forget = el(
        'button',
        { type: 'button', class: 'quiet forget', 'aria-label': `Forget ${name}`, onclick: () => this.#forget(model) },
        '×',
      );
      return el('li', {}, load, el('span', { class: 'fine' }, hostOf(url)), forget);
    });
    this.#place.replaceChildren(el('h3', { class: 'fine' }, 'Loaded before'), el('ul', {}, ...items));
  }
}

/** Where an address leads; the page's own has none. */
const hostOf = (url: string): string => {
  const { host } = new URL(url, document.baseURI);
  return host === location.host ? 'this page’s server' : host;
};

/** What is kept may have been written by anything on this origin. */
function stored(): Recent[] {
  try {
    const read: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    if (!Array.isArray(read)) return [];
    return read
      .flatMap((one: Partial<Recent> | null) =>
        typeof one?.name === 'string' && typeof one.url === 'string' && URL.canParse(one.url, document.baseURI)
          ? [{ name: one.name, url: one.url }]
          : [],
      )
      .slice(0, MOST);
  } catch {
    return [];
  }
}
