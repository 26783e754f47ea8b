// A static server for tests that can lie: isolation headers or not, any Content-Security-Policy, another origin's rules, and per
// path an answer of its own. Every file is read whole: tests serve small things and one model.
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { Transform } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
};

export const ISOLATION = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
const FOR_ALL = { 'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin' };

/**
 * Serves `mounts` (URL prefix → folder, longest first) and resolves to `{ url, requests, answers, close() }`. `answers` maps a
 * path to a function `(response, file) → void` that answers instead. `bare`: no header but the type and the length.
 */
export async function openSite({ mounts, isolated = false, policy, headers = {}, bare = false }) {
  const answers = new Map();
  const requests = [];
  const prefixes = Object.keys(mounts).sort((a, b) => b.length - a.length);
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    requests.push(pathname);
    for (const [name, value] of Object.entries({ ...(bare ? {} : FOR_ALL), ...(isolated ? ISOLATION : {}), ...headers }))
      response.setHeader(name, value);
    if (policy) response.setHeader('content-security-policy', policy);
    const prefix = prefixes.find((candidate) => pathname.startsWith(candidate));
    const file = prefix && join(mounts[prefix], pathname.slice(prefix.length) || 'index.html');
    for (const [pattern, answer] of answers) if (pathname.endsWith(pattern)) return answer(response, file, request);
    const size = fileSize(file);
    if (pathname === '/favicon.ico') return response.writeHead(204).end();
    if (size === undefined)
      return response.writeHead(404, { 'content-type': 'text/html' }).end('<!doctype html><title>404</title>');
    response.writeHead(200, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      'content-length': size,
    });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    answers,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}

/** An answer of `openSite` that sends a file like a connection of `mibPerSecond`, in bursts: bytes of 20 ms, then a pause of as long. */
export function sendSlowly(mibPerSecond) {
  const bytesPerMs = (mibPerSecond * 2 ** 20) / 1000;
  return (response, file) => {
    const startMs = performance.now();
    let n_bytes = 0;
    const slowly = new Transform({
      async transform(chunk, _encoding, done) {
        n_bytes += chunk.length;
        const earlyMs = n_bytes / bytesPerMs - (performance.now() - startMs);
        if (earlyMs > 20) await sleep(earlyMs);
        done(null, chunk);
      },
    });
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': fileSize(file) });
    createReadStream(file).pipe(slowly).pipe(response);
  };
}

/** Has `site` answer `path` with all but the end of its file, and the end once `/release` is asked for. */
export function holdBackEnd(site, path) {
  let release = () => {};
  site.answers.set('/release', (response) => {
    release();
    response.writeHead(204).end();
  });
  site.answers.set(path, (response, file) => {
    const bytes = readFileSync(file);
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length });
    response.write(bytes.subarray(0, -1000));
    release = () => response.end(bytes.subarray(-1000));
  });
}

function fileSize(file) {
  const stat = file ? statSync(file, { throwIfNoEntry: false }) : undefined;
  return stat?.isFile() ? stat.size : undefined;
}
