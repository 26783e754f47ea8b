// The demo's server: types, ranges, what it refuses, a taken port.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { serve } from '../../www/demo/serve.mjs';

let folder;
let site;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kinglet-serve-'));
  writeFileSync(join(folder, 'index.html'), '<p>page');
  writeFileSync(join(folder, 'digits.bin'), '0123456789');
  writeFileSync(join(folder, 'engine.wasm'), '');
  symlinkSync('/etc/hostname', join(folder, 'outside'));
  site = await serve({ mounts: { '/': folder }, port: 0 });
});

after(async () => {
  await site.close();
  rmSync(folder, { recursive: true });
});

const get = (path, headers = {}) => fetch(site.url + path, { headers });

test('types and isolation', async () => {
  const page = await get('/');
  assert.equal(await page.text(), '<p>page');
  assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.equal(page.headers.get('cross-origin-embedder-policy'), 'require-corp');
  const wasm = await get('/engine.wasm');
  assert.equal(wasm.headers.get('content-type'), 'application/wasm');
  assert.equal(await wasm.text(), '');
});

test('ranges', async () => {
  const cases = [
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=7-', 206, '789', 'bytes 7-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=5-100', 206, '56789', 'bytes 5-9/10'],
    ['bytes=0-0', 206, '0', 'bytes 0-0/10'],
    ['bytes=10-', 416, 'range not satisfiable\n', 'bytes */10'],
    ['bytes=4-2', 416, 'range not satisfiable\n', 'bytes */10'],
    ['bytes=0-1,4-5', 200, '0123456789', null],
    ['lines=1-2', 200, '0123456789', null],
  ];
  for (const [range, status, body, contentRange] of cases) {
    const response = await get('/digits.bin', { range });
    assert.deepEqual(
      [response.status, await response.text(), response.headers.get('content-range')],
      [status, body, contentRange],
      range,
    );
  }
  const etag = (await get('/digits.bin')).headers.get('etag');
  assert.equal((await get('/digits.bin', { range: 'bytes=1-', 'if-range': etag })).status, 206);
  assert.equal((await get('/digits.bin', { range: 'bytes=1-', 'if-range': '"older"' })).status, 200);
  assert.equal((await get('/digits.bin', { 'if-none-match': etag })).status, 304);
});

test('nothing outside the folder, nothing but reading', async () => {
  const raw = (path) =>
    new Promise((done, failed) => {
      request(site.url, { path }, (response) => done(response.resume().statusCode))
        .on('error', failed)
        .end();
    });
  for (const path of [
    '/none',
    '/../etc/hostname',
    '/%2e%2e/%2e%2e/etc/hostname',
    '/outside',
    '/%00',
    '/%',
    '/..%2f..%2fetc/hostname',
  ]) {
    assert.equal(await raw(path), 404, path);
  }
  assert.equal((await fetch(site.url, { method: 'POST' })).status, 405);
  assert.equal((await fetch(site.url, { method: 'HEAD' })).status, 200);
});

test('a taken port: the next one is used, or the caller is told', async () => {
  const taken = Number(new URL(site.url).port);
  const next = await serve({ mounts: { '/': folder }, port: taken, findPort: true });
  assert.ok(Number(new URL(next.url).port) > taken);
  await next.close();
  await assert.rejects(serve({ mounts: { '/': folder }, port: taken }), /EADDRINUSE/);
});
