// What host.ts is in a page, for Node.js: threads of node:worker_threads stand in for Web Workers, and relative URLs and paths are
// relative to the current directory. scripts/build.mjs puts it in the place of ../host.ts in dist/node.js.

import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import type { WorkerLike } from '../client.js';
import { NodeWorker } from './node-worker.js';

type Host = Omit<typeof import('../host.js'), 'spawn'> & { spawn(href: string, name?: string): WorkerLike };

const host: Host = {
  spawn: (href, name) => new NodeWorker(href, { name }),
  baseUrl: () => pathToFileURL(`${process.cwd()}/`).href,
  isIsolated: () => true,
  coreCount: availableParallelism,
  storage: () => undefined,
};

export const { spawn, baseUrl, isIsolated, coreCount, storage } = host;
