// Fields with their labels.
import { el } from './dom.js';

type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;
let n = 0;

/** A label above its field, and a hint below it. */
export function labelled(label: string, field: Field, hint?: HTMLElement): HTMLElement {
  field.id ||= `field-${++n}`;
  const row = el('div', { class: 'field' }, el('label', { for: field.id }, label), field);
  if (hint) {
    hint.id ||= `${field.id}-hint`;
    hint.classList.add('fine');
    field.setAttribute('aria-describedby', hint.id);
    row.append(hint);
  }
  return row;
}

export const textArea = (rows: number, placeholder = ''): HTMLTextAreaElement =>
  el('textarea', { rows, placeholder, autocomplete: 'off' });

export const textField = (placeholder = ''): HTMLInputElement =>
  el('input', { type: 'text', placeholder, autocomplete: 'off' });

/** One of a few, in a bar. */
export class Choice<T extends string> {
  readonly element: HTMLElement;
  readonly #radios: HTMLInputElement[];

  constructor(legend: string, options: readonly (readonly [value: T, label: string])[], chosen: T) {
    const name = `choice-${++n}`;
    this.#radios = options.map(([value]) => el('input', { type: 'radio', name, value, checked: value === chosen }));
    const labels = options.map(([, label], i) => el('label', {}, this.#radios[i] ?? '', ` ${label}`));
    this.element = el('fieldset', {}, el('legend', {}, legend), el('div', { class: 'choices' }, ...labels));
  }

  get value(): T {
    return this.#radios.find((radio) => radio.checked)?.value as T;
  }

  set value(value: T) {
    for (const radio of this.#radios) radio.checked = radio.value === value;
  }
}

/** A button that opens the browser's choice of files. */
export function filePicker(
  label: string,
  { accept, multiple = false, chosen }: { accept: string; multiple?: boolean; chosen(files: File[]): void },
): HTMLElement {
  const input = el('input', { type: 'file', accept, multiple, class: 'sr-only', tabindex: -1, 'aria-label': label });
  input.addEventListener('change', () => {
    chosen([...(input.files ?? [])]);
    input.value = ''; // so that the same choice is a change again
  });
  const button = el('button', { type: 'button', onclick: () => input.click() }, `${label}…`);
  return el('span', { class: 'picker' }, button, input);
}

/** Gives the visitor a file. */
export function download(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
