// A small static server for the demo page and for tests: isolation headers, a strict content security policy, byte
// ranges, the right types. No dependencies. Not a production server: one machine, trusted files, no compression.
//
//   node serve.mjs [--root DIR] [--models DIR] [--port 8080] [--host localhost] [--no-isolation]
//
// Used by build.sh (`demo`) and, through `serve()`, by tests/e2e.
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.gguf': 'application/octet-stream',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

// No inline script or style, nothing from elsewhere; only a model may be fetched from an address that the visitor types.
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self' https: http://localhost:* http://127.0.0.1:*",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/**
 * Serves `mounts` (URL prefix → folder; the longest prefix wins) and resolves to `{ url, server, requests, close() }`.
 * `requests` collects the paths asked for. With `findPort`, a taken port is passed over; port 0 takes any free one.
 */
export async function serve({
  mounts,
  port = 8080,
  host = 'localhost',
  isolation = true,
  findPort = false,
  policy = POLICY,
}) {
  const requests = [];
  const folders = await existing(mounts);
  const server = createServer((request, response) => {
    requests.push(request.url);
    answer(request, response, folders, { isolation, policy }).catch((error) => {
      if (!response.headersSent) plain(response, 500, `error: ${error.message}`);
      else response.destroy(error);
    });
  });
  const found = await listen(server, port, host, findPort);
  const close = () => {
    server.closeAllConnections();
    return new Promise((done) => server.close(done));
  };
  return { url: `http://${host}:${found}`, server, requests, close };
}

async function existing(mounts) {
  const folders = [];
  for (const [prefix, folder] of Object.entries(mounts)) {
    const path = await realpath(folder).catch(() => undefined);
    if (path) folders.push({ prefix: prefix.endsWith('/') ? prefix : `${prefix}/`, path });
  }
  return folders.sort((a, b) => b.prefix.length - a.prefix.length);
}

async function listen(server, first, host, findPort) {
  for (let port = first; ; port++) {
    try {
      await new Promise((done, failed) => {
        server.once('error', failed);
        server.listen(port, host, () => {
          server.off('error', failed);
          done();
        });
      });
      return server.address().port;
    } catch (error) {
      if (error.code !== 'EADDRINUSE' || !findPort || port >= first + 100) throw error;
      console.log(`Port ${port} is taken; trying ${port + 1}.`);
    }
  }
}

async function answer(request, response, folders, { isolation, policy }) {
  response.setHeader('Content-Security-Policy', policy);
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.setHeader('Cache-Control', 'no-cache');
  if (isolation) for (const [name, value] of Object.entries(ISOLATION)) response.setHeader(name, value);

  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return plain(response, 405, 'only GET and HEAD');
  }
  const file = await find(request.url, folders);
  if (!file) return plain(response, 404, 'not found');
  return send(request, response, file);
}

/** The file behind a URL's path, or undefined; never one outside the folders. */
async function find(url, folders) {
  let path;
  try {
    path = decodeURIComponent(new URL(url, 'http://host').pathname);
  } catch {
    return undefined;
  }
  if (path.includes('\0')) return undefined;
  if (path.endsWith('/')) path += 'index.html';
  const folder = folders.find(({ prefix }) => path.startsWith(prefix));
  if (!folder) return undefined;
  const real = await realpath(join(folder.path, path.slice(folder.prefix.length))).catch(() => undefined);
  if (!real || !real.startsWith(folder.path + sep)) return undefined;
  const info = await stat(real);
  return info.isFile() ? { path: real, size: info.size, etag: `"${info.size}-${info.mtimeMs}"` } : undefined;
}

async function send(request, response, { path, size, etag }) {
  response.setHeader('Content-Type', TYPES[extname(path)] ?? 'application/octet-stream');
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('ETag', etag);
  if (request.headers['if-none-match'] === etag) return response.writeHead(304).end();

  const range = byteRange(request.headers, size, etag);
  if (range === 'unsatisfiable') {
    response.setHeader('Content-Range', `bytes */${size}`);
    return plain(response, 416, 'range not satisfiable');
  }
  const { start, end } = range ?? { start: 0, end: size - 1 };
  if (range) response.setHeader('Content-Range', `bytes ${start}-${end}/${size}`);
  response.setHeader('Content-Length', end - start + 1);
  response.writeHead(range ? 206 : 200);
  if (request.method === 'HEAD' || size === 0) return response.end();
  const stream = createReadStream(path, { start, end, highWaterMark: 1 << 18 });
  stream.on('error', (error) => response.destroy(error));
  response.on('close', () => stream.destroy());
  stream.pipe(response);
}

/** The one range that is asked for; undefined (the whole file) where there is none, or several, or none that we know. */
function byteRange({ range, 'if-range': ifRange }, size, etag) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(range ?? '');
  if (!match || (ifRange && ifRange !== etag) || (!match[1] && !match[2])) return undefined;
  const start = match[1] ? Number(match[1]) : Math.max(0, size - Number(match[2]));
  const end = match[1] && match[2] ? Math.min(size - 1, Number(match[2])) : size - 1;
  return start > end || start >= size ? 'unsatisfiable' : { start, end };
}

function plain(response, status, text) {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.writeHead(status).end(`${text}\n`);
}

async function main() {
  const here = fileURLToPath(new URL('.', import.meta.url));
  const { values } = parseArgs({
    options: {
      root: { type: 'string', default: join(here, 'dist') },
      models: { type: 'string', default: join(here, '../../.cache/models') },
      port: { type: 'string', default: '8080' },
      host: { type: 'string', default: 'localhost' },
      'no-isolation': { type: 'boolean', default: false },
    },
  });
  const { url } = await serve({
    mounts: { '/': resolve(values.root), '/models': resolve(values.models) },
    port: Number(values.port),
    host: values.host,
    isolation: !values['no-isolation'],
    findPort: true,
  });
  console.log(`kinglet's demo is at ${url}`);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) await main();
