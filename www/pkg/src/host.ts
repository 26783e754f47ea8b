// What the package needs of the place that it runs in, where places differ: here a page (or a worker of one). In Node.js
// node/host.ts takes the place of this file: scripts/build.mjs sees to that.

export { spawn } from './spawn.js';

/** What relative URLs are relative to: the page, or the worker that the caller runs in. */
export const baseUrl = (): string => globalThis.document?.baseURI ?? globalThis.location.href;

/** Whether memory may be shared between threads. */
export const isIsolated = (): boolean => globalThis.crossOriginIsolated === true;

/** Logical cores, as far as the browser tells. */
export const coreCount = (): number => globalThis.navigator?.hardwareConcurrency ?? 1;

/** Keeps small things between visits; undefined in a worker. May throw where the page may not store anything. */
export const storage = (): Pick<Storage, 'getItem' | 'setItem'> | undefined => globalThis.localStorage;
