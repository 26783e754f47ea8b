// Fetches and compiles the wasm file inside the engine's worker, with memory of the size that the browser allows, shared where the page
// may have that, and says in plain words what stops it: a missing file, a page that answers HTML, a Content-Security-Policy.

import { describe, KingletError } from './errors.js';
import { unshareMemory } from './unshared.js';

/** Pages of 64 KiB; 65,536 is all that 32-bit addresses reach. Some browsers refuse that much as a maximum. */
const MAXIMUM_PAGES = [65_536, 49_152, 32_768, 16_384, 8_192, 4_096];

/** The smallest module there is: what refuses this refuses WebAssembly altogether. */
const EMPTY_MODULE = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);

/** The module at `url`, `asItIs`, or, where it asks for shared memory, so that it takes memory that is not. */
export async function compileWasm(url: string, asItIs: boolean): Promise<WebAssembly.Module> {
  checkPolicy();
  let response: Response;
  try {
    response = await fetch(url, { credentials: 'same-origin' });
  } catch (cause) {
    throw new KingletError('E_NETWORK', `${url} could not be fetched: ${describe(cause)}`, { cause, details: { url } });
  }
  if (!response.ok)
    throw new KingletError('E_NETWORK', `${url}: the server answered ${response.status}`, {
      details: { url, status: response.status },
    });
  const type = response.headers.get('content-type') ?? '';
  try {
    // Compiling while the bytes arrive needs the right type; a server that does not know it only costs some time.
    if (asItIs && /^application\/wasm\b/.test(type)) return await WebAssembly.compileStreaming(response);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (!asItIs) unshareMemory(bytes);
    return await WebAssembly.compile(bytes);
  } catch (cause) {
    throw new KingletError(
      'E_NETWORK',
      `${url} is not the wasm file (the server calls it "${type}"): ${describe(cause)}`,
      { cause, details: { url } },
    );
  }
}

/** Throws E_CSP where the page's policy forbids to compile. */
function checkPolicy(): void {
  try {
    new WebAssembly.Module(EMPTY_MODULE);
  } catch (cause) {
    throw new KingletError(
      'E_CSP',
      "WebAssembly is stopped by the page's Content-Security-Policy: script-src has to allow 'wasm-unsafe-eval'",
      { cause, details: { directive: 'script-src', missing: "'wasm-unsafe-eval'" } },
    );
  }
}

/** Memory with the largest maximum that the browser grants. `initialPages` is what the module asks for. */
export function createMemory(initialPages: number, shared: boolean): WebAssembly.Memory {
  let refused: unknown;
  for (const maximum of MAXIMUM_PAGES) {
    try {
      return new WebAssembly.Memory({ initial: initialPages, maximum, shared });
    } catch (thrown) {
      refused = thrown;
    }
  }
  const needed = initialPages * 65_536;
  const kind = shared ? 'shared WebAssembly memory' : 'WebAssembly memory';
  throw new KingletError('E_MEMORY', `no ${kind} of ${needed} bytes could be had: ${describe(refused)}`, {
    cause: refused,
    details: { neededBytes: needed },
  });
}
