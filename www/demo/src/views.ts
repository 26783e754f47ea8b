// Which view is open is in the address, so that back, forward and reload lead where one was. A view beside the chat is fetched, its
// style sheet with it, when it is first opened.
import { byId, el } from './dom.js';
import type { Frame, View } from './frame.js';
import { errorBox } from './transcript.js';
import { plainError } from './words.js';

const NAMES = ['chat', 'compare', 'tasks', 'benchmarks'] as const;
type Name = (typeof NAMES)[number];

const TITLES: Record<Name, string> = {
  chat: 'kinglet: a small language model in this tab',
  compare: 'Compare · kinglet',
  tasks: 'Tasks · kinglet',
  benchmarks: 'Benchmarks · kinglet',
};

type Create = (frame: Frame, place: HTMLElement) => View;
const CODE: Record<Exclude<Name, 'chat'>, () => Promise<{ create: Create }>> = {
  compare: () => import('./compare/page.js'),
  tasks: () => import('./tasks/page.js'),
  benchmarks: () => import('./benchmarks/page.js'),
};

const SHEETS: Record<Exclude<Name, 'chat'>, string[]> = {
  compare: ['pages.css', 'compare/compare.css'],
  tasks: ['pages.css'],
  benchmarks: ['pages.css'],
};

/** "#tasks/translate" → the view, and what it is to open; of the chat, a conversation. Anything unknown is the chat. */
export function parseAddress(hash: string): { name: Name; path: string } {
  const [, name = '', path = ''] = /^#?([^/]*)\/?(.*)$/.exec(hash) ?? [];
  const known = NAMES.find((one) => one === name);
  return known ? { name: known, path } : { name: 'chat', path: '' };
}

export class Views {
  readonly #frame: Frame;
  readonly #openChat: (id: string) => Promise<void>;
  readonly #opened = new Map<Name, View>();
  readonly #links = [...byId('views', HTMLElement).querySelectorAll('a')];
  #name: Name = 'chat';
  #chatTitle = TITLES.chat;

  /** `openChat`: the address names a conversation, or with '' a new one. */
  constructor(frame: Frame, openChat: (id: string) => Promise<void>) {
    this.#frame = frame;
    this.#openChat = openChat;
    addEventListener('hashchange', () => void this.#show(true));
    byId('skip', HTMLAnchorElement).addEventListener('click', (event) => {
      event.preventDefault();
      const message = byId('message', HTMLTextAreaElement);
      if (this.isChat && message.offsetParent) message.focus();
      else sectionOf(this.#name).focus();
    });
    void this.#show(false);
  }

  get isChat(): boolean {
    return this.#name === 'chat';
  }

  /** The view beside the chat that is open. */
  get current(): View | undefined {
    return this.#opened.get(this.#name);
  }

  focus(): void {
    sectionOf(this.#name).focus({ preventScroll: true });
  }

  /** What is said in the chat has this address and title; both are empty where nothing has been said. */
  chatChanged(id: string, title: string): void {
    const hash = id ? `#chat/${id}` : '#chat';
    for (const link of this.#links) if (link.hash.startsWith('#chat')) link.hash = hash;
    this.#chatTitle = title ? `${title} · kinglet` : TITLES.chat;
    if (!this.isChat) return;
    document.title = this.#chatTitle;
    // An address that says nothing stays as it was: the first screen.
    if (id || location.hash) history.replaceState(null, '', hash);
  }

  modelChanged(): void {
    for (const view of this.#opened.values()) view.modelChanged();
  }

  /** Ends what runs in any of them. */
  async stop(): Promise<void> {
    await Promise.all([...this.#opened.values()].map((view) => view.stop()));
  }

  async #show(isMove: boolean): Promise<void> {
    const { name, path } = parseAddress(location.hash);
    const hasChanged = name !== this.#name;
    this.#name = name;
    document.body.dataset.view = name;
    document.title = name === 'chat' ? this.#chatTitle : TITLES[name];
    for (const other of Object.keys(TITLES) as Name[]) sectionOf(other).hidden = other !== name;
    for (const link of this.#links) {
      if (link.hash.split('/')[0] === `#${name}`) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    // One model, one card; it is where the visitor is.
    sectionOf(name).querySelector('.model-slot')?.append(byId('model-card', HTMLElement));
    if (isMove && hasChanged) this.focus();
    if (name === 'chat') await this.#openChat(path);
    else await this.#open(name, path);
  }

  async #open(name: Exclude<Name, 'chat'>, path: string): Promise<void> {
    const place = sectionOf(name).querySelector<HTMLElement>('.view-body');
    if (!place) return;
    if (!this.#opened.has(name)) {
      try {
        const [{ create }] = await Promise.all([CODE[name](), ...SHEETS[name].map(styleSheet)]);
        if (!this.#opened.has(name)) {
          place.replaceChildren();
          this.#opened.set(name, create(this.#frame, place));
        }
      } catch (error) {
        return place.replaceChildren(
          errorBox({ ...plainError(error), text: 'This page could not be fetched. Reload to try again.' }),
        );
      }
    }
    if (this.#name === name) this.#opened.get(name)?.open(path);
  }
}

const sectionOf = (name: Name): HTMLElement => byId(`view-${name}`, HTMLElement);

const sheets = new Map<string, Promise<void>>();

/** Resolves when it is applied, so that nothing is seen without it. */
function styleSheet(href: string): Promise<void> {
  const known = sheets.get(href);
  if (known) return known;
  const coming = new Promise<void>((resolve, reject) => {
    const link = el('link', { rel: 'stylesheet', href });
    link.onload = () => resolve();
    link.onerror = () => {
      sheets.delete(href);
      link.remove();
      reject(new Error(`${href} could not be fetched`));
    };
    document.head.append(link);
  });
  sheets.set(href, coming);
  return coming;
}
