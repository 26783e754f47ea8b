// Models in several files, and files that are no model, through the package in Chromium: a split model by URL, as files and in
// `{ files }` gives what the whole file gives; a page goes on after every kind of bad file. The parts are gguf-split's own.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { launch, visitQuietly } from './browser.mjs';
import { stringsOf } from './gguf.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const SPLIT = folder('tests/golden/split');
const NAMES = [1, 2, 3].map((n) => `gguf-split-0000${n}-of-00003.gguf`);
const hashOf = (name) => createHash('sha256').update(readFileSync(`${SPLIT}/${name}`)).digest('hex');
/** The import map of the page is an inline script. */
const POLICY = "default-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:";

let browser;
let site;

before(async () => {
  const mounts = {
    '/': folder('tests/e2e/apps/plain'),
    '/node_modules/kinglet/dist': folder('www/pkg/dist'),
    '/split': SPLIT,
  };
  site = await serve({ mounts, port: 0, policy: POLICY });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
});

/** Runs `work(argument)` in a page that has the package and helpers. */
function inPage(work, argument, { expected = [] } = {}) {
  const visit = (page) => {
    site.requests.splice(0);
    return page.evaluate(work, argument);
  };
  return visitQuietly(browser, site.url, visit, { expected, prepare, global: 'kinglet' });
}

function prepare() {
  /** What a source answers, and how it was loaded. */
  globalThis.answer = async (source, options = {}) => {
    const events = [];
    const engine = await kinglet.Kinglet.load(source, { device: 'cpu', ...options, onProgress: (e) => events.push(e) });
    try {
      const { choices } = await engine.completions.create({
        prompt: 'the in on at',
        max_tokens: 12,
        temperature: 0,
        ignore_eos: true,
      });
      return { text: choices[0].text, ids: choices[0].token_ids, info: engine.info, events };
    } finally {
      await engine.close();
    }
  };
  globalThis.refusal = async (source, options) => {
    try {
      return { text: (await answer(source, options)).text };
    } catch (error) {
      const { name, code, message, details } = error;
      return { name, code, message, details };
    }
  };
  globalThis.bytesOf = async (name) => new Uint8Array(await (await fetch(`/split/${name}`)).arrayBuffer());
}

test('a model in parts gives what the whole file gives, wherever it comes from', async () => {
  const got = await inPage(async (names) => {
    const bytes = await Promise.all(names.map(bytesOf));
    const file = (i) => new File([bytes[i]], names[i]);
    const one = (i) => `/split/${names[i]}?key=${i}`;
    const record = (of, order = [2, 0, 1]) => ({ files: Object.fromEntries(order.map((i) => [names[i], of(i)])) });
    const sources = {
      whole: '/split/whole.gguf',
      'URL of the first': one(0),
      'URL of the last': one(2),
      files: [file(1), file(2), file(0)],
      blobs: bytes.map((b) => new Blob([b])).reverse(),
      URLs: record(one),
      bytes: record((i) => bytes[i]),
      buffers: record((i) => bytes[i].buffer),
      streams: record((i) => new Blob([bytes[i]]).stream()),
      mixed: record((i) => [one(0), new URL(one(1), location.href), file(2)][i]),
      'first without tensors': '/split/gguf-split-empty-first-00003-of-00004.gguf',
      'gguf-py': '/split/gguf-py-00001-of-00003.gguf',
    };
    const answers = {};
    for (const [name, source] of Object.entries(sources)) answers[name] = await answer(source);
    return answers;
  }, NAMES);
  const { whole, ...others } = got;
  assert.equal(whole.ids.length, 12);
  assert.equal(whole.events.at(-1).file, undefined);
  const sizes = NAMES.map((name) => readFileSync(`${SPLIT}/${name}`).length);
  const total = sizes.reduce((sum, n) => sum + n);
  for (const [name, { ids, text, info, events }] of Object.entries(others)) {
    assert.deepEqual([ids, text], [whole.ids, whole.text], name);
    const count = name.startsWith('first without') ? 4 : 3;
    assert.deepEqual([events.at(-1).file.number, events.at(-1).file.count], [count, count], name);
    assert.equal(events.at(-1).loadedBytes, info.fileBytes, name);
    if (!name.includes('first without') && name !== 'gguf-py') assert.equal(info.fileBytes, total, name);
    assert.equal(info.parameters, whole.info.parameters);
  }
});

test('of the later parts only the beginning is fetched before it is decided; nothing is fetched twice otherwise', async () => {
  await inPage((name) => answer(`/split/${name}?k=1`), NAMES[1]);
  // What the browser's cache has of a part and the rest of it are two requests of the browser for one of ours.
  const asked = site.requests.filter((url, i, all) => url.startsWith('/split/') && url !== all[i - 1]);
  const url = (i) => `/split/${NAMES[i]}?k=1`;
  assert.deepEqual(asked, [url(0), url(1), url(2), url(1), url(2)]);
  await inPage(() => answer('/split/whole.gguf'));
  assert.deepEqual(
    site.requests.filter((path) => path.startsWith('/split/')),
    ['/split/whole.gguf'],
  );
});

test('checksums for each part', async () => {
  const sums = Object.fromEntries(NAMES.map((name) => [name, hashOf(name)]));
  const { right, wrong, string, missing } = await inPage(
    async ([names, sums]) => {
      const load = (sha256) => refusal(`/split/${names[0]}`, { sha256 });
      return {
        right: await load(sums),
        wrong: await load({ ...sums, [names[1]]: 'f'.repeat(64) }),
        string: await load(sums[names[0]]),
        missing: await load({ [names[0]]: sums[names[0]] }),
      };
    },
    [NAMES, sums],
  );
  assert.ok(right.text.length > 0);
  assert.equal(wrong.code, 'E_INTEGRITY');
  assert.deepEqual(wrong.details, { expected: 'f'.repeat(64), actual: sums[NAMES[1]], file: NAMES[1] });
  assert.equal(string.name, 'TypeError');
  assert.equal(missing.name, 'RangeError');
});

test('an abort between the parts ends the loading at once', async () => {
  const { name, ms } = await inPage(async (names) => {
    const bytes = await bytesOf(names[0]);
    const stuck = new ReadableStream({ pull: () => new Promise(() => {}) });
    const controller = new AbortController();
    let abortedMs = 0;
    const reason = await kinglet.Kinglet.load(
      { files: { [names[0]]: bytes, [names[1]]: stuck } },
      {
        device: 'cpu',
        signal: controller.signal,
        onProgress: ({ file }) => {
          if (file?.number !== 2) return;
          abortedMs = performance.now();
          controller.abort();
        },
      },
    ).catch((error) => error);
    return { name: reason.name, ms: performance.now() - abortedMs };
  }, NAMES);
  assert.equal(name, 'AbortError');
  assert.ok(ms < 100, `${ms} ms`);
});

test('what is missing is named', async () => {
  const got = await inPage(
    async (names) => {
      const file = async (i) => new File([await bytesOf(names[i])], names[i]);
      return {
        first: await refusal(await file(0)),
        two: await refusal([await file(0), await file(2)]),
        unnamed: await refusal(new Blob([await bytesOf(names[0])])),
        gone: await refusal('/split/none-00001-of-00003.gguf'),
        checkpoint: await refusal({ files: { 'config.json': new Blob(['{}']), 'model.safetensors': new Blob(['x']) } }),
      };
    },
    NAMES,
    { expected: [/404/] },
  );
  for (const name of ['first', 'two', 'unnamed']) {
    assert.equal(got[name].code, 'E_FILE_FORMAT', name);
    assert.equal(got[name].details.parts, 3, name);
  }
  assert.ok(got.first.message.includes(`${NAMES[1]}, ${NAMES[2]}`), got.first.message);
  assert.match(got.two.message, /of which 1 are missing: gguf-split-00002-of-00003\.gguf/);
  assert.match(got.unnamed.message, /part 1 of 3/);
  assert.equal(got.gone.code, 'E_NETWORK');
  assert.match(got.gone.message, /none-00001-of-00003\.gguf: the server answered 404/);
  assert.equal(got.checkpoint.code, 'E_FILE_FORMAT');
});

test('a page goes on after every kind of bad file', async () => {
  const whole = readFileSync(`${SPLIT}/whole.gguf`);
  const sum = hashOf('whole.gguf');
  const { errors, before, after } = await inPage(async (sum) => {
    const good = await bytesOf('whole.gguf');
    const text = (s) => new TextEncoder().encode(s);
    const changed = (change) => {
      const copy = good.slice();
      change(copy);
      return copy;
    };
    const bad = {
      empty: [new Uint8Array(0)],
      'a web page': [text('<!doctype html><title>Log in</title>')],
      'an LFS pointer': [text('version https://git-lfs.github.com/spec/v1\noid sha256:00')],
      'an error as JSON': [text('{"error":"not found"}')],
      gzip: [Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0)],
      zip: [text('PK\x03\x04')],
      pickle: [Uint8Array.of(0x80, 2, 0x7d, 0x71)],
      'version 9': [changed((file) => (file[4] = 9))],
      'big-endian': [changed((file) => file.set([0, 0, 0, 3], 4))],
      '2^63 tensors': [changed((file) => (file[15] = 0x80))],
      '2^63 keys': [changed((file) => (file[23] = 0x80))],
      'a long key': [changed((file) => file.fill(0xff, 24, 32))],
      'cut in the header': [good.slice(0, 5000)],
      'cut in the weights': [good.slice(0, good.length - 5000)],
      'NaN in the last tensor': [changed((file) => file.fill(0xff, file.length - 40))],
      'a flipped bit': [changed((file) => (file[file.length - 100] ^= 1)), { sha256: sum }],
    };
    const before = (await answer(good, { sha256: sum })).text;
    const errors = {};
    for (const [name, [bytes, options]] of Object.entries(bad)) {
      errors[name] = await refusal(bytes, options);
      errors[`${name}, as a part`] = await refusal({ files: { 'a.gguf': bytes, 'b.gguf': good } });
    }
    return { errors, before, after: (await answer(good)).text };
  }, sum);
  assert.ok(whole.length > 0 && before.length > 0);
  assert.equal(after, before);
  const codes = { '2^63 tensors': 'E_FILE_LIMIT', '2^63 keys': 'E_FILE_LIMIT', 'a flipped bit': 'E_INTEGRITY' };
  for (const [name, error] of Object.entries(errors)) {
    if (name.endsWith(', as a part')) assert.match(error.code ?? '', /^E_FILE_(FORMAT|LIMIT)$/, `${name}: ${error.message}`);
    else assert.equal(error.code, codes[name] ?? 'E_FILE_FORMAT', `${name}: ${error.message}`);
  }
  const says = (name, pattern) => assert.match(errors[name].message, pattern);
  says('a web page', /HTML: a web page came instead/);
  says('an LFS pointer', /Git-LFS pointer/);
  says('an error as JSON', /JSON/);
  says('gzip', /gzip/);
  says('zip', /ZIP/);
  says('pickle', /pickle/);
  says('NaN in the last tensor', /tensor/);
  says('a web page, as a part', /^a\.gguf: /);
});

test('a tokenizer.json takes the place of the vocabulary', async () => {
  const whole = readFileSync(`${SPLIT}/whole.gguf`);
  const pieces = stringsOf(whole, 'tokenizer.ggml.tokens');
  const json = (pieces, merges) => ({
    version: '1.0',
    added_tokens: pieces.slice(0, 3).map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])), merges },
  });
  const same = json(pieces, stringsOf(whole, 'tokenizer.ggml.merges'));
  const got = await inPage(
    async ([same, without, long]) => {
      const load = async (tokenizer) => {
        const files = { 'whole.gguf': '/split/whole.gguf', 'tokenizer.json': new Blob([JSON.stringify(tokenizer)]) };
        const engine = await kinglet.Kinglet.load({ files }, { device: 'cpu' });
        const ids = await engine.tokenize('the in on at');
        await engine.close();
        return { ids, text: (await answer({ files })).text };
      };
      const engine = await kinglet.Kinglet.load('/split/whole.gguf', { device: 'cpu' });
      const ids = await engine.tokenize('the in on at');
      await engine.close();
      return {
        own: { ids, text: (await answer('/split/whole.gguf')).text },
        same: await load(same),
        without: await load(without),
        long: await load(long).catch(({ code, message }) => ({ code, message })),
      };
    },
    [same, json(pieces, []), json([...pieces, 'one more'], [])],
  );
  assert.deepEqual(got.same, got.own);
  assert.equal(got.without.ids.length, 'the in on at'.length, 'without merges every byte is a token');
  assert.ok(got.own.ids.length < got.without.ids.length);
  assert.equal(got.long.code, 'E_FILE_FORMAT', got.long.message);
});

test('the parts in the repository are those of the tools', () => {
  assert.equal(readdirSync(SPLIT).length, 3 + 4 + 3 + 1);
});
