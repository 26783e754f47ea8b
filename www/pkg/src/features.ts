// What this browser can do, as one plain record, and the pure function that chooses a wasm build and a number of threads
// from it with a reason in words. Probing, never the user agent. Used by index.ts; node tests call `choose` with made-up records.

import { KingletError } from './errors.js';
import { coreCount, isIsolated } from './host.js';
import type { Build } from './types.js';

/** What was found by probing. */
export interface Features {
  /** WebAssembly SIMD128. */
  simd: boolean;
  /** WebAssembly relaxed SIMD. */
  relaxedSimd: boolean;
  /** The atomic instructions of WebAssembly threads. */
  atomics: boolean;
  /** Whether the page may make shared memory. */
  sharedMemory: boolean;
  /** Whether it may be posted to other workers, which only an isolated page may do. */
  postsMemory: boolean;
  crossOriginIsolated: boolean;
  /** Logical cores, as far as the browser tells. */
  cores: number;
}

/** The build chosen for the CPU, and why. */
export interface Choice {
  build: Exclude<Build, 'gpu'>;
  sharedMemory: boolean;
  threads: number;
  /** Of the number of threads. */
  reason: string;
}

// Each is a module with one function whose body uses one instruction of the feature:
// i8x16.popcnt(v128.const 0…); i8x16.relaxed_swizzle; i32.atomic.load of a memory that is not shared.
const V128_ZERO = [0xfd, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const HEADER = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const section = (id: number, ...bytes: number[]): number[] => [id, bytes.length, ...bytes];
const moduleOf = (body: number[], ...before: number[]): Uint8Array<ArrayBuffer> =>
  new Uint8Array([
    ...HEADER,
    ...section(1, 1, 0x60, 0, 0),
    ...section(3, 1, 0),
    ...before,
    ...section(10, 1, body.length + 2, 0, ...body, 0x0b),
  ]);
const SIMD = moduleOf([...V128_ZERO, 0xfd, 0x62, 0x1a]);
const RELAXED = moduleOf([...V128_ZERO, ...V128_ZERO, 0xfd, 0x80, 0x02, 0x1a]);
const ATOMICS = moduleOf([0x41, 0, 0xfe, 0x10, 2, 0, 0x1a], ...section(5, 1, 1, 1, 1));

let known: Features | undefined;

/** Probes once, then remembers. `validate` reads bytes without compiling, so a Content-Security-Policy does not matter here. */
export function detect(): Features {
  const valid = (bytes: Uint8Array<ArrayBuffer>): boolean =>
    typeof WebAssembly === 'object' && WebAssembly.validate(bytes);
  known ??= {
    simd: valid(SIMD),
    relaxedSimd: valid(RELAXED),
    atomics: valid(ATOMICS),
    ...tryMemory(),
    crossOriginIsolated: isIsolated(),
    cores: Math.max(1, coreCount()),
  };
  return known;
}

/** Tried, because what browsers say does not tell: an isolated page of WebKitGTK 2.50 may make shared memory, and not post it. */
function tryMemory(): Pick<Features, 'sharedMemory' | 'postsMemory'> {
  const found = { sharedMemory: false, postsMemory: false };
  try {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    found.sharedMemory = true;
    const { port1 } = new MessageChannel();
    try {
      port1.postMessage(memory);
      found.postsMemory = true;
    } finally {
      port1.close();
    }
  } catch {
    // What was refused is in `found`.
  }
  return found;
}

/** Chooses the build and the number of threads for `features`; `wanted` is the caller's number, if any. */
export function choose(features: Features, wanted?: number): Choice {
  if (!features.simd || !features.atomics) {
    const missing = [features.simd ? '' : 'SIMD', features.atomics ? '' : 'atomic instructions']
      .filter(Boolean)
      .join(' and no ');
    throw new KingletError(
      'E_UNSUPPORTED_FEATURE',
      `this browser has no WebAssembly ${missing}: kinglet needs Chrome or Edge 91, Firefox 89, Safari 16.4, or newer`,
      { details: { ...features } },
    );
  }
  const { threads, why } = chooseThreads(features, wanted);
  return {
    build: features.relaxedSimd ? 'relaxed' : 'simd',
    sharedMemory: features.sharedMemory,
    threads,
    reason: `${threads} ${threads === 1 ? 'thread' : 'threads'}${why}`,
  };
}

/** In words, what the binary that came was made of, and why it was that one. */
export function describeSimd(simd: 'relaxed' | 'simd128', { build }: Choice): string {
  if (simd === 'relaxed') return 'relaxed SIMD';
  return `SIMD128 (${build === 'simd' ? 'this browser has no relaxed SIMD' : 'the file that wasmUrl names'})`;
}

function chooseThreads(features: Features, wanted: number | undefined): { threads: number; why: string } {
  // At most: how many of them work is found out. Each costs some megabytes, and more than eight seldom help a small model.
  const asked = wanted ?? Math.min(8, features.cores);
  const obstacle = obstacleTo(features);
  if (asked > 1 && obstacle !== undefined) return { threads: 1, why: `: ${obstacle}` };
  return { threads: asked, why: wanted === undefined ? ` on ${features.cores} logical cores` : ', as asked' };
}

/** What keeps threads from having one memory. */
function obstacleTo({ sharedMemory, postsMemory, crossOriginIsolated }: Features): string | undefined {
  if (!sharedMemory) return 'this browser refuses shared memory for WebAssembly';
  if (!crossOriginIsolated)
    return 'the page is not cross-origin isolated (COOP and COEP headers), so threads cannot share memory';
  if (!postsMemory) return 'this browser shares no memory between threads, though the page is cross-origin isolated';
  return undefined;
}
