// Find in my notes by meaning: notes that are pasted or dropped, an index of them in the page's memory, search as one types. The notes
// are kept when the model changes; the index, which is the model's, is made again.
import { SearchIndex, type SearchResult } from 'kinglet/tasks';
import { byId, el } from '../dom.js';
import { download, filePicker, labelled, textArea } from '../fields.js';
import type { Frame } from '../frame.js';
import type { Engine } from '../loader.js';
import { count, duration } from '../words.js';
import { type Context, Work } from '../work.js';
import { NOTES, NOTES_QUERY } from './examples.js';
import { Output } from './output.js';
import { card, type Pane, Suited, supportOf, textOf } from './pane.js';
import { type Note, notesOf, percent, taskError } from './words.js';

const SPEC = {
  id: 'search',
  title: 'Find in my notes',
  task: 'search',
  lead: 'By what they mean, not by their words: paste notes or choose text files, then search as you type.',
  suits: 'a model of embeddings, such as MiniLM, BGE, E5 or nomic-embed-text',
} as const;
const DEBOUNCE_MS = 200;
const TOP = 5;
const INDEX_NAME = 'notes.kinglet-index';
const IS_INDEX = /\.kinglet-index$/i;

export class SearchPane implements Pane {
  readonly id = SPEC.id;
  readonly title = SPEC.title;
  readonly task = SPEC.task;
  readonly element: HTMLElement;
  readonly #frame: Frame;
  readonly #suited: Suited;
  readonly #work: Work;
  readonly #pasted = textArea(10, 'One note after another, with an empty line between them');
  readonly #query = el('input', { type: 'search', placeholder: 'What are you looking for?', autocomplete: 'off' });
  readonly #state = el('p', { class: 'figures' });
  readonly #refused = el('div', { role: 'alert' });
  readonly #save = el('button', { type: 'button' }, 'Save the index');
  readonly #forget = el('button', { type: 'button', class: 'quiet' }, 'Forget all');
  readonly #output = new Output('Found', 'What is nearest comes here.');
  #notes: Note[] = [];
  /** Of the first notes, as many as it has. */
  #index: SearchIndex | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #search: AbortController | undefined;

  constructor(frame: Frame) {
    this.#frame = frame;
    this.#suited = new Suited(SPEC, frame);
    this.#work = new Work({
      frame,
      action: 'Add these notes',
      isSubmit: true,
      unit: 'notes',
      run: (context) => this.#add(context),
      failed: (error) => this.#failed(error),
      cancelled: () => this.#show(),
    });
    this.element = card(SPEC, this.#suited.element, this.#layout());
    this.#query.addEventListener('input', () => this.#typed());
    this.#save.addEventListener('click', () => this.#saveIndex());
    this.#forget.addEventListener('click', () => this.#forgetAll());
    this.#pasted.value = NOTES;
    this.#query.value = '';
    this.modelChanged();
  }

  #layout(): HTMLElement {
    const files = filePicker('Choose text files', {
      accept: '.txt,.md,.markdown,.text,.csv,.log,.kinglet-index,text/*',
      multiple: true,
      chosen: (chosen) => this.take(chosen),
    });
    const example = el('button', { type: 'button', class: 'quiet' }, 'Run the example');
    example.addEventListener('click', () => this.#example());
    const form = el(
      'form',
      { class: 'given' },
      labelled('Notes', this.#pasted),
      el('p', { class: 'row' }, this.#work.start, this.#work.cancel, files, example),
      this.#work.progress,
      this.#refused,
      this.#state,
      el('p', { class: 'row' }, this.#save, this.#forget),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#takePasted();
      this.#work.begin();
    });
    const found = el('div', { class: 'found' }, labelled('Search', this.#query), this.#output.element);
    return el('div', { class: 'work' }, form, found);
  }

  modelChanged(): void {
    this.#search?.abort();
    const { engine } = this.#frame;
    const isUnsuited = supportOf(this.#frame, this.task)?.by === null;
    this.#index = undefined;
    this.#suited.show();
    this.#work.start.disabled = isUnsuited || !engine;
    this.#show();
  }

  stop(): Promise<void> | undefined {
    clearTimeout(this.#timer);
    this.#search?.abort();
    return this.#work.stop();
  }

  take(files: File[]): boolean {
    this.#refused.replaceChildren();
    const saved = files.find(({ name }) => IS_INDEX.test(name));
    void (saved ? this.#load(saved) : this.#read(files));
    return true;
  }

  /** What is in the field becomes notes; those that are there already are not taken twice. */
  #takePasted(): void {
    this.#refused.replaceChildren();
    this.#take(notesOf(this.#pasted.value));
    this.#pasted.value = '';
  }

  #take(notes: readonly Note[]): void {
    const known = new Set(this.#notes.map(({ text }) => text));
    // A set takes what it has not yet, and tells by its size whether it has.
    for (const note of notes) if (known.size < known.add(note.text).size) this.#notes.push(note);
    this.#show();
  }

  async #read(files: File[]): Promise<void> {
    const refused: string[] = [];
    for (const file of files) {
      const found = await textOf(file);
      if ('refused' in found) refused.push(found.refused);
      else this.#take([{ title: file.name, text: found.text }]);
    }
    const said = refused.map((why) => el('p', { class: 'error' }, `${why}, so it was not taken.`));
    this.#refused.replaceChildren(...said);
    await this.#work.ended;
    if (this.#pending() > 0 && this.#canRun()) this.#work.begin();
  }

  #canRun(): boolean {
    return supportOf(this.#frame, this.task)?.by === 'embedding';
  }

  #example(): void {
    if (this.#work.isBusy) return;
    this.#pasted.value = NOTES;
    this.#query.value = NOTES_QUERY;
    if (!this.#canRun()) return;
    this.#takePasted();
    this.#work.begin();
  }

  readonly #pending = (): number => this.#notes.length - (this.#index?.size ?? 0);

  /** Takes into the index what is not in it yet, and searches again. */
  async #add({ engine, signal, onProgress }: Context): Promise<string> {
    const started = performance.now();
    const n = await this.#bring(engine, signal, onProgress);
    this.#show(n > 0 ? `${count(n)} read in ${duration(performance.now() - started)}` : '');
    if (await this.#find(engine, signal)) this.#output.element.scrollIntoView({ block: 'nearest' });
    return `${count(this.#notes.length)} notes can be searched.`;
  }

  async #bring(engine: Engine, signal: AbortSignal, onProgress?: Context['onProgress']): Promise<number> {
    const index = (this.#index ??= SearchIndex.create(engine));
    const notes = this.#notes.slice(index.size);
    if (notes.length === 0) return 0;
    await index.add(
      notes.map(({ title, text }) => ({ text, data: { title } })),
      { signal, ...(onProgress && { onProgress }) },
    );
    return notes.length;
  }

  #typed(): void {
    clearTimeout(this.#timer);
    this.#search?.abort();
    if (this.#work.isBusy) return; // it searches when it is done
    this.#timer = setTimeout(() => void this.#searchNow(), DEBOUNCE_MS);
  }

  async #searchNow(): Promise<void> {
    const { engine } = this.#frame;
    if (!engine || !this.#canRun() || this.#notes.length === 0) return;
    if (this.#pending() > 0) return this.#work.begin();
    const search = (this.#search = new AbortController());
    try {
      const best = await this.#find(engine, search.signal);
      if (best) byId('announce', HTMLElement).textContent = `Nearest: ${best}`;
    } catch (error) {
      if (!search.signal.aborted) this.#failed(error);
    }
  }

  /** Gives the passage that is nearest. */
  async #find(engine: Engine, signal: AbortSignal): Promise<string | undefined> {
    const query = this.#query.value.trim();
    if (query === '' || !this.#index || engine !== this.#frame.engine) {
      this.#output.clear();
      return undefined;
    }
    const started = performance.now();
    const found = await this.#index.search(query, { top: TOP, signal });
    this.#output.show(resultList(found));
    this.#output.finish(`${count(this.#index.size)} notes searched in ${duration(performance.now() - started)}`);
    return found[0]?.passage.text;
  }

  async #load(file: File): Promise<void> {
    await this.stop();
    const { engine } = this.#frame;
    if (!engine) {
      this.#output.show(el('p', { class: 'error', role: 'alert' }, 'Load the model first that made this index.'));
      return;
    }
    try {
      const index = SearchIndex.fromBytes(engine, new Uint8Array(await file.arrayBuffer()));
      this.#notes = savedNotes(index);
      this.#index = index;
      this.#show(`from ${file.name}`);
      void this.#searchNow();
    } catch (error) {
      this.#failed(error);
    }
  }

  #saveIndex(): void {
    if (this.#index) download(INDEX_NAME, 'application/octet-stream', this.#index.toBytes());
  }

  #forgetAll(): void {
    void this.stop();
    this.#notes = [];
    this.#index = undefined;
    this.#output.clear();
    this.#show();
  }

  #show(more = ''): void {
    const n = this.#notes.length;
    const waiting = this.#pending();
    const said = [n === 0 ? 'No notes yet' : n === 1 ? '1 note' : `${count(n)} notes`];
    if (!this.#frame.engine) said.push('load a model of embeddings to search them');
    if (n > 0 && waiting > 0)
      said.push(waiting === n ? 'not read by this model yet' : `${count(waiting)} not read yet`);
    if (more) said.push(more);
    this.#state.textContent = said.join(' · ');
    this.#save.disabled = (this.#index?.size ?? 0) === 0;
    this.#forget.disabled = n === 0;
  }

  #failed(error: unknown): void {
    const plain = taskError(error);
    this.#output.fail(plain);
    this.#show();
    byId('announce', HTMLElement).textContent = plain.text;
  }
}

function resultList(found: readonly SearchResult[]): HTMLElement {
  return el(
    'ol',
    { class: 'results' },
    ...found.map(({ score, passage, data }) => {
      const bar = el('span', { class: 'stripe small', 'aria-hidden': 'true' }, el('span', { class: 'stripe-fill' }));
      bar.style.setProperty('--part', String(Math.max(0, score)));
      const title = titleOf(data);
      const isOwnTitle = title === '' || passage.text.startsWith(title.replace(/…$/, ''));
      return el(
        'li',
        {},
        el('p', { class: 'row' }, bar, el('span', { class: 'figures' }, `${percent(Math.max(0, score))} alike`)),
        ...(isOwnTitle ? [] : [el('h3', {}, title)]),
        el('p', { class: 'passage' }, passage.text.trim()),
      );
    }),
  );
}

const titleOf = (data: unknown): string => {
  const title = (data as { title?: unknown } | null | undefined)?.title;
  return typeof title === 'string' ? title : '';
};

const savedNotes = (index: SearchIndex): Note[] =>
  index.ids.map((id) => {
    const { text = '', data } = index.get(id) ?? {};
    return { title: titleOf(data), text };
  });
