// What the npm package expects of a browser and Node.js does not have: WebGPU (by Dawn), one Web Worker, fetch of file: URLs.
// For bench.mjs; no part of the package, and no more than the package uses. The worker is this thread, under the global scope
// of a worker: the one that measures has nothing else to do, and the engine's clock runs only while it computes.
import { openAsBlob } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { create, globals } from 'webgpu';

/**
 * The engine's worker, in this thread; messages are cloned, as between threads. The templates' worker starts too, and never
 * answers: nothing here has a template rendered.
 */
class WorkerHere extends EventTarget {
  #channel = new MessageChannel();

  constructor(url) {
    super();
    const { port1, port2 } = this.#channel;
    port1.addEventListener('message', ({ data }) => this.dispatchEvent(new MessageEvent('message', { data })));
    if (/template-worker/.test(url)) {
      setTimeout(() => port2.postMessage({ kind: 'ready' }));
      port1.start();
      return;
    }
    globalThis.postMessage = (message, transfer = []) => port2.postMessage(message, transfer);
    globalThis.addEventListener = (type, listener) => port2.addEventListener(type, listener);
    const started = () => [port1, port2].forEach((port) => port.start());
    import(url).then(started, (error) => this.dispatchEvent(Object.assign(new Event('error'), { message: `${error}` })));
  }

  postMessage(message, transfer = []) {
    this.#channel.port1.postMessage(message, transfer);
  }

  terminate() {
    this.#channel.port1.close();
  }
}

const { fetch } = globalThis;

/** Files as a server would send them. */
async function fetchAlsoFiles(source, options) {
  if (!String(source).startsWith('file:')) return fetch(source, options);
  const type = String(source).endsWith('.wasm') ? 'application/wasm' : 'application/octet-stream';
  const file = await openAsBlob(fileURLToPath(source), { type });
  return new Response(file, { headers: { 'content-length': `${file.size}` } });
}

/** Dawn's bindings (0.6.2) read at a wrong address where bytes lie in shared memory, as the wasm module's do: given a copy. */
function copySharedBytes({ prototype }) {
  const { writeBuffer } = prototype;
  prototype.writeBuffer = function (buffer, offset, data, ...part) {
    const shared = ArrayBuffer.isView(data) && data.buffer instanceof SharedArrayBuffer;
    return writeBuffer.call(this, buffer, offset, shared ? data.slice() : data, ...part);
  };
}

/** Makes this thread a page and its worker, with the GPU that Vulkan finds. */
export function likeABrowser() {
  copySharedBytes(globals.GPUQueue);
  const navigator = { gpu: create(['backend=vulkan']), hardwareConcurrency: 1 };
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });
  // wgpu looks for this class before it takes the global object for a worker's.
  class WorkerGlobalScope {
    static [Symbol.hasInstance](value) {
      return value === globalThis;
    }
  }
  const location = new URL('./', import.meta.url);
  Object.assign(globalThis, globals, { Worker: WorkerHere, WorkerGlobalScope, fetch: fetchAlsoFiles, self: globalThis, location });
}
