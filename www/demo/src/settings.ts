// The sampling controls: one table drives the fields, their limits, and the parameters that a call gets. What the visitor sets can be kept
// in this browser.
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

type Preset = readonly [name: string, hint: string, values: Partial<Record<Control['name'], number>>];

/** How many tokens and which seed are no matter of taste, so no preset changes them. */
const PRESETS: readonly Preset[] = [
  ['Balanced', 'the package’s own', { temperature: 0.8, top_p: 0.95, min_p: 0.05, repeat_penalty: 1, top_k: 40 }],
  [
    'Exact',
    'always the likeliest token, so the same answer every time',
    { temperature: 0, top_p: 0.95, min_p: 0.05, repeat_penalty: 1, top_k: 40 },
  ],
  [
    'Careful',
    'keeps to what is likely; for facts and code',
    { temperature: 0.4, top_p: 0.9, min_p: 0.1, repeat_penalty: 1, top_k: 40 },
  ],
  [
    'Lively',
    'takes more risks; for stories and ideas',
    { temperature: 1.2, top_p: 0.98, min_p: 0.08, repeat_penalty: 1.05, top_k: 100 },
  ],
];
const OWN = 'Your own';

export type Sampling = Partial<Record<Control['name'], number>>;

export class SamplingControls {
  readonly #fields = new Map<Control, HTMLInputElement>();
  readonly #preset: HTMLSelectElement;
  /** The name of the preset, as it changes. */
  readonly name = el('span');
  readonly #hint = el('p', { class: 'fine' });
  readonly #idStart: string;
  readonly #key: string | undefined;

  /** `idStart`: ids of fields begin with it. `key`: what the browser keeps them by, if it is to. */
  constructor(target: HTMLElement, { idStart = 'sampling', key }: { idStart?: string; key?: string } = {}) {
    this.#idStart = idStart;
    this.#preset = el('select', {}, ...[...PRESETS.map(([name]) => name), OWN].map((name) => el('option', {}, name)));
    const own = this.#preset.options[PRESETS.length];
    if (own) own.hidden = true; // it comes by changing something
    this.#preset.id = `${idStart}-preset`;
    this.#hint.id = `${idStart}-preset-hint`;
    this.#preset.setAttribute('aria-describedby', this.#hint.id);
    this.#preset.addEventListener('input', (event) => {
      event.stopPropagation(); // below, what comes up is a change of a field
      this.set(PRESETS[this.#preset.selectedIndex]?.[2] ?? {});
    });
    target.append(
      el('div', { class: 'control' }, el('label', { for: this.#preset.id }, 'Preset'), this.#preset, this.#hint),
    );
    for (const control of CONTROLS) target.append(this.#row(control));
    target.addEventListener('input', () => this.#changed());
    this.reset();
    this.#key = key;
    this.#recall();
  }

  choose(preset: string): void {
    this.set(PRESETS.find(([name]) => name === preset)?.[2] ?? {});
  }

  /** Sets these and leaves the others as they are. */
  set(values: Sampling): void {
    for (const [{ name }, field] of this.#fields) {
      if (values[name] === undefined) continue;
      field.value = String(values[name]);
      field.dispatchEvent(new Event('input'));
    }
    this.#changed();
  }

  #changed(): void {
    this.#showPreset();
    if (this.#key === undefined) return;
    try {
      localStorage.setItem(this.#key, JSON.stringify(this.values()));
    } catch {
      // They still hold for this visit.
    }
  }

  /** Sets what was kept, which may have been written by anything on this origin: it is moved to within the limits when it is used. */
  #recall(): void {
    if (this.#key === undefined) return;
    try {
      const kept = JSON.parse(localStorage.getItem(this.#key) ?? '') as Record<string, unknown>;
      for (const [{ name, slider }, field] of this.#fields) {
        const value = kept[name];
        if (typeof value === 'number') field.value = String(value);
        else if (!slider) field.value = ''; // was empty
        field.dispatchEvent(new Event('input'));
      }
    } catch {
      // Nothing was kept.
    }
    this.#showPreset();
  }

  /** Which preset the fields are, if any. */
  #showPreset(): void {
    const now = this.values();
    const at = PRESETS.findIndex(([, , values]) =>
      Object.entries(values).every(([name, value]) => now[name as Control['name']] === value),
    );
    this.#preset.selectedIndex = at < 0 ? PRESETS.length : at;
    this.name.textContent = PRESETS[at]?.[0] ?? OWN;
    this.#hint.textContent = PRESETS[at]?.[1] ?? 'what you have set below';
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
    this.#changed();
  }

  #row({ ...control }: Control): HTMLElement {
    const { name, label, hint, min, max, step, slider } = control;
    const id = `${this.#idStart}-${name}`;
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
