// Where the package's other files are. Each is named here, in the page, as `new URL('./name', import.meta.url)`: every bundler knows that
// text as an asset, copies the file and puts its new address in. Nothing that is copied names another file, so none has to be read by a
// bundler: workers are told where the rest is. Used by index.ts.

import { baseUrl } from './host.js';
import type { SourceDescriptor } from './protocol.js';
import type { Build, LoadOptions } from './types.js';

/** Absolute URLs. */
export interface PackageFiles {
  /** The engine's worker; the threads of its pool run it, too. */
  worker: string;
  /** The engine's worker where the model is several files. */
  checkpoints: string;
  templates: string;
  /** The templates' worker for what few of them ask for. */
  fullTemplates: string;
  wasm: Record<Build, WasmFiles>;
}

/** A build is two files: later.ts says why. */
export interface WasmFiles {
  first: string;
  later: string;
}

/** The files; those that the options say are elsewhere, there. */
export function locate({
  workerUrl,
  wasmUrl,
  wasmLaterUrl,
}: Pick<LoadOptions, 'workerUrl' | 'wasmUrl' | 'wasmLaterUrl'>): PackageFiles {
  // Turbopack makes of `new URL` something that is like a URL, but relative to the page.
  const absolute = (url: string | URL): URL => new URL(url, baseUrl());
  const worker = workerUrl === undefined ? undefined : absolute(workerUrl);
  const folder = wasmUrl !== undefined ? absolute(wasmUrl) : worker && new URL('./', worker);
  const wasm = (build: Build, first: () => URL, later: () => URL): WasmFiles => ({
    ...(folder ? wasmFilesOf(folder.href, build) : { first: absolute(first()).href, later: absolute(later()).href }),
    ...(wasmLaterUrl !== undefined && { later: absolute(wasmLaterUrl).href }),
  });
  return {
    worker: (worker ?? absolute(new URL('./worker.js', import.meta.url))).href,
    checkpoints: (worker
      ? new URL('./checkpoint-worker.js', worker)
      : absolute(new URL('./checkpoint-worker.js', import.meta.url))
    ).href,
    templates: (worker
      ? new URL('./template-worker.js', worker)
      : absolute(new URL('./template-worker.js', import.meta.url))
    ).href,
    fullTemplates: (worker
      ? new URL('./full-template-worker.js', worker)
      : absolute(new URL('./full-template-worker.js', import.meta.url))
    ).href,
    wasm: {
      simd: wasm(
        'simd',
        () => new URL('./kinglet_simd.wasm', import.meta.url),
        () => new URL('./kinglet_simd_later.wasm', import.meta.url),
      ),
      relaxed: wasm(
        'relaxed',
        () => new URL('./kinglet_relaxed.wasm', import.meta.url),
        () => new URL('./kinglet_relaxed_later.wasm', import.meta.url),
      ),
      gpu: wasm(
        'gpu',
        () => new URL('./kinglet_gpu.wasm', import.meta.url),
        () => new URL('./kinglet_gpu_later.wasm', import.meta.url),
      ),
    },
  };
}

/** The script of the engine's worker that can read a source. */
export function workerFor({ worker, checkpoints }: PackageFiles, source: SourceDescriptor): string {
  return source.kind === 'checkpoint' || source.kind === 'files' ? checkpoints : worker;
}

/**
 * The files of a build where the caller has said where they are: in a folder (`…/`), or one of them by name. A file is taken
 * as it is, unless it is for the CPU and the GPU's is wanted, or the other way round: then that one is beside it. Beside the first
 * file is the second.
 */
export function wasmFilesOf(given: string, build: Build): WasmFiles {
  const { pathname } = new URL(given);
  const named = /\/kinglet_(simd|relaxed|gpu)\.wasm$/.exec(pathname)?.[1];
  const other = named !== undefined && (named === 'gpu') !== (build === 'gpu');
  const first = other || pathname.endsWith('/') ? new URL(`kinglet_${build}.wasm`, given).href : given;
  const later = new URL(first);
  later.pathname = later.pathname.replace(/(\.wasm)?$/, '_later$1');
  return { first, later: later.href };
}
