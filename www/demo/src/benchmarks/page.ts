// The benchmark page: how good the answers are, and how fast they come, each with an address of its own (`#benchmarks/speed`).
import { el } from '../dom.js';
import type { Frame, View } from '../frame.js';
import { AnswersPane } from './answers.js';
import { SpeedPane } from './speed.js';

/** A part of the page. */
export interface Pane extends Omit<View, 'open'> {
  /** In the address, behind `#benchmarks/`. */
  readonly path: string;
  readonly title: string;
  readonly element: HTMLElement;
}

export const create = (frame: Frame, place: HTMLElement): View => new BenchmarksView(frame, place);

class BenchmarksView implements View {
  readonly #panes: readonly Pane[];
  readonly #links: readonly HTMLAnchorElement[];
  #current: Pane;

  constructor(frame: Frame, place: HTMLElement) {
    this.#panes = [new AnswersPane(frame), new SpeedPane(frame)];
    this.#current = this.#panes[0] as Pane;
    this.#links = this.#panes.map(({ path, title }) =>
      el('a', { href: path === '' ? '#benchmarks' : `#benchmarks/${path}` }, title),
    );
    place.append(
      el('nav', { class: 'task-list', 'aria-label': 'Benchmarks' }, ...this.#links),
      ...this.#panes.map(({ element }) => element),
    );
  }

  get dropHint(): string {
    return this.#current.dropHint;
  }

  open(path: string): void {
    this.#current = this.#panes.find((pane) => pane.path === path) ?? (this.#panes[0] as Pane);
    this.#panes.forEach((pane, i) => {
      pane.element.hidden = pane !== this.#current;
      if (pane === this.#current) this.#links[i]?.setAttribute('aria-current', 'true');
      else this.#links[i]?.removeAttribute('aria-current');
    });
  }

  modelChanged(): void {
    for (const pane of this.#panes) pane.modelChanged();
  }

  stop(): Promise<void> | undefined {
    const ended = this.#panes.map((pane) => pane.stop()).filter((running) => running !== undefined);
    return ended.length > 0 ? Promise.all(ended).then(() => undefined) : undefined;
  }

  take(files: File[]): boolean {
    return this.#current.take(files);
  }
}
