// The conversations that are kept, beside the chat: a list by day with a search; each can be renamed, saved to a file and deleted.
// Deleting one asks nothing, deleting all of them does; both can be undone.
import { byId, el } from '../dom.js';
import { download } from '../fields.js';
import { wireSheet } from '../sheet.js';
import { plainError } from '../words.js';
import { fileName, fromJson, ImportError, toJson, toMarkdown } from './files.js';
import { Menu } from './menu.js';
import type { ConversationStore } from './store.js';
import { Toast } from './toast.js';
import { type Conversation, now, type Whole } from './types.js';

const announce = byId('announce', HTMLElement);

const SEARCH_WAIT_MS = 150;
const LONGEST_TITLE_CHARS = 200;
/** Beyond this a file is no export of this page. */
const LARGEST_FILE_BYTES = 64e6;

export interface ListOptions {
  store: ConversationStore;
  /** The id of the conversation that is shown. */
  current: () => string;
  /** Ends what is written to a conversation before it is deleted or saved to a file. */
  settle: (id: string) => Promise<void>;
  renamed: (id: string, title: string) => void;
  deleted: (id: string) => void;
  open: (id: string) => void;
}

export class ConversationList {
  readonly #options: ListOptions;
  readonly #place = byId('conversations', HTMLElement);
  readonly #search = byId('conversation-search', HTMLInputElement);
  readonly #menu = new Menu(byId('history', HTMLElement));
  readonly #toast = new Toast(byId('toast', HTMLElement));
  #shown: Conversation[] = [];
  #drawn = '';
  #turn = 0;
  #renaming = false;

  constructor(options: ListOptions) {
    this.#options = options;
    let wait = 0;
    this.#search.addEventListener('input', () => {
      clearTimeout(wait);
      wait = setTimeout(() => void this.refresh(true), SEARCH_WAIT_MS);
    });
    options.store.onChange(() => void this.refresh());
    byId('export-all', HTMLButtonElement).addEventListener('click', () => void this.#saveAll());
    wireSheet('delete-all', () => void this.#askWhetherAll());
    byId('delete-all-yes', HTMLButtonElement).addEventListener('click', () => void this.#deleteAll());
    const input = byId('import-file', HTMLInputElement);
    byId('import', HTMLButtonElement).addEventListener('click', () => input.click());
    input.addEventListener('change', () => {
      void this.import([...(input.files ?? [])]);
      input.value = ''; // so that the same choice is a change again
    });
  }

  /** Reads the list again; resolves to how many conversations there are that match the search. */
  async refresh(isSearch = false): Promise<number> {
    const turn = ++this.#turn;
    const wanted = this.#search.value.trim();
    const { store } = this.#options;
    const found = await (wanted ? store.search(wanted) : store.list());
    if (turn !== this.#turn || this.#renaming) return found.length; // a newer search is under way, or a title is written
    this.#shown = found;
    this.#draw(wanted);
    if (isSearch) announce.textContent = `${count(found.length)}.`;
    return found.length;
  }

  /** Adds the conversations of exported files. */
  async import(files: readonly File[]): Promise<void> {
    for (const file of files) {
      try {
        if (file.size > LARGEST_FILE_BYTES) throw new ImportError('This file is larger than any export of this page.');
        const wholes = fromJson(await file.text());
        await this.#options.store.saveAll(wholes);
        await this.refresh();
        const [first] = wholes;
        this.#toast.show(
          wholes.length === 1 && first
            ? `“${first.conversation.title}” was added.`
            : `${count(wholes.length)} were added.`,
        );
      } catch (error) {
        const why = error instanceof ImportError ? error.message : plainError(error).text;
        this.#toast.show(`${file.name} was not read. ${why}`);
      }
    }
  }

  #draw(wanted: string): void {
    const key = JSON.stringify([
      wanted,
      this.#options.current(),
      dayOf(Date.now()),
      this.#shown.map(({ id, title, updatedMs }) => [id, title, dayOf(updatedMs)]),
    ]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    const focused = document.activeElement?.closest('[data-conversation]')?.getAttribute('data-conversation');
    const groups = new Map<string, HTMLElement[]>();
    for (const one of this.#shown) {
      const group = groupOf(one.updatedMs);
      groups.set(group, [...(groups.get(group) ?? []), this.#item(one)]);
    }
    const parts = [...groups].flatMap(([name, items]) => [el('h3', {}, name), el('ul', {}, ...items)]);
    const nothing = wanted ? 'No title and no message holds these words.' : 'What you write will be listed here.';
    this.#place.replaceChildren(...(parts.length > 0 ? parts : [el('p', { class: 'fine' }, nothing)]));
    if (focused) this.#place.querySelector<HTMLElement>(`[data-conversation="${focused}"] a`)?.focus();
    for (const id of ['export-all', 'delete-all-open'])
      byId(id, HTMLButtonElement).disabled = this.#shown.length === 0 && wanted === '';
  }

  #item(one: Conversation): HTMLElement {
    const isOpen = one.id === this.#options.current();
    const link = el('a', { href: `#chat/${one.id}`, title: one.title }, one.title);
    if (isOpen) link.setAttribute('aria-current', 'page');
    const more = el(
      'button',
      { type: 'button', class: 'quiet more', 'aria-haspopup': 'menu', 'aria-label': `More for ${one.title}` },
      '⋯',
    );
    more.addEventListener('click', () =>
      this.#menu.open(more, [
        ['Rename', () => this.#rename(one)],
        ['Save as Markdown', () => void this.#saveOne(one, 'md')],
        ['Save as JSON', () => void this.#saveOne(one, 'json')],
        ['Delete', () => void this.#delete(one)],
      ]),
    );
    return el('li', { 'data-conversation': one.id }, link, more);
  }

  #rename(one: Conversation): void {
    // The list may have been drawn again while the menu was open.
    const item = this.#place.querySelector(`[data-conversation="${one.id}"]`);
    if (!item) return;
    const field = el('input', {
      type: 'text',
      'aria-label': 'Title',
      maxlength: LONGEST_TITLE_CHARS,
      autocomplete: 'off',
    });
    field.value = one.title;
    this.#renaming = true;
    let isOver = false;
    const end = async (isMeant: boolean): Promise<void> => {
      if (isOver) return;
      isOver = true;
      this.#renaming = false;
      const title = field.value.trim();
      const hadFocus = document.activeElement === field;
      if (isMeant && title && title !== one.title) {
        this.#options.renamed(one.id, title);
        const found = await this.#options.store.open(one.id); // it may have grown since it was listed
        if (found) await this.#options.store.save({ conversation: { ...found.conversation, title } });
      }
      this.#drawn = '';
      await this.refresh();
      if (hadFocus) this.#place.querySelector<HTMLElement>(`[data-conversation="${one.id}"] a`)?.focus();
    };
    field.addEventListener('keydown', (event) => {
      if (event.isComposing) return;
      if (event.key === 'Escape') event.stopPropagation();
      if (event.key === 'Escape' || event.key === 'Enter') void end(event.key === 'Enter');
    });
    field.addEventListener('blur', () => void end(true));
    item.replaceChildren(field);
    field.focus();
    field.select();
  }

  async #delete({ id, title }: Conversation): Promise<void> {
    const { store, settle, deleted } = this.#options;
    const place = this.#shown.findIndex((one) => one.id === id);
    await settle(id);
    const wasOpen = this.#options.current() === id;
    const whole = await store.delete(id);
    deleted(id);
    await this.refresh();
    const next = this.#shown[Math.min(place, this.#shown.length - 1)];
    const item = next && this.#place.querySelector<HTMLElement>(`[data-conversation="${next.id}"] a`);
    (item ?? this.#search).focus();
    if (!whole) return;
    this.#toast.show(`“${title}” was deleted.`, {
      label: 'Undo',
      run: async () => {
        await store.save(whole);
        await this.refresh();
        if (wasOpen) this.#options.open(id);
        this.#place.querySelector<HTMLElement>(`[data-conversation="${id}"] a`)?.focus();
      },
    });
  }

  /** All, whatever the search shows. */
  async #askWhetherAll(): Promise<void> {
    const { length } = await this.#options.store.list();
    byId('delete-all-text', HTMLElement).textContent =
      `This deletes ${count(length)} with every branch. What is deleted is kept nowhere else, unless you have saved it to a ` +
      'file. For some seconds you can take it back; later you cannot.';
  }

  async #deleteAll(): Promise<void> {
    const { store, settle, current, deleted, open } = this.#options;
    byId('delete-all', HTMLDialogElement).close();
    const wasOpen = current();
    await settle(wasOpen);
    const wholes = await store.deleteAll();
    if (wasOpen) deleted(wasOpen);
    await this.refresh();
    this.#search.focus();
    this.#toast.show(`${count(wholes.length)} ${wholes.length === 1 ? 'was' : 'were'} deleted.`, {
      label: 'Undo',
      run: async () => {
        await store.saveAll(wholes);
        await this.refresh();
        if (wasOpen) open(wasOpen);
        this.#place.querySelector<HTMLElement>('a')?.focus();
      },
    });
  }

  async #saveOne(one: Conversation, type: 'md' | 'json'): Promise<void> {
    await this.#options.settle(one.id);
    const found = await this.#options.store.open(one.id);
    if (!found) return;
    const whole: Whole = { ...found, tokens: [] };
    if (type === 'md') download(fileName(one.title, 'md'), 'text/markdown', toMarkdown(whole));
    else download(fileName(one.title, 'json'), 'application/json', toJson([whole]));
  }

  async #saveAll(): Promise<void> {
    const { store, settle, current } = this.#options;
    await settle(current());
    const found = await Promise.all((await store.list()).map(({ id }) => store.open(id)));
    const wholes = found.flatMap((one) => (one ? [{ ...one, tokens: [] }] : []));
    const day = new Date(now()).toISOString().slice(0, 10);
    download(`kinglet conversations ${day}.json`, 'application/json', toJson(wholes));
  }
}

const count = (n: number): string => (n === 1 ? '1 conversation' : `${n} conversations`);

const DAY_MS = 86_400_000;

/** The day, by the visitor's clock: days since 1970. */
function dayOf(ms: number): number {
  const date = new Date(ms);
  return Math.floor(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / DAY_MS);
}

function groupOf(ms: number): string {
  const days = dayOf(Date.now()) - dayOf(ms);
  if (days < 1) return 'Today';
  if (days < 2) return 'Yesterday';
  if (days < 7) return 'The last 7 days';
  return days < 30 ? 'The last 30 days' : 'Older';
}
