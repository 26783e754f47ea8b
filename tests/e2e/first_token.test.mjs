// What a page fetches before the first token, in Chromium: no more than is promised, and nothing of the part of the engine that is fetched
// later; that part comes after the answer, or when it is called for, by the engine or by a thread of its pool; and what is said where it
// cannot be had.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { launch, SOFTWARE_GPU, visitQuietly } from './browser.mjs';
import { openKingletSite } from './kinglet_page.mjs';
import { serveWatched } from './gpu/page.mjs';
import { holdBackEnd, sendSlowly } from './site.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const MODELS = process.env.KINGLET_MODELS ?? folder('.cache/models');
const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const { first_token_gzip_bytes: BUDGET } = JSON.parse(readFileSync(folder('tests/budgets.json'), 'utf8'));
const LATER = /_later\.wasm$/;

let browser;
const sites = new Map();
before(async () => {
  assert.ok(existsSync(join(MODELS, MODEL)), `${MODEL} is not there: ./build.sh test fetches it`);
  const mounts = { '/kinglet/': folder('www/pkg/dist/'), '/models/': MODELS, '/small/': folder('tests/models/') };
  for (const isolated of [true, false]) sites.set(isolated, await openKingletSite(MODELS, { mounts, isolated }));
  browser = await launch({ args: SOFTWARE_GPU });
});
after(async () => {
  await browser?.close();
  for (const site of sites.values()) await site.close();
});

/** Visits a page; `work(page, fetched)`: what has been fetched since, but models. */
function visiting(work, { isolated = true, ...options } = {}) {
  const site = sites.get(isolated);
  return visitQuietly(
    browser,
    `${site.url}/`,
    (page) => {
      const from = site.requests.length;
      const isOurs = (path) => /^\/kinglet\//.test(path);
      return work(page, () => [...new Set(site.requests.slice(from).filter(isOurs))], site);
    },
    { global: 'Kinglet', ...options },
  );
}

/**
 * In the page: an engine, and its first token. Nothing else is read, so the answer, which is longer than what may be unread, is held up:
 * the engine is busy until `finish`.
 */
const begin = async ([url, { isHeldBack = false, ...options }]) => {
  let phase;
  const onProgress = (event) => {
    // Once the GPU has been checked, it is tuned while bytes are waited for, for less than this.
    if (isHeldBack && phase === 'check' && event.phase === 'download') setTimeout(() => fetch('/release'), 8000);
    phase = event.phase;
  };
  globalThis.engine = await Kinglet.load(url, { ...options, onProgress });
  const common = { max_tokens: 96, temperature: 0, stream: true };
  const answer = url.includes('Instruct')
    ? await engine.chat.completions.create({ messages: [{ role: 'user', content: 'Tell me a long story about the sea.' }], ...common })
    : await engine.completions.create({ prompt: 'Once upon a time', ...common });
  globalThis.rest = answer[Symbol.asyncIterator]();
  for (;;) {
    const { value } = await rest.next();
    if (value.choices[0]?.delta?.content || value.choices[0]?.text) return;
  }
};
/** In the page: the answer to its end. */
const finish = async () => {
  while (!(await rest.next()).done);
};
/** In the page: tokens of an answer with a cache that is fetched later. */
const answer = async ([url, options]) => {
  const engine = await Kinglet.load(url, options);
  const { choices } = await engine.completions.create({ prompt: 'Once upon a time', max_tokens: 24, temperature: 0 });
  const { threads } = engine.info.device;
  await engine.close();
  return { token_ids: choices[0].token_ids, threads };
};
/** In the page: what loading and asking throws. */
const failing = async ([url, options]) => {
  try {
    const engine = await Kinglet.load(url, options);
    await engine.completions.create({ prompt: 'Once upon a time', max_tokens: 4 });
    return { code: 'nothing was thrown' };
  } catch ({ code, message }) {
    return { code, message };
  }
};
const SMALL = '/small/stories260K.gguf';
const DEFAULT = `/models/${MODEL}`;
const Q8 = { device: 'cpu', kvType: 'q8_0' };

for (const [name, model, device] of [
  ['the default model on the CPU', `/models/${MODEL}`, 'cpu'],
  ['a small model on a GPU', SMALL, 'webgpu'],
])
  test(`${name}: bytes to the first token are within the budget, and the rest comes after the answer`, () =>
    visiting(async (page, fetched, site) => {
      site.answers.set(model, sendSlowly(20)); // as for a visitor, the engine has to wait for bytes
      await page.evaluate(begin, [model, { device }]);
      site.answers.delete(model);
      const files = ['/kinglet/index.js', ...fetched()]; // the page itself has fetched that
      assert.deepEqual(files.filter((path) => LATER.test(path)), [], 'fetched too early: node scripts/split/record.mjs says what is needed');
      assert.ok(files.some((path) => path.endsWith('.wasm')), `${files}`);
      const bytes = files.map((path) => gzipSync(readFileSync(join(folder('www/pkg/dist'), path.slice('/kinglet/'.length))), { level: 9 }).length);
      const total = bytes.reduce((sum, one) => sum + one, 0);
      console.log(`${total} bytes (gzip) to the first token: ${files.map((path, i) => `${path} ${bytes[i]}`).join(', ')}`);
      assert.ok(total <= BUDGET[device], `${total} of ${BUDGET[device]}`);
      await page.evaluate(finish);
      for (let i = 0; i < 100 && !fetched().some((path) => LATER.test(path)); i++) await page.waitForTimeout(50);
      assert.equal(fetched().filter((path) => LATER.test(path)).length, 1, `${fetched()}`);
      await page.evaluate('engine.close()');
    }));

test('a GPU that is tuned while the weights come, and begun with what was found: nothing more is fetched for that', async () => {
  const options = { device: 'webgpu', workerUrl: '/kinglet/watched.js?hardware' };
  const nothingLater = (fetched) => assert.deepEqual(fetched().filter((path) => LATER.test(path)), []);
  const found = await visiting(async (page, fetched, site) => {
    serveWatched(site);
    holdBackEnd(site, SMALL);
    try {
      await page.evaluate(begin, [SMALL, { ...options, isHeldBack: true }]);
    } finally {
      site.answers.delete(SMALL);
    }
    nothingLater(fetched);
    return page.evaluate("localStorage.getItem('kinglet.gpu')");
  });
  assert.match(found, /\n.+:/, 'it was tuned');
  const prepare = `localStorage.setItem('kinglet.gpu', ${JSON.stringify(found)})`;
  await visiting(
    async (page, fetched) => {
      await page.evaluate(begin, [SMALL, options]);
      nothingLater(fetched);
    },
    { prepare },
  );
});

test('what is called for before it has come: the same tokens, by one thread and by two, with shared memory and without', async () => {
  const found = [];
  for (const [isolated, threads] of [[true, 1], [true, 2], [false, 1]])
    for (const build of ['simd', 'relaxed'])
      await visiting(
        async (page, fetched) => {
          const options = { ...Q8, threads, wasmUrl: `/kinglet/kinglet_${build}.wasm` };
          const got = await page.evaluate(answer, [DEFAULT, options]);
          assert.equal(got.threads, threads);
          assert.ok(fetched().includes(`/kinglet/kinglet_${build}_later.wasm`), `${fetched()}`);
          found.push(got.token_ids);
        },
        { isolated },
      );
  assert.equal(found[0].length, 24);
  for (const one of found) assert.deepEqual(one, found[0]);
});

for (const [what, answerWith, wanted] of [
  ['is missing', (response) => response.writeHead(404, { 'content-type': 'text/html' }).end('<!doctype html>'), /_later\.wasm: the server answered 404/],
  [
    'is of another build',
    (response) =>
      response
        .writeHead(200, { 'content-type': 'application/wasm' })
        .end(readFileSync(folder('www/pkg/dist/kinglet_simd_later.wasm'))),
    /_later\.wasm is not of this build/,
  ],
])
  for (const threads of [1, 2])
    test(`what is called for ${what}, ${threads === 1 ? 'one thread' : 'two threads'}: E_NETWORK says so, and the next engine works`, () =>
      visiting(
        async (page, _, site) => {
          site.answers.set('kinglet_relaxed_later.wasm', answerWith);
          try {
            const options = { ...Q8, threads, wasmUrl: '/kinglet/kinglet_relaxed.wasm' };
            const error = await page.evaluate(failing, [DEFAULT, options]);
            assert.equal(error.code, 'E_NETWORK', error.message);
            assert.match(error.message, wanted);
            site.answers.delete('kinglet_relaxed_later.wasm');
            assert.equal((await page.evaluate(answer, [DEFAULT, options])).token_ids.length, 24);
          } finally {
            site.answers.delete('kinglet_relaxed_later.wasm');
          }
        },
        { expected: [/404/] },
      ));
