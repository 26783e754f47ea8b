// The template's worker as a thread of Node.js: gives it the two globals that a browser gives a worker.

import { parentPort, workerData } from 'node:worker_threads';

Object.assign(globalThis, {
  postMessage: (message: unknown) => parentPort?.postMessage(message),
  addEventListener: (_type: 'message', listener: (event: { data: unknown }) => void) =>
    parentPort?.on('message', (data) => listener({ data })),
});
await (workerData ? import('../src/full-template-worker.js') : import('../src/template-worker.js'));
