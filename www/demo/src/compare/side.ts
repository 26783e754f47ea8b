// One side of a comparison: its settings, its answer, and how it was written.
import type { ChatMessage } from 'kinglet';
import { copyButton } from '../copy.js';
import { el } from '../dom.js';
import { labelled, textArea } from '../fields.js';
import { generate } from '../generation.js';
import type { Engine } from '../loader.js';
import { MarkdownView } from '../render.js';
import { Run } from '../run.js';
import { SamplingControls } from '../settings.js';
import { errorBox } from '../transcript.js';
import { plainError } from '../words.js';

export class Side {
  readonly element: HTMLElement;
  readonly label: string;
  /** What was answered. */
  text = '';
  readonly #name = el('span', { class: 'model-name' });
  readonly #sampling: SamplingControls;
  readonly #system = textArea(2, 'Left empty, the model’s own is used.');
  readonly #body = el('div', { class: 'answer-text' });
  readonly #fault = el('div', { role: 'alert' });
  readonly #foot = el('div', { class: 'foot' });
  #view = new MarkdownView(this.#body);
  #frame = 0;

  /** `model`: what this side can choose of models. */
  constructor(label: string, { preset, model }: { preset: string; model?: HTMLElement }) {
    this.label = label;
    const id = `compare-${label.toLowerCase()}`;
    const sampling = el('div', { class: 'side-sampling' });
    this.#sampling = new SamplingControls(sampling, { idStart: id });
    this.#sampling.choose(preset);
    // The same seed on both sides: what differs comes of the settings, not of the draw.
    this.#sampling.set({ seed: 1, max_tokens: 256 });
    const summary = el('summary', {}, 'Settings: ', this.#sampling.name);
    this.element = el(
      'section',
      { class: 'card side', 'aria-labelledby': `${id}-title` },
      el('h2', { id: `${id}-title` }, `${label} · `, this.#name),
      el('details', {}, summary, labelled('System prompt', this.#system), sampling),
      ...(model ? [model] : []),
      this.#body,
      this.#fault,
      this.#foot,
    );
  }

  named(name: string): void {
    this.#name.textContent = name;
  }

  clear(): void {
    this.text = '';
    this.#view = new MarkdownView(this.#body);
    for (const part of [this.#body, this.#fault, this.#foot]) part.replaceChildren();
  }

  fail(error: unknown): void {
    this.#fault.replaceChildren(errorBox(plainError(error)));
  }

  /** Writes the answer; a fault is shown here. Rejects where it was stopped. */
  async answer(engine: Engine, text: string, signal: AbortSignal): Promise<void> {
    this.clear();
    this.element.setAttribute('aria-busy', 'true');
    this.#foot.append(el('span', { class: 'thinking' }, 'Reading'));
    const system = this.#system.value.trim();
    const messages: ChatMessage[] = [
      ...(system ? [{ role: 'system' as const, content: system }] : []),
      { role: 'user', content: text },
    ];
    const asked = { messages, sampling: this.#sampling.values(), probabilities: false };
    const run = new Run();
    try {
      for await (const piece of generate(engine, asked, signal)) {
        this.text += piece.text;
        run.take(piece);
        this.#frame ||= requestAnimationFrame(() => this.#draw());
      }
    } catch (error) {
      if (signal.aborted) throw error;
      this.fail(error);
    } finally {
      this.#finish(run, signal.aborted);
    }
  }

  #finish(run: Run, wasStopped: boolean): void {
    cancelAnimationFrame(this.#frame);
    this.#draw();
    this.element.removeAttribute('aria-busy');
    const figures = run.summary(wasStopped ? 'stopped' : (run.end ?? 'failed'));
    this.#foot.replaceChildren(el('span', { class: 'figures' }, figures));
    if (this.text) this.#foot.append(copyButton(() => this.text));
  }

  #draw(): void {
    this.#frame = 0;
    this.#view.show(this.text);
  }
}
