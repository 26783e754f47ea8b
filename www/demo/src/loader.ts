// The model card on the first screen: what is offered, the progress of loading with its cancel button, and why it failed.
// Holds at most one engine; loading another closes the one before, so that two models are never in memory at once.
import { Kinglet, type ProgressEvent } from 'kinglet';
import { byId } from './dom.js';
import type { Device } from './device.js';
import { errorBox } from './transcript.js';
import { plainError, type PlainError, processor, progress } from './words.js';

export type Engine = Awaited<ReturnType<typeof Kinglet.load>>;
export type State = 'empty' | 'loading' | 'ready';

export const DEFAULT_MODEL = {
  name: 'SmolLM2 135M Instruct',
  url: 'models/SmolLM2-135M-Instruct.Q4_1.gguf',
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
};

/** A model as the page offers it; `sha256` only where the file is known beforehand. */
export interface Offer {
  name: string;
  source: string | File | File[] | { files: Record<string, File> };
  device: Device;
  sha256?: string;
}

/** How a model was loaded: for a report. */
export interface Loading {
  device: Device;
  /** An address, which the browser may have fetched before, or files of the visitor's. */
  from: 'address' | 'files';
  phases: { phase: ProgressEvent['phase']; afterMs: number }[];
  error?: PlainError;
}

const offer = byId('offer', HTMLElement);
const loading = byId('loading', HTMLElement);
const title = byId('loading-title', HTMLElement);
const bar = byId('progress', HTMLElement);
const text = byId('progress-text', HTMLElement);
const cancelButton = byId('cancel-load', HTMLButtonElement);
const failure = byId('load-error', HTMLElement);
const announce = byId('announce', HTMLElement);

export class Loader {
  engine: Engine | undefined;
  /** What the page calls the model; the name inside the file is often a working title. */
  name = '';
  /** The last one. */
  loading: Loading | undefined;
  readonly #changed: (state: State) => void;
  #abort: AbortController | undefined;

  constructor(changed: (state: State) => void) {
    this.#changed = changed;
    cancelButton.addEventListener('click', () => this.cancel());
  }

  get isLoading(): boolean {
    return this.#abort !== undefined;
  }

  cancel(): void {
    this.#abort?.abort();
  }

  /** Loads a model in place of the present one; resolves to whether it is ready. A load that is under way is cancelled. */
  async load(model: Offer): Promise<boolean> {
    this.cancel();
    const abort = (this.#abort = new AbortController());
    await this.unload();
    this.#showProgress(model.name);
    const loading: Loading = (this.loading = {
      device: model.device,
      from: typeof model.source === 'string' ? 'address' : 'files',
      phases: [],
    });
    const startedMs = performance.now();
    const note = (event: ProgressEvent): void => {
      if (loading.phases.at(-1)?.phase !== event.phase)
        loading.phases.push({ phase: event.phase, afterMs: performance.now() - startedMs });
      if (this.#abort === abort) showProgress(event);
    };
    try {
      const engine = await Kinglet.load(model.source, {
        device: model.device,
        signal: abort.signal,
        onProgress: note,
        ...(model.sha256 && { sha256: model.sha256 }),
      });
      if (this.#abort !== abort) {
        await engine.close();
        return false;
      }
      this.#abort = undefined;
      this.engine = engine;
      this.name = model.name;
      announce.textContent = `${model.name} is ready, on the ${processor(engine.info)}.`;
      this.#changed('ready');
      return true;
    } catch (error) {
      loading.error = plainError(error);
      if (this.#abort === abort) this.#failed(abort.signal.aborted ? undefined : error);
      return false;
    }
  }

  /** Gives the memory back and shows the offer again. */
  async unload(): Promise<void> {
    const engine = this.engine;
    this.engine = undefined;
    await engine?.close();
  }

  #showProgress(name: string): void {
    title.textContent = `Loading ${name}`;
    announce.textContent = `Loading ${name}.`;
    failure.hidden = offer.hidden = true;
    loading.hidden = false;
    showProgress({ phase: 'start', loadedBytes: 0, bytesPerSecond: 0 });
    this.#changed('loading');
  }

  #failed(error: unknown): void {
    this.#abort = undefined;
    this.showOffer();
    if (error === undefined) {
      announce.textContent = 'Loading was cancelled.';
    } else {
      const box = errorBox(plainError(error));
      box.querySelectorAll('details').forEach((details) => (details.open = true)); // it says what the file is instead
      failure.replaceChildren(box);
      failure.hidden = false;
      failure.scrollIntoView({ block: 'nearest' });
    }
  }

  showOffer(): void {
    offer.hidden = false;
    loading.hidden = failure.hidden = true;
    this.#changed('empty');
  }
}

const PHASES: Record<ProgressEvent['phase'], string> = {
  start: 'Starting the engine',
  check: 'Checking that the GPU computes right',
  download: '',
  finish: 'Checking the file',
  ready: 'Ready',
};

function showProgress({ phase, loadedBytes, totalBytes, bytesPerSecond, file }: ProgressEvent): void {
  const part = file && file.count > 1 ? `Part ${file.number} of ${file.count} · ` : '';
  const isLooking = part !== '' && totalBytes === undefined;
  text.textContent =
    PHASES[phase] ||
    (isLooking ? `${part}reading its header` : part + progress(loadedBytes, totalBytes, bytesPerSecond));
  const percent = totalBytes ? Math.floor((100 * loadedBytes) / totalBytes) : 0;
  bar.style.setProperty('--part', String(percent / 100));
  bar.toggleAttribute('data-unknown', !totalBytes);
  if (totalBytes) bar.setAttribute('aria-valuenow', String(percent));
  else bar.removeAttribute('aria-valuenow');
  bar.setAttribute('aria-valuetext', text.textContent);
}
