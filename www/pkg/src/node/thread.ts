// The beginning of every thread in Node.js (dist/node-thread.js): gives the thread what a worker of a page has and the script uses, then
// runs that script, the same file as in a page. Nothing here touches the globals of the caller's own thread.

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { NodeWorker, type ThreadData } from './node-worker.js';

const port = parentPort;
if (!port) throw new Error('node-thread.js is the beginning of a thread, not a program');
const { href, name } = workerData as ThreadData;
const { fetch } = globalThis;

/** `fetch`, of files too. */
async function fetchAlsoFiles(input: string | URL, init?: RequestInit): Promise<Response> {
  const url = new URL(input);
  if (url.protocol !== 'file:') return fetch(url, init);
  const path = fileURLToPath(url);
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) return new Response(null, { status: 404 });
  const type = path.endsWith('.wasm') ? 'application/wasm' : 'application/octet-stream';
  const body = Readable.toWeb(createReadStream(path, { highWaterMark: 1 << 20 })) as ReadableStream<Uint8Array>;
  return new Response(body, { headers: { 'content-type': type, 'content-length': `${found.size}` } });
}

Object.assign(globalThis, {
  name,
  location: new URL(href),
  isSecureContext: true,
  Worker: NodeWorker,
  fetch: fetchAlsoFiles,
  postMessage: (message: unknown, transfer: Transferable[] = []) => port.postMessage(message, transfer as never),
  addEventListener: (type: string, listener: (event: { data: unknown }) => void) => {
    if (type === 'message') port.on('message', (data) => listener({ data }));
  },
});
await import(href);
