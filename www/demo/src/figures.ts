// The figures beside the chat: how fast the answer is written, what the context holds, how much memory it takes.
import type { Info } from 'kinglet';
import { byId, el } from './dom.js';
import type { Run } from './run.js';
import { bytes, count, duration } from './words.js';

export class Figures {
  readonly #list = byId('figures', HTMLElement);
  readonly #values = new Map<string, HTMLElement>();

  constructor() {
    this.#show('Writing', '–');
    this.#show('First token', '–');
    this.#show('Reading', '–');
  }

  run(run: Run | undefined): void {
    const speed = run?.tokensPerSecond;
    byId('speed', HTMLElement).textContent = speed === undefined ? '' : `${speed.toFixed(1)} tok/s`;
    this.#show('Writing', speed === undefined ? '–' : `${speed.toFixed(1)} tok/s`);
    const after = run?.firstAfterMs;
    this.#show('First token', after === undefined ? '–' : `after ${duration(after)}`);
    this.#show('Reading', run ? readingOf(run) : '–');
    const { draft_n = 0, draft_n_accepted = 0 } = run?.timings ?? {};
    this.#show('Guessed ahead', draft_n > 0 ? `${count(draft_n_accepted)} of ${count(draft_n)} right` : '');
  }

  /** What the context holds, of how many tokens. */
  context(tokens: number, total: number): void {
    const text = total ? `${count(tokens)} of ${count(total)} tokens` : '';
    byId('context-text', HTMLElement).textContent = text;
    byId('context-meter', HTMLElement).style.setProperty('--part', String(total ? Math.min(1, tokens / total) : 0));
    this.#show('In the context', text);
  }

  model(info: Info): void {
    const all = Object.values(info.memory).reduce((sum, size) => sum + size, 0);
    this.#show('Memory of the model', bytes(all));
  }

  /** An empty value takes its row away. */
  #show(name: string, value: string): void {
    const known = this.#values.get(name);
    if (value === '') {
      known?.previousElementSibling?.remove();
      known?.remove();
      this.#values.delete(name);
    } else if (known) {
      if (known.textContent !== value) known.textContent = value;
    } else {
      const place = el('dd', {}, value);
      this.#values.set(name, place);
      this.#list.append(el('dt', {}, name), place);
    }
  }
}

/** "132 tokens at 311 tok/s, 96 known from before". */
function readingOf({ usage, timings }: Run): string {
  if (!timings) return '–';
  const { prompt_n, prompt_ms } = timings;
  const cached = usage?.prompt_tokens_details.cached_tokens ?? 0;
  const speed = prompt_n > 0 && prompt_ms > 0 ? ` at ${((1000 * prompt_n) / prompt_ms).toFixed(0)} tok/s` : '';
  return `${count(prompt_n)} tokens${speed}${cached > 0 ? `, ${count(cached)} known from before` : ''}`;
}
