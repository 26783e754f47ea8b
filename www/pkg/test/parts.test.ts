// Models in several files, from servers that know ranges, do not know them, or lie about them, and from the page.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KingletError } from '../src/errors.js';
import { load as loadFrom, type LoadResult, type LoadTest } from './load.js';

const N_PARTS = 3;
const PART_BYTES = 1_400_000;
/** The fake's parts: their headers' end is far before that of what is asked for first. */
const PARTS = Array.from({ length: N_PARTS }, (_, no) =>
  Uint8Array.from({ length: PART_BYTES }, (_, i) =>
    i === 0 ? 0 : i === 1 ? no : i === 2 ? N_PARTS : (i * 7 + no) % 250,
  ),
);
const WHOLE = Buffer.concat(PARTS);
const name = (no: number) => `m-0000${no + 1}-of-0000${N_PARTS}.gguf`;

const requests: { path: string; range: string | undefined }[] = [];
const server = http.createServer((request, response) => {
  const url = new URL(request.url ?? '', 'http://host');
  const [, kind = '', file = ''] = url.pathname.split('/');
  const { range } = request.headers;
  const log = { path: file + url.search, range };
  requests.push(log);
  const body = PARTS[Number(/(\d)-of-/.exec(file)?.[1] ?? 0) - 1];
  const [, from = 0, to = 0] = (/^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []).map(Number);
  const send = (status: number, bytes: Uint8Array, headers: Record<string, string> = {}): void => {
    response.writeHead(status, { 'content-length': bytes.length, ...headers }).end(bytes);
  };
  if (!body || (kind === 'gone' && file === name(1))) return send(404, new Uint8Array());
  if (!range || kind === 'ignores') return send(200, body);
  const about = (start: number, end: number) => ({ 'content-range': `bytes ${start}-${end - 1}/${body.length}` });
  if (kind === 'short') return send(206, body.subarray(0, 10), about(0, to + 1));
  if (kind === 'wrong') return send(206, body.subarray(501, 900), about(501, 900));
  if (kind === 'cut') {
    response.writeHead(206, { 'content-length': 1000 }).write(body.subarray(0, 10));
    return void setTimeout(() => response.destroy(), 10);
  }
  if (kind === 'refuses') return send(416, new Uint8Array());
  if (kind === 'empty') return send(206, new Uint8Array(), about(0, to + 1));
  return send(206, body.subarray(from, to + 1), about(from, to + 1));
});
let base = '';
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => void requests.splice(0));

const load = (source: unknown, options?: LoadTest): Promise<LoadResult> => loadFrom(source, base, options);

/** Every byte of every part once and in order. */
function assertWhole({ engine, loaded, error }: LoadResult): void {
  assert.equal(error, undefined);
  assert.ok(Buffer.from(engine.fed).equals(WHOLE));
  assert.deepEqual(
    engine.ends,
    PARTS.map((_, no) => (no + 1) * PART_BYTES),
  );
  assert.equal(loaded?.fileBytes, WHOLE.length);
}
const isCode = (error: unknown, code: string, pattern: RegExp): void => {
  assert.ok(error instanceof KingletError && error.code === code && pattern.test(error.message), String(error));
};

describe('a URL', () => {
  test('of any part: the first is fetched once, of the others the beginning first', async () => {
    for (const no of [0, 2]) {
      requests.splice(0);
      const { events, ...rest } = await load(`${base}/ranges/${name(no)}?key=1`);
      assertWhole({ events, ...rest });
      const range = 'bytes=0-1048575';
      assert.deepEqual(
        requests.map(({ path, range }) => [path, range]),
        [
          [`${name(0)}?key=1`, undefined],
          [`${name(1)}?key=1`, range],
          [`${name(2)}?key=1`, range],
          [`${name(1)}?key=1`, undefined],
          [`${name(2)}?key=1`, undefined],
        ],
      );
      assert.deepEqual(
        rest.engine.headers.map((header) => header.name),
        PARTS.map((_, i) => name(i)),
      );
      assert.deepEqual(events.at(-1)?.file, { name: name(2), number: 3, count: 3 });
      assert.equal(events.at(-1)?.loadedBytes, WHOLE.length);
      assert.equal(events.at(-1)?.totalBytes, 1000); // what the headers say
      const loaded = events.map((event) => event.loadedBytes);
      assert.deepEqual(
        loaded,
        loaded.toSorted((a, b) => a - b),
      );
    }
  });

  for (const kind of ['ignores', 'short', 'wrong', 'cut', 'refuses', 'empty'])
    test(`a server that answers a range request wrongly (${kind}) is asked without one`, async () => {
      assertWhole(await load(`${base}/${kind}/${name(0)}`));
      const ranged = requests.filter(({ range }) => range !== undefined).length;
      assert.equal(ranged, 2);
      assert.equal(requests.length, kind === 'ignores' ? 5 : 7);
    });

  test('a missing part is named before any weight is fetched, and not asked for twice', async () => {
    const { error, engine } = await load(`${base}/gone/${name(0)}`);
    isCode(error, 'E_NETWORK', /m-00002-of-00003\.gguf: the server answered 404/);
    assert.deepEqual(engine.fed, []);
    assert.equal(requests.filter(({ path }) => path === name(1)).length, 1);
  });

  test('a file that is no part, whatever its name says, is loaded alone', async () => {
    const alone = Uint8Array.from({ length: 500 }, (_, i) => (i === 2 ? 1 : i % 250));
    const { port } = server.address() as AddressInfo;
    const listener = server.listeners('request')[0] as http.RequestListener;
    server.removeAllListeners('request');
    server.on('request', (request, response) => {
      requests.push({ path: request.url ?? '', range: request.headers.range });
      response.writeHead(200).end(alone);
    });
    try {
      const { engine, error } = await load(`http://127.0.0.1:${port}/alone-00001-of-00003.gguf`);
      assert.equal(error, undefined);
      assert.deepEqual(engine.fed, [...alone]);
      assert.equal(requests.filter(({ path }) => path.includes('alone')).length, 1);
    } finally {
      server.removeAllListeners('request');
      server.on('request', listener);
    }
  });
});

/** Every kind of source for a part. */
const kinds: Record<string, (no: number) => unknown> = {
  blobs: (no) => new Blob([PARTS[no] as Uint8Array<ArrayBuffer>]),
  bytes: (no) => PARTS[no],
  streams: (no) => new Blob([PARTS[no] as Uint8Array<ArrayBuffer>]).stream(),
  URLs: (no) => `${base}/ranges/${name(no)}`,
};
const record = (of: (no: number) => unknown, order = [0, 1, 2]) => ({
  files: Object.fromEntries(order.map((no) => [`part ${no}`, of(no)])),
});

describe('files', () => {
  for (const [kind, of] of Object.entries(kinds)) {
    test(`${kind} in any order`, async () => {
      for (const order of [
        [0, 1, 2],
        [2, 0, 1],
      ])
        assertWhole(await load(record(of, order)));
    });

    test(`${kind}, and a GPU that fails its check: the CPU gets every byte`, async () => {
      const faults = { checkRejects: { code: 'E_GPU_WRONG', message: 'because', details: {} } };
      const outcome = await load(record(of, [1, 2, 0]), { faults });
      assertWhole(outcome);
      assert.deepEqual(
        outcome.engines.map((engine) => [engine.options.device, engine.fed.length > 0, engine.isFree]),
        [
          ['webgpu', false, true],
          ['cpu', true, false],
        ],
      );
      assert.equal(outcome.events.filter((event) => event.phase === 'check').length, 1);
    });

    test(`${kind}, and a GPU that is lost in the second part`, async () => {
      const error = { code: 'E_GPU_LOST', message: 'because', details: {} };
      const faults = { feedThrows: { at: PART_BYTES + 500_000, error } };
      const outcome = await load(record(of), { faults });
      if (kind === 'streams') isCode(outcome.error, 'E_GPU_LOST', /because; the CPU cannot take over.*stream/);
      else assertWhole(outcome);
    });
  }

  test('a list of files', async () => {
    assertWhole(await load([2, 1, 0].map((no) => new File([PARTS[no] as Uint8Array<ArrayBuffer>], name(no)))));
  });

  test('a part that is none is named; one whose header does not end too', async () => {
    const of = (no: number) => (no === 1 ? new Blob(['<html>']) : kinds['blobs']?.(no));
    isCode((await load(record(of))).error, 'E_FILE_FORMAT', /part 1: not a part/);
    const cut = (no: number) => (no === 2 ? PARTS[2]?.slice(0, 50) : PARTS[no]);
    isCode((await load(record(cut))).error, 'E_FILE_FORMAT', /part 2: ends too early/);
  });

  test('a checksum for each: the file that differs is named', async () => {
    const files = record(kinds['blobs'] as (no: number) => unknown);
    const sums = (last: string) => ({ 'part 0': 'a'.repeat(64), 'part 1': 'a'.repeat(64), 'part 2': last.repeat(64) });
    assertWhole(await load(files, { sha256: sums('a') })); // what the fake's hash always is
    const { error } = await load(files, { sha256: sums('b') });
    isCode(error, 'E_INTEGRITY', /^part 2: its SHA-256 is aaa.*, not bbb/);
    assert.deepEqual((error as KingletError).details['file'], 'part 2');
  });
});

describe('a tokenizer.json', () => {
  const GOLDEN = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../../tests/golden/tokenizer/json');
  const { tokenizer, config } = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'bpe-nfc.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  const json = (value: unknown) => new Blob([JSON.stringify(value)]);
  const files = (more: Record<string, unknown>) => ({
    files: { 'm.gguf': PARTS_OF_ONE, 'tokenizer.json': json(tokenizer), ...more },
  });
  /** A model that is one file. */
  const PARTS_OF_ONE = Uint8Array.from({ length: 500 }, (_, i) => (i === 1 ? 0 : i === 2 ? 1 : i % 250));

  test('reaches the engine as the vocabulary, on the CPU after a GPU too', async () => {
    const faults = { checkRejects: { code: 'E_GPU_WRONG', message: 'because', details: {} } };
    const more = config === undefined ? {} : { 'tokenizer_config.json': json(config) };
    const { engines, error } = await load(files(more), { faults });
    assert.equal(error, undefined);
    assert.equal(engines.length, 2);
    for (const { options } of engines)
      assert.ok(fs.readFileSync(path.join(GOLDEN, 'bpe-nfc.gguf')).equals(options.vocabulary ?? new Uint8Array()));
    assert.deepEqual(engines[1]?.fed, [...PARTS_OF_ONE]);
  });

  test('what is none is named, and so is a checksum that differs', async () => {
    const broken = files({ 'tokenizer.json': new Blob(['{']) });
    isCode((await load(broken)).error, 'E_FILE_FORMAT', /^tokenizer\.json: this is no JSON/);
    isCode((await load(files({ 'tokenizer.json': json({}) }))).error, 'E_FILE_FORMAT', /model/);
    const sha256 = { 'm.gguf': 'a'.repeat(64), 'tokenizer.json': 'b'.repeat(64) };
    isCode((await load(files({}), { sha256 })).error, 'E_INTEGRITY', /^tokenizer\.json: its SHA-256/);
  });
});
