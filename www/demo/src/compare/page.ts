// The compare page: one message, two answers beside each other, by two settings of a model or by two models. They are written one after
// the other, so that neither slows the other down and the figures can be compared.
import { byId, el } from '../dom.js';
import { labelled, textArea } from '../fields.js';
import type { Frame, View } from '../frame.js';
import { type Context, Work } from '../work.js';
import { SecondModel } from './second-model.js';
import { Side } from './side.js';
import { parting } from './words.js';

export const create = (frame: Frame, place: HTMLElement): View => new CompareView(frame, place);

class CompareView implements View {
  readonly dropHint = 'Drop a model to load it in the place of A’s';
  readonly #frame: Frame;
  readonly #message = textArea(3, 'Ask both the same');
  readonly #work: Work;
  readonly #second: SecondModel;
  readonly #sides: readonly [Side, Side];
  readonly #verdict = el('p', { class: 'verdict', role: 'status' });

  constructor(frame: Frame, place: HTMLElement) {
    this.#frame = frame;
    this.#second = new SecondModel(() => this.modelChanged());
    this.#sides = [
      new Side('A', { preset: 'Balanced' }),
      new Side('B', { preset: 'Exact', model: this.#second.element }),
    ];
    this.#work = new Work({
      frame,
      action: 'Answer twice',
      isSubmit: true,
      unit: 'answers',
      run: (context) => this.#run(context),
      failed: (error) => this.#sides[0].fail(error),
      cancelled: () => {},
    });
    const form = el(
      'form',
      { class: 'card' },
      labelled('Message', this.#message),
      el('p', { class: 'row' }, this.#work.start, this.#work.cancel, this.#work.progress),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.#message.value.trim() === '') return this.#message.focus();
      this.#work.begin();
    });
    this.#message.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    place.append(form, this.#verdict, el('div', { class: 'sides' }, ...this.#sides.map(({ element }) => element)));
    this.modelChanged();
  }

  open(): void {}

  modelChanged(): void {
    const name = this.#frame.engine ? this.#frame.modelName : 'The model that is loaded';
    this.#sides[0].named(name);
    this.#sides[1].named(this.#second.engine ? this.#second.name : name);
  }

  stop(): Promise<void> | undefined {
    return this.#work.stop();
  }

  take(): boolean {
    return false;
  }

  async #run({ engine, signal }: Context): Promise<string> {
    const [a, b] = this.#sides;
    const text = this.#message.value.trim();
    this.#verdict.textContent = '';
    b.clear();
    const show = (side: Side, part: number): void => this.#work.say(`${side.label} is answering`, part);
    show(a, 0.25);
    await a.answer(engine, text, signal);
    show(b, 0.75);
    // The other model may have been given back meanwhile: then B is A's model again, as its heading says.
    await b.answer(this.#second.engine ?? engine, text, signal);
    this.#verdict.textContent = parting(a.text, b.text);
    byId('announce', HTMLElement).textContent = this.#verdict.textContent;
    return `A: ${a.text}\nB: ${b.text}\n${this.#verdict.textContent}`;
  }
}
