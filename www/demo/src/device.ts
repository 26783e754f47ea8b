// Where the model shall run: the visitor's choice on the first screen, remembered on this machine for the next visit. What
// then runs where, and why, is said by facts.ts.
import type { LoadOptions } from 'kinglet';
import { byId } from './dom.js';

export type Device = NonNullable<LoadOptions['device']>;

const KEY = 'kinglet.device';

const HINTS: Record<Device, string> = {
  auto: 'A real GPU that computes right, if there is one here; otherwise the CPU.',
  webgpu: 'Only the GPU, even one that is imitated in software and slow.',
  cpu: 'Only the CPU.',
};

export class DeviceChoice {
  readonly #field = byId('device', HTMLFieldSetElement);
  readonly #hint = byId('device-hint', HTMLElement);

  constructor() {
    this.#show(stored());
    this.#field.addEventListener('change', () => {
      store(this.value);
      this.#show(this.value);
    });
  }

  get value(): Device {
    return this.#radios().find((radio) => radio.checked)?.value as Device;
  }

  #show(device: Device): void {
    for (const radio of this.#radios()) radio.checked = radio.value === device;
    this.#hint.textContent = HINTS[device];
  }

  #radios(): HTMLInputElement[] {
    return [...this.#field.querySelectorAll('input')];
  }
}

/** A browser that keeps nothing for this page begins with 'auto' each time. */
function stored(): Device {
  try {
    const value = localStorage.getItem(KEY) ?? '';
    return value in HINTS ? (value as Device) : 'auto';
  } catch {
    return 'auto';
  }
}

function store(device: Device): void {
  try {
    localStorage.setItem(KEY, device);
  } catch {
    // The choice still holds for this visit.
  }
}
