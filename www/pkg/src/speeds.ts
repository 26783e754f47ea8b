// How fast models of a size have answered on each device here, by which 'auto' chooses between a GPU and the CPU: some GPUs are slower with
// small models. The page keeps it in localStorage (index.ts); the worker chooses by it (loading.ts).
import { storage } from './host.js';
import type { Decision } from './gpu.js';
import { keep, kept, sizeClass } from './tuning.js';
import type { Device } from './types.js';

/** Milliseconds for a token of a prompt, 0 where none was long enough to tell, and for one of an answer. */
export interface Speed {
  readMs: number;
  writeMs: number;
}

/** By device, the GPU's with its name: another one has other figures. `wasTried`: the CPU, since then. */
export type Measured = { cpu?: Speed; webgpu?: Speed & { adapter: string; wasTried?: boolean } };

/** By `sizeClass`. */
export type Speeds = Record<string, Measured>;

/** Where the record is. */
export const SPEEDS_KEY = 'kinglet.speeds';

/** Models that the CPU is tried with. */
const MAX_CPU_BYTES = 2 ** 30;
/** How much of the weights a CPU reads in a millisecond with its threads: 10 GB/s. A GPU that is slower may be slower than the CPU. */
const CPU_BYTES_PER_MS = 1e7;
/** The CPU is the page's too, so it has to be faster by this. */
const WORTH_IT = 0.9;

/**
 * Keeps the best of what one engine shows. `machine`: what the CPU's figures depend on; those of another one are forgotten.
 */
export class Speedometer {
  readonly #machine: string;
  readonly #device: { kind: Device; adapter?: string };
  readonly #size: string;
  readonly #store: typeof storage;
  #best: Speed = { readMs: 0, writeMs: 0 };

  constructor(machine: string, device: { kind: Device; adapter?: string }, fileBytes: number, store = storage) {
    this.#machine = machine;
    this.#device = device;
    this.#size = sizeClass(fileBytes);
    this.#store = store;
    const known = knownSpeeds(machine, store);
    const { cpu, webgpu } = known[this.#size] ?? {};
    if (device.kind === 'cpu' && webgpu && !cpu) this.#keep(known, { webgpu: { ...webgpu, wasTried: true } });
  }

  note({ readMs, writeMs }: Speed): void {
    const last = this.#best;
    const best = { readMs: least(readMs, last.readMs), writeMs: least(writeMs, last.writeMs) };
    if (best.readMs === last.readMs && best.writeMs === last.writeMs) return;
    this.#best = best;
    const known = knownSpeeds(this.#machine, this.#store);
    const { kind, adapter = '' } = this.#device;
    this.#keep(known, { ...known[this.#size], [kind]: kind === 'cpu' ? best : { ...best, adapter } });
  }

  #keep(known: Speeds, measured: Measured): void {
    known[this.#size] = measured;
    keep(SPEEDS_KEY, JSON.stringify({ machine: this.#machine, known }), this.#store);
  }
}

/** The smaller one; 0 is none. */
const least = (a: number, b: number): number => Math.min(a || b, b || a);

/** What is stored may be anything: only what was written for this machine and reads like it is taken. */
export function knownSpeeds(machine: string, store = storage): Speeds {
  const speeds: Speeds = {};
  try {
    const record = JSON.parse(kept(SPEEDS_KEY, store)) as {
      machine?: unknown;
      known?: Record<string, Measured>;
    } | null;
    if (record?.machine !== machine) return speeds;
    for (const [size, { cpu, webgpu }] of Object.entries(record.known ?? {}))
      speeds[size] = {
        ...(isSpeed(cpu) && { cpu }),
        ...(isSpeed(webgpu) && typeof webgpu.adapter === 'string' && { webgpu }),
      };
  } catch {
    // Not ours.
  }
  return speeds;
}

function isSpeed(speed: Partial<Speed> | null | undefined): speed is Speed {
  const { readMs = NaN, writeMs = NaN } = speed ?? {};
  return Number.isFinite(readMs) && Number.isFinite(writeMs) && readMs >= 0 && writeMs > 0;
}

/**
 * The decision for a GPU, or for the CPU where that is faster with models of this size by what was measured. Where only a GPU was, and
 * slower than a CPU may be, the CPU is taken once to measure it; if no answer there tells, it is tried again after the GPU was measured again.
 */
export function bySpeed(decision: Decision, speeds: Speeds, fileBytes: number | undefined): Decision {
  if (decision.kind !== 'webgpu' || fileBytes === undefined) return decision;
  const { name } = decision.adapter;
  const { cpu, webgpu } = speeds[sizeClass(fileBytes)] ?? {};
  if (webgpu?.adapter !== name || fileBytes > MAX_CPU_BYTES) return decision;
  const gpu = `${perSecond(webgpu)} tokens a second on the GPU (${name})`;
  if (cpu) {
    if (!isFaster(cpu, webgpu)) return decision;
    return { kind: 'cpu', reason: `CPU: faster here with models of this size, ${perSecond(cpu)} against ${gpu}` };
  }
  if (webgpu.wasTried || webgpu.writeMs < fileBytes / CPU_BYTES_PER_MS) return decision;
  return { kind: 'cpu', reason: `CPU: to be measured, for a model of this size wrote ${gpu}` };
}

/** By a turn that reads as many tokens as it writes, where both are known. */
function isFaster(cpu: Speed, gpu: Speed): boolean {
  const reads = cpu.readMs > 0 && gpu.readMs > 0;
  const turn = ({ readMs, writeMs }: Speed): number => writeMs + (reads ? readMs : 0);
  return turn(cpu) < turn(gpu) * WORTH_IT;
}

const perSecond = ({ writeMs }: Speed): number => Number((1000 / writeMs).toPrecision(3));
