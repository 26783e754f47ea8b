// What this browser can do, as one plain record, and the pure function that chooses a wasm build and a number of threads
// from it with a reason in words. Probing, never the user agent. Used by index.ts; node tests call `choose` with made-up records.

import { KingletError } from './errors.js';
import type { Build } from './types.js';

/** What was found by probing. */
export interface Features {
  /** WebAssembly SIMD128. */
  simd: boolean;
  /** WebAssembly relaxed SIMD. */
  relaxedSimd: boolean;
  /** WebAssembly threads: shared memory and atomic instructions. */
  sharedMemory: boolean;
  /** Whether memory may be posted to other workers. */
  crossOriginIsolated: boolean;
  /** Logical cores, as far as the browser tells. */
  cores: number;
}

/** The build chosen for the CPU, and why. */
export interface Choice {
  build: Exclude<Build, 'gpu'>;
  threads: number;
  reason: string;
}

// Each is a module with one function whose body uses one instruction of the feature:
// i8x16.popcnt(v128.const 0…); i8x16.relaxed_swizzle; i32.atomic.load of a shared memory.
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
const THREADS = moduleOf([0x41, 0, 0xfe, 0x10, 2, 0, 0x1a], ...section(5, 1, 3, 1, 1));

let known: Features | undefined;

/** Probes once, then remembers. `validate` reads bytes without compiling, so a Content-Security-Policy does not matter here. */
export function detect(): Features {
  const valid = (bytes: Uint8Array<ArrayBuffer>): boolean =>
    typeof WebAssembly === 'object' && WebAssembly.validate(bytes);
  known ??= {
    simd: valid(SIMD),
    relaxedSimd: valid(RELAXED),
    sharedMemory: valid(THREADS),
    crossOriginIsolated: globalThis.crossOriginIsolated === true,
    cores: Math.max(1, globalThis.navigator?.hardwareConcurrency ?? 1),
  };
  return known;
}

/** Chooses the build and the number of threads for `features`; `wanted` is the caller's number, if any. */
export function choose(features: Features, wanted?: number): Choice {
  if (!features.simd || !features.sharedMemory) {
    const missing = [features.simd ? '' : 'SIMD', features.sharedMemory ? '' : 'shared memory']
      .filter(Boolean)
      .join(' and ');
    throw new KingletError(
      'E_UNSUPPORTED_FEATURE',
      `this browser has no WebAssembly ${missing}: kinglet needs Chrome or Edge 91, Firefox 89, Safari 16.4, or newer`,
      { details: { ...features } },
    );
  }
  const build = features.relaxedSimd ? 'relaxed' : 'simd';
  const simd = features.relaxedSimd ? 'relaxed SIMD' : 'SIMD128 (this browser has no relaxed SIMD)';
  const { threads, why } = chooseThreads(features, wanted);
  return { build, threads, reason: `${simd}; ${threads} ${threads === 1 ? 'thread' : 'threads'}${why}` };
}

function chooseThreads(features: Features, wanted: number | undefined): { threads: number; why: string } {
  // Half of the logical cores are usually the physical ones, and the page needs some too; two cores are used whole.
  const usual = features.cores <= 2 ? features.cores : Math.min(8, Math.max(2, Math.ceil(features.cores / 2)));
  const asked = wanted ?? usual;
  if (asked > 1 && !features.crossOriginIsolated) {
    return {
      threads: 1,
      why: ': the page is not cross-origin isolated (COOP and COEP headers), so threads cannot share memory',
    };
  }
  return { threads: asked, why: wanted === undefined ? ` on ${features.cores} logical cores` : ', as asked' };
}
