// The part of the engine that few pages need, or need later: its binary is two files (scripts/split), and functions of the second are
// called through stubs of the first. It is fetched in a pause, or at once where the model will want it; a stub that is called before that
// fetches it while everything waits, which only a worker may do. Used by worker.ts, and by the threads of its pool.

import { describe, KingletError } from './errors.js';
import { compileWasm } from './wasm-module.js';
import type { Device } from './types.js';
import { unshareMemory } from './unshared.js';

/** Which it is, also for a thread. */
export interface LaterStart {
  device: Device;
  url: string;
  /** Where it has been fetched already. */
  module?: WebAssembly.Module;
}

/** Whether a request can be waited for. Elsewhere (Node.js) everything is fetched at the beginning. */
const canWait = typeof XMLHttpRequest === 'function';

/** What each binary of this worker calls from its stubs (src/wasm/later.rs). */
const served = new Map<Device, () => void>();
Object.assign(globalThis, { kingletLater: (isGpu: boolean) => served.get(isGpu ? 'webgpu' : 'cpu')?.() });

export class Later {
  readonly #device: Device;
  readonly #url: string;
  readonly #asItIs: boolean;
  #first: WebAssembly.Exports | undefined;
  #module: WebAssembly.Module | undefined;
  #isThere = false;

  constructor({ device, url, module }: LaterStart, asItIs: boolean) {
    this.#device = device;
    this.#url = url;
    this.#module = module;
    this.#asItIs = asItIs;
  }

  get start(): LaterStart {
    return { device: this.#device, url: this.#url, ...(this.#module && { module: this.#module }) };
  }

  /** `first`: what the first part exports. From now on its stubs find the second. `failed` is told what keeps it from them. */
  async serve(first: WebAssembly.Exports, failed: (error: KingletError) => void): Promise<void> {
    this.#first = first;
    if (!canWait) await this.fetch();
    served.set(this.#device, () => {
      try {
        this.#instantiate((this.#module ??= compileNow(this.#url, this.#asItIs)));
      } catch (cause) {
        const error =
          cause instanceof KingletError
            ? cause
            : new KingletError('E_NETWORK', `${this.#url} is not of this build: ${describe(cause)}`, { cause });
        failed(error);
        throw error;
      }
    });
  }

  /** Fetches it without anything waiting. What stands in the way will be said when it is needed. */
  async fetch(): Promise<void> {
    try {
      this.#module ??= await compileWasm(this.#url, this.#asItIs);
      this.#instantiate(this.#module);
    } catch (error) {
      if (!canWait) throw error;
    }
  }

  #instantiate(module: WebAssembly.Module): void {
    if (this.#isThere || !this.#first) return;
    new WebAssembly.Instance(module, { first: withTable(this.#first) });
    this.#isThere = true;
  }
}

/** What the second part imports by a number is what stands there in the first part's table of functions. */
function withTable(first: WebAssembly.Exports): WebAssembly.ModuleImports {
  const table = first['.t'] as WebAssembly.Table;
  return new Proxy(first, { get: (all, name: string) => all[name] ?? (table.get(+name) as () => void) });
}

function compileNow(url: string, asItIs: boolean): WebAssembly.Module {
  const request = new XMLHttpRequest();
  request.open('GET', url, false);
  request.responseType = 'arraybuffer';
  try {
    request.send();
  } catch (cause) {
    throw new KingletError('E_NETWORK', `${url} could not be fetched: ${describe(cause)}`, { cause, details: { url } });
  }
  const { status } = request;
  if (status !== 200)
    throw new KingletError('E_NETWORK', `${url}: the server answered ${status}`, { details: { url, status } });
  const bytes = new Uint8Array(request.response as ArrayBuffer);
  if (!asItIs) unshareMemory(bytes);
  return new WebAssembly.Module(bytes);
}
