// The tasks page: six tasks, one shown at a time, each with an address of its own (`#tasks/translate`).
import { el } from '../dom.js';
import type { Frame, View } from '../frame.js';
import { classifying, filling } from './choosing.js';
import { FormPane, type Pane, supportOf } from './pane.js';
import { SearchPane } from './search.js';
import { answering, summarizing, translating } from './writing.js';

export function create(frame: Frame, place: HTMLElement): View {
  const panes: Pane[] = [
    ...[summarizing(), translating(), answering(), filling(), classifying()].map((spec) => new FormPane(spec, frame)),
    new SearchPane(frame),
  ];
  const links = panes.map(({ id, title }) =>
    el('a', { href: `#tasks/${id}` }, title, el('span', { class: 'sr-only' })),
  );
  place.append(
    el('nav', { class: 'task-list', 'aria-label': 'Tasks' }, ...links),
    ...panes.map(({ element }) => element),
  );
  return new TasksView(frame, panes, links);
}

class TasksView implements View {
  readonly #frame: Frame;
  readonly #panes: Pane[];
  readonly #links: HTMLAnchorElement[];
  #current: Pane;

  constructor(frame: Frame, panes: Pane[], links: HTMLAnchorElement[]) {
    this.#frame = frame;
    this.#panes = panes;
    this.#links = links;
    this.#current = panes[0] as Pane;
    this.#mark();
  }

  get dropHint(): string {
    return this.#current instanceof SearchPane
      ? 'Drop texts to search in, an index that was saved, or a model'
      : 'Drop a text for this task, or a model';
  }

  open(path: string): void {
    this.#current = this.#panes.find(({ id }) => id === path) ?? (this.#panes[0] as Pane);
    this.#panes.forEach((pane, i) => {
      pane.element.hidden = pane !== this.#current;
      if (pane === this.#current) this.#links[i]?.setAttribute('aria-current', 'true');
      else this.#links[i]?.removeAttribute('aria-current');
    });
  }

  modelChanged(): void {
    for (const pane of this.#panes) pane.modelChanged();
    this.#mark();
  }

  stop(): Promise<void> | undefined {
    const ended = this.#panes.map((pane) => pane.stop()).filter((running) => running !== undefined);
    return ended.length > 0 ? Promise.all(ended).then(() => undefined) : undefined;
  }

  take(files: File[]): boolean {
    return this.#current.take(files);
  }

  /** Which of them the loaded model can do is seen at a glance, and heard. */
  #mark(): void {
    this.#panes.forEach(({ task }, i) => {
      const found = supportOf(this.#frame, task);
      const isUnsuited = found?.by === null;
      this.#links[i]?.toggleAttribute('data-unsuited', isUnsuited);
      const note = this.#links[i]?.querySelector('span');
      if (note) note.textContent = isUnsuited ? ', not with this model' : '';
    });
  }
}
