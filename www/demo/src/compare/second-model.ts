// A second model for side B, beside the one that is loaded: from an address or from files. Both are in memory then; it is given back by a
// button.
import { Kinglet, type ProgressEvent } from 'kinglet';
import { el } from '../dom.js';
import { filePicker, labelled } from '../fields.js';
import type { Engine } from '../loader.js';
import { errorBox } from '../transcript.js';
import { bytes, modelName, plainError, processor, progress } from '../words.js';

export class SecondModel {
  readonly element: HTMLElement;
  engine: Engine | undefined;
  name = '';
  readonly #changed: () => void;
  readonly #url = el('input', {
    type: 'url',
    required: true,
    placeholder: 'https://…/model.gguf',
    autocomplete: 'off',
  });
  readonly #offer: HTMLElement;
  readonly #loading = el('p', { class: 'row', hidden: true });
  readonly #status = el('span', { class: 'figures', role: 'status' });
  readonly #loaded = el('p', { class: 'row', hidden: true });
  readonly #facts = el('span', { class: 'fine' });
  readonly #fault = el('div', { role: 'alert' });
  #abort: AbortController | undefined;

  constructor(changed: () => void) {
    this.#changed = changed;
    const form = el(
      'form',
      { class: 'url-row' },
      labelled('Address of a GGUF file or of a checkpoint’s folder', this.#url),
      el(
        'p',
        { class: 'row' },
        el('button', { type: 'submit' }, 'Load as B'),
        filePicker('Choose files', {
          accept: '.gguf,.json,.safetensors,.jinja',
          multiple: true,
          chosen: (files) => void this.#load(modelName(files.map(({ name }) => name)), files),
        }),
      ),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const name = modelName([this.#url.value.split(/[?#]/)[0] ?? ''])
        .split('/')
        .at(-1);
      void this.#load(name || this.#url.value, this.#url.value);
    });
    const hint = el('p', { class: 'fine' }, 'Both models are in memory at once.');
    this.#offer = el('details', {}, el('summary', {}, 'Another model for B'), form, hint);
    const cancel = el('button', { type: 'button', onclick: () => this.#abort?.abort() }, 'Cancel');
    this.#loading.append(this.#status, cancel);
    const back = el('button', { type: 'button', onclick: () => void this.#giveBack() }, 'Back to A’s model');
    this.#loaded.append(this.#facts, back);
    this.element = el('div', { class: 'second-model' }, this.#offer, this.#loading, this.#loaded, this.#fault);
  }

  async #load(name: string, source: string | File[]): Promise<void> {
    if (this.#abort || (Array.isArray(source) && source.length === 0)) return;
    const abort = (this.#abort = new AbortController());
    this.#fault.replaceChildren();
    this.#show('loading');
    try {
      const onProgress = (event: ProgressEvent): void => {
        this.#status.textContent = `Loading ${name} · ${progress(event.loadedBytes, event.totalBytes, event.bytesPerSecond)}`;
      };
      this.engine = await Kinglet.load(source, { signal: abort.signal, onProgress });
      this.name = name;
      const { info } = this.engine;
      const size = Object.values(info.memory).reduce((sum, part) => sum + part, 0);
      this.#facts.textContent = `${info.quantization} · ${processor(info)} · ${bytes(size)} in memory`;
      this.#show('loaded');
    } catch (error) {
      this.#show('offer');
      if (!abort.signal.aborted) this.#fault.replaceChildren(errorBox(plainError(error)));
    } finally {
      this.#abort = undefined;
      this.#changed();
    }
  }

  async #giveBack(): Promise<void> {
    const { engine } = this;
    this.engine = undefined;
    this.#show('offer');
    this.#changed();
    this.#offer.querySelector('summary')?.focus();
    await engine?.close();
  }

  #show(state: 'offer' | 'loading' | 'loaded'): void {
    this.#offer.hidden = state !== 'offer';
    this.#loading.hidden = state !== 'loading';
    this.#loaded.hidden = state !== 'loaded';
  }
}
