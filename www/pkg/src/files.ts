// Where the package's other files are. Each is named here, in the page, as `new URL('./name', import.meta.url)`: every bundler knows that
// text as an asset, copies the file and puts its new address in. Nothing that is copied names another file, so none has to be read by a
// bundler: workers are told where the rest is. Used by index.ts.

import { baseUrl } from './host.js';
import type { Build, LoadOptions } from './types.js';

/** Absolute URLs. */
export interface PackageFiles {
  /** The engine's worker; the threads of its pool run it, too. */
  worker: string;
  templates: string;
  wasm: Record<Build, string>;
}

/** The files; those that `workerUrl` and `wasmUrl` say are elsewhere, there. */
export function locate({ workerUrl, wasmUrl }: Pick<LoadOptions, 'workerUrl' | 'wasmUrl'>): PackageFiles {
  const worker = workerUrl === undefined ? undefined : new URL(workerUrl, baseUrl());
  const folder = wasmUrl === undefined ? worker : new URL(wasmUrl, baseUrl());
  const wasm = (build: Build, beside: () => URL): string =>
    folder === undefined ? beside().href : wasmUrlOf(wasmUrl === undefined ? new URL('./', folder) : folder, build);
  return {
    worker: (worker ?? new URL('./worker.js', import.meta.url)).href,
    templates: (worker ? new URL('./template-worker.js', worker) : new URL('./template-worker.js', import.meta.url)).href,
    wasm: {
      simd: wasm('simd', () => new URL('./kinglet_simd.wasm', import.meta.url)),
      relaxed: wasm('relaxed', () => new URL('./kinglet_relaxed.wasm', import.meta.url)),
      gpu: wasm('gpu', () => new URL('./kinglet_gpu.wasm', import.meta.url)),
    },
  };
}

/**
 * The file of a build where the caller has said where the files are: in a folder (`…/`), or one of them by name. A file is taken
 * as it is, unless it is for the CPU and the GPU's is wanted, or the other way round: then that one is beside it.
 */
export function wasmUrlOf(given: string | URL, build: Build): string {
  const url = new URL(given);
  const { pathname } = url;
  const named = /\/kinglet_(simd|relaxed|gpu)\.wasm$/.exec(pathname)?.[1];
  const other = named !== undefined && (named === 'gpu') !== (build === 'gpu');
  return other || pathname.endsWith('/') ? new URL(`kinglet_${build}.wasm`, url).href : url.href;
}
