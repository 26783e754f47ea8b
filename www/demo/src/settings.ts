// The sampling controls: one table drives the fields, their limits, and the parameters that a call gets.
import { el } from './dom.js';

interface Control {
  name: 'temperature' | 'top_p' | 'top_k' | 'min_p' | 'repeat_penalty' | 'max_tokens' | 'seed';
  label: string;
  hint: string;
  min: number;
  max: number;
  step: number;
  /** undefined: the field is empty, and the parameter is not sent. */
  value: number | undefined;
  slider: boolean;
}

const CONTROLS: Control[] = [
  {
    name: 'temperature',
    label: 'Temperature',
    hint: '0 always takes the likeliest token',
    min: 0,
    max: 2,
    step: 0.05,
    value: 0.8,
    slider: true,
  },
  {
    name: 'top_p',
    label: 'Top-p',
    hint: 'keeps the likeliest tokens up to this share',
    min: 0,
    max: 1,
    step: 0.01,
    value: 0.95,
    slider: true,
  },
  {
    name: 'min_p',
    label: 'Min-p',
    hint: 'drops tokens below this part of the best',
    min: 0,
    max: 1,
    step: 0.01,
    value: 0.05,
    slider: true,
  },
  {
    name: 'repeat_penalty',
    label: 'Repeat penalty',
    hint: '1 is off',
    min: 1,
    max: 2,
    step: 0.01,
    value: 1,
    slider: true,
  },
  {
    name: 'top_k',
    label: 'Top-k',
    hint: 'how many tokens are candidates',
    min: 1,
    max: 1_000_000,
    step: 1,
    value: 40,
    slider: false,
  },
  {
    name: 'max_tokens',
    label: 'Most tokens',
    hint: 'empty: as many as the context holds',
    min: 1,
    max: 1_000_000,
    step: 1,
    value: undefined,
    slider: false,
  },
  {
    name: 'seed',
    label: 'Seed',
    hint: 'empty: a new one for each answer',
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    step: 1,
    value: undefined,
    slider: false,
  },
];

export type Sampling = Partial<Record<Control['name'], number>>;

export class SamplingControls {
  readonly #fields = new Map<Control, HTMLInputElement>();

  constructor(target: HTMLElement) {
    for (const control of CONTROLS) target.append(this.#row(control));
    this.reset();
  }

  /** What the fields say now; empty fields are left out, values outside their limits are moved to the nearest. */
  values(): Sampling {
    const values: Sampling = {};
    for (const [{ name, min, max, step }, field] of this.#fields) {
      const value = field.valueAsNumber;
      if (Number.isNaN(value)) continue;
      const inside = Math.min(max, Math.max(min, value));
      values[name] = step === 1 ? Math.round(inside) : inside;
    }
    return values;
  }

  reset(): void {
    for (const [{ value }, field] of this.#fields) {
      field.value = value === undefined ? '' : String(value);
      field.dispatchEvent(new Event('input'));
    }
  }

  #row({ ...control }: Control): HTMLElement {
    const { name, label, hint, min, max, step, slider } = control;
    const id = `sampling-${name}`;
    const field = el('input', {
      id,
      type: slider ? 'range' : 'number',
      min,
      max,
      step,
      'aria-describedby': `${id}-hint`,
    });
    this.#fields.set(control, field);
    const row = el('div', { class: 'control' }, el('label', { for: id }, label));
    if (slider) {
      const shown = el('output', { for: id, class: 'figures' });
      field.addEventListener('input', () => (shown.value = Number(field.value).toFixed(2)));
      row.append(shown);
    } else {
      field.inputMode = 'numeric';
      field.placeholder = name === 'top_k' ? '' : 'automatic';
    }
    row.append(field, el('p', { id: `${id}-hint`, class: 'fine' }, hint));
    return row;
  }
}
