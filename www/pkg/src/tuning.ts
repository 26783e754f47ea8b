// With how many threads the engine begins, and how the page remembers what it found out (src/cpu/tuner.rs does that): in localStorage,
// one record for this machine and build, in it a pair for each size of models. Used by index.ts, core.ts (page) and loading.ts (worker).
import { storage } from './host.js';

/** Threads for steps of one row (decoding) and of several (reading a prompt); 0 where it is not known, as long prompts alone show it. */
export type Guess = [one: number, several: number];

export interface Tuning {
  /** Where nothing is known. */
  guess: Guess;
  /** By `sizeClass`. */
  known: Record<string, Guess>;
}

/** Where the record is. */
export const STORAGE_KEY = 'kinglet.threads';
/** Where what was measured of the GPU is: text of the engine's (src/gpu/tune/record.rs), which takes no other. */
export const GPU_KEY = 'kinglet.gpu';

type Store = Pick<Storage, 'getItem' | 'setItem'>;

/** Models within a factor of four: from 64 to 256 MiB, say. */
export const sizeClass = (fileBytes: number): string => `${Math.floor(Math.log2(Math.max(1, fileBytes)) / 2)}`;

/** Half of the logical cores are usually the physical ones; two are used whole. */
export function firstTuning(cores: number, threads: number, build: string, store = storage): Tuning {
  const n = Math.min(threads, cores <= 2 ? cores : Math.max(2, Math.ceil(cores / 2)));
  return { guess: [n, n], known: read(machineOf(cores, build), store) };
}

/** Keeps what was found for models of a size; where the page may not store anything, nothing. */
export function remember(cores: number, build: string, fileBytes: number, found: Guess, store = storage): void {
  const machine = machineOf(cores, build);
  const [known, size] = [read(machine, store), sizeClass(fileBytes)];
  if (String(known[size]) === String(found)) return;
  keep(STORAGE_KEY, JSON.stringify({ machine, known: { ...known, [size]: found } }), store);
}

/** Keeps what was measured of the GPU, a line for each class of models behind the first; says whether there is anything new. */
export function rememberGpu(tuned: string | undefined, store = storage): boolean {
  if (!tuned?.includes('\n') || tuned === kept(GPU_KEY, store)) return false;
  keep(GPU_KEY, tuned, store);
  return true;
}

/** Keeps a text. */
export function keep(key: string, text: string, store = storage): void {
  try {
    store()?.setItem(key, text);
  } catch {
    // Full, or forbidden: it is found out again the next time.
  }
}

/** What is kept, which may be anything. */
export function kept(key: string, store = storage): string {
  try {
    return store()?.getItem(key) ?? '';
  } catch {
    return '';
  }
}

/** What a model of this size begins with. */
export function guessFor({ guess, known }: Tuning, fileBytes: number): Guess {
  const [one, several] = known[sizeClass(fileBytes)] ?? guess;
  return [one || guess[0], several || guess[1]];
}

const machineOf = (cores: number, build: string): string => `${cores} ${build}`;

/** What is stored may be anything: only whole numbers up to 64 are taken. */
function read(machine: string, store: () => Store | undefined): Record<string, Guess> {
  try {
    const record = JSON.parse(kept(STORAGE_KEY, store)) as { machine?: unknown; known?: object } | null;
    if (record?.machine !== machine) return {};
    const isCount = (n: unknown): boolean => Number.isInteger(n) && (n as number) >= 0 && (n as number) <= 64;
    const entries = Object.entries(record.known ?? {}).filter(
      ([, guess]) => Array.isArray(guess) && guess.length === 2 && guess.every(isCount),
    );
    return Object.fromEntries(entries) as Record<string, Guess>;
  } catch {
    return {};
  }
}
