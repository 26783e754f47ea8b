import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { isCoded, KingletError } from '../src/errors.js';
import { describeSource, openSource, resolveUrl } from '../src/source.js';

const BODY = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);

const server = http.createServer((request, response) => {
  switch (request.url) {
    case '/ok':
      return void response.writeHead(200, { 'content-length': BODY.length }).end(BODY);
    case '/chunked':
      return void response.writeHead(200).end(BODY);
    case '/headers':
      return void response.writeHead(request.headers['x-key'] === 'secret' ? 200 : 401).end(BODY);
    case '/cut':
      response.writeHead(200, { 'content-length': BODY.length });
      response.write(BODY.subarray(0, 1000));
      return void setTimeout(() => response.destroy(), 50);
    case '/empty':
      return void response.writeHead(204).end();
    case '/broken':
      return void response.writeHead(503).end('later');
    default:
      return void response.writeHead(404).end();
  }
});
let base = '';
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

async function read(
  source: unknown,
  headers: Record<string, string> = {},
): Promise<{ bytes: Uint8Array; totalBytes: number | undefined }> {
  const { descriptor, dispose } = describeSource(source, headers, base);
  try {
    const { chunks, totalBytes } = await openSource(descriptor);
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    return { bytes: Buffer.concat(parts), totalBytes };
  } finally {
    dispose();
  }
}
const code = (expected: string, pattern: RegExp) => (error: unknown) =>
  error instanceof KingletError && error.code === expected && pattern.test(error.message);

test('every kind of source gives the same bytes', async () => {
  const stream = () =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(BODY.slice(0, 7));
        controller.enqueue(BODY.slice(7));
        controller.close();
      },
    });
  const sources = {
    url: '/ok',
    'URL object': new URL('/ok', base),
    'no length': '/chunked',
    blob: new Blob([BODY]),
    buffer: BODY.buffer,
    view: new Uint8Array([0, ...BODY]).subarray(1),
    stream: stream(),
  };
  for (const [name, source] of Object.entries(sources)) {
    const { bytes, totalBytes } = await read(source);
    assert.deepEqual(new Uint8Array(bytes), BODY, name);
    assert.equal(totalBytes, name === 'stream' || name === 'no length' ? undefined : BODY.length, name);
  }
});

test('the caller keeps its buffer', async () => {
  const mine = BODY.slice();
  await read(mine);
  assert.equal(mine.byteLength, BODY.length);
});

test('headers are sent, and make sense for a URL only', async () => {
  assert.equal((await read('/headers', { 'X-Key': 'secret' })).bytes.length, BODY.length);
  await assert.rejects(read('/headers'), code('E_NETWORK', /answered 401/));
  await assert.rejects(read(new Blob([]), { a: 'b' }), TypeError);
});

test('servers that refuse or lie', async () => {
  await assert.rejects(read('/nothing.gguf'), code('E_NETWORK', /nothing\.gguf: the server answered 404/));
  await assert.rejects(read('/broken'), code('E_NETWORK', /503/));
  await assert.rejects(read('/empty'), code('E_NETWORK', /without a body/));
  await assert.rejects(read('/cut'), code('E_NETWORK', /broke after|ended after/));
  await assert.rejects(read('http://127.0.0.1:9/x.gguf'), code('E_NETWORK', /could not be fetched/));
});

test('what is no source is said so', async () => {
  for (const bad of [
    undefined,
    null,
    5,
    {},
    [],
    'ftp://host/x',
    'http://[',
    new ReadableStream({ start: (controller) => controller.close() }).getReader(),
  ]) {
    await assert.rejects(read(bad), TypeError);
  }
  const locked = new ReadableStream();
  locked.getReader();
  await assert.rejects(read(locked), TypeError);
});

test('the pages of extensions have schemes of their own', () => {
  for (const scheme of ['chrome', 'moz', 'safari-web'])
    assert.equal(resolveUrl('model.gguf', `${scheme}-extension://id/a.html`), `${scheme}-extension://id/model.gguf`);
  assert.throws(() => resolveUrl('model.gguf', 'my-extension://id/a.html'), /my-extension: URLs cannot be fetched/);
});

test('a stream that fails, and one of the wrong kind', async () => {
  await assert.rejects(
    read(
      new ReadableStream({
        pull(controller) {
          controller.error(new Error('unplugged'));
        },
      }),
    ),
    (error: unknown) => isCoded(error) && error.code === 'E_NETWORK' && /unplugged/.test(error.message),
  );
  await assert.rejects(
    read(
      new ReadableStream({
        start(controller) {
          controller.enqueue('text');
        },
      }),
    ),
    (error: unknown) => isCoded(error) && error.code === 'TypeError',
  );
});

test('a reader that stops early ends the producer', async () => {
  let cancelled = false;
  const { descriptor } = describeSource(
    new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(10));
      },
      cancel() {
        cancelled = true;
      },
    }),
    {},
    base,
  );
  for await (const _ of (await openSource(descriptor)).chunks) break;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(cancelled);
});
