// The CPU path in three engines of browsers: Chromium, Firefox, WebKitGTK. Both binaries, with and without cross-origin isolation, with
// memory that is refused: the tokens are those that the engine gives natively, on as many threads as the page may have. Then the demo
// page, with the default model. Each browser is driven over WebDriver (webdriver.mjs). What was found is left in target/browsers.json, of which
// scripts/browsers_page.mjs makes docs/browsers.md.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { openKingletSite } from './kinglet_page.mjs';
import { openBrowser } from './webdriver.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const STORED = JSON.parse(readFileSync(folder('tests/golden/page_tokens.json'), 'utf8'));
const NATIVE = STORED.cases.map((one) => one.tokens);
const MODELS = process.env.KINGLET_MODELS ?? folder('.cache/models');
const DEFAULT_MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';

const STOP_LIMIT_MS = 1000;

/** What each browser has: a build for it, and threads where the page is isolated. */
const BROWSERS = [
  { name: 'chromium', builds: ['relaxed', 'simd'], threads: 2 },
  { name: 'firefox', builds: ['relaxed', 'simd'], threads: 2 },
  // It calls an isolated page isolated, and keeps SharedArrayBuffer from it.
  { name: 'webkit', builds: ['simd'], threads: 1 },
  // As Safari: there an isolated page has SharedArrayBuffer.
  { name: 'webkit', environment: { JSC_useSharedArrayBuffer: '1' }, builds: ['simd'], threads: 2 },
];

const nameOf = ({ name, environment }) => [name, ...Object.keys(environment ?? {})].join(', ');

/** Name of a browser → what it was found to be and to do. */
const found = new Map(BROWSERS.map((one) => [nameOf(one), { name: nameOf(one), lives: [] }]));
after(() => {
  mkdirSync(folder('target'), { recursive: true });
  const all = { date: new Date().toISOString().slice(0, 10), browsers: [...found.values()] };
  writeFileSync(folder('target/browsers.json'), `${JSON.stringify(all, null, 2)}\n`);
});

/** In the page: what the browser offers. */
const offers = () => ({ userAgent: navigator.userAgent, webgpu: 'gpu' in navigator });

/** Makes browsers refuse memory, in the page and in the engine's worker: each says on a channel what it was asked for. */
const PAGES_OF_A_GIB = 16_384;
const REFUSALS = {
  'memory that is shared': ({ shared }) => shared,
  'a shared maximum of more than 1 GiB': ({ shared, maximum }) => shared && maximum > 16_384,
};
const refusing = (refuses) => `{
  const { Memory } = WebAssembly;
  const channel = new BroadcastChannel('memory');
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor) {
      const refused = (${refuses})(descriptor);
      if (descriptor.initial > 1) channel.postMessage([Boolean(descriptor.shared), descriptor.maximum, refused]);
      if (refused) throw new RangeError('refused by the test');
      super(descriptor);
    }
  };
}
`;

const inWords = (n_threads) => (n_threads === 1 ? '1 thread' : `${n_threads} threads`);

/** In the page: one engine's life. Two threads are asked for. */
async function live(options) {
  const memories = [];
  const channel = new BroadcastChannel('memory');
  channel.onmessage = ({ data }) => memories.push(data);
  const load = () => Kinglet.load('/models/tiny_full.gguf', { device: 'cpu', threads: 2, ...options });
  const complete = (engine, params, call) =>
    engine.completions.create({ prompt: 'the in on at', max_tokens: 12, ignore_eos: true, seed: 5, ...params }, call);
  const tokensOf = async (engine) => {
    const tokens = [];
    for (const temperature of [0, 0.7]) tokens.push((await complete(engine, { temperature })).choices[0].token_ids);
    return tokens;
  };
  const outcome = (call) =>
    call.then(
      () => 'finished',
      (error) => `${error?.name}: ${error?.message}`,
    );

  const engine = await load();
  const first = await tokensOf(engine);
  const messages = [{ role: 'user', content: 'hello' }];
  const chat = { messages, max_tokens: 8, seed: 1 };
  const whole = await engine.chat.completions.create(chat);
  let streamed = '';
  let n_chunks = 0;
  for await (const chunk of await engine.chat.completions.create({ ...chat, stream: true })) {
    streamed += chunk.choices[0]?.delta.content ?? '';
    n_chunks += 1;
  }

  const controller = new AbortController();
  const aborted = outcome(complete(engine, { max_tokens: 400 }, { signal: controller.signal }));
  setTimeout(() => controller.abort(new Error('enough')), 5);
  const reason = await aborted;
  const afterAbort = await tokensOf(engine);

  const pending = outcome(complete(engine, { max_tokens: 400 }));
  await engine.close();
  const closed = await pending;

  const next = await load();
  const again = await tokensOf(next);
  await next.close();
  return {
    device: engine.info.device,
    build: engine.info.build,
    tokens: [first, afterAbort, again],
    whole: whole.choices[0].message.content,
    streamed,
    n_chunks,
    reason,
    closed,
    memories,
  };
}

for (const one of BROWSERS) {
  const { name, environment, builds, threads } = one;
  const notes = found.get(nameOf(one));
  describe(nameOf(one), () => {
    let session;
    const sites = new Map();
    before(async () => {
      for (const isolated of [true, false])
        sites.set(isolated, await openKingletSite(folder('tests/golden'), { isolated }));
      session = await openBrowser(name, { environment });
      notes.version = session.version;
    });
    after(async () => {
      await session?.close();
      for (const site of sites.values()) await site.close();
    });

    test('what consoles and exceptions say is heard', async () => {
      await session.goTo(`${sites.get(true).url}/`, 'Kinglet');
      assert.deepEqual(await session.complaints(), []);
      Object.assign(notes, await session.run(offers));
      await session.run(async () => {
        console.error('said by the page');
        setTimeout(() => {
          throw new Error('thrown by the page');
        });
        const source = "console.warn('said by a worker'); postMessage(0);";
        const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
        await new Promise((resolve) => (worker.onmessage = resolve));
      });
      const heard = (await session.complaints()).join('\n');
      const all = ['said by the page', 'thrown by the page', 'said by a worker'];
      for (const what of all.slice(0, name === 'webkit' ? 2 : 3)) assert.ok(heard.includes(what), `${what}: ${heard}`);
    });

    for (const isolated of [true, false]) {
      const n_threads = isolated ? threads : 1;
      for (const build of builds) {
        test(`${build}, ${isolated ? 'isolated' : 'not isolated'}: ${inWords(n_threads)}, the engine's own tokens`, async () => {
          await session.goTo(`${sites.get(isolated).url}/`, 'Kinglet');
          // The first is what the browser gets by itself.
          const got = await session.run(live, build === builds[0] ? {} : { wasmUrl: `/kinglet/kinglet_${build}.wasm` });
          assertLived(got, { build, n_threads });
          notes.lives.push({ build, isolated, threads: got.device.threads, refused: null });
          if (!isolated) assert.match(got.device.reason, /1 thread: the page is not cross-origin isolated/);
          assert.deepEqual(await session.complaints(), []);
        });
      }
    }

    test('a cache of 32-bit floats, whose code is fetched when it is called for: the same tokens, by one thread and by more', async () => {
      const found = [];
      for (const isolated of [true, false])
        for (const build of builds) {
          const site = sites.get(isolated);
          await session.goTo(`${site.url}/`, 'Kinglet');
          const from = site.requests.length;
          const got = await session.run(live, { kvType: 'f32', wasmUrl: `/kinglet/kinglet_${build}.wasm` });
          const [first] = got.tokens;
          for (const tokens of got.tokens) assert.deepEqual(tokens, first);
          found.push(first);
          assert.equal(got.device.threads, isolated ? threads : 1);
          assert.ok(site.requests.slice(from).includes(`/kinglet/kinglet_${build}_later.wasm`));
          assert.deepEqual(await session.complaints(), []);
        }
      for (const tokens of found) assert.deepEqual(tokens, found[0]);
    });

    for (const [what, refuses] of Object.entries(REFUSALS)) {
      const isShared = what !== 'memory that is shared';
      const n_threads = isShared ? threads : 1;
      for (const build of builds) {
        test(`${build}, refused ${what}: ${inWords(n_threads)}, the engine's own tokens`, async () => {
          const site = sites.get(true);
          for (const file of ['index.js', 'worker.js'])
            site.answers.set(`/kinglet/${file}`, (response, path) =>
              response
                .writeHead(200, { 'content-type': 'text/javascript' })
                .end(refusing(refuses) + readFileSync(path, 'utf8')),
            );
          await session.goTo(`${site.url}/`, 'Kinglet');
          const got = await session.run(live, { wasmUrl: `/kinglet/kinglet_${build}.wasm` });
          assertLived(got, { build, n_threads });
          notes.lives.push({ build, isolated: true, threads: got.device.threads, refused: what });
          if (!isShared)
            assert.match(got.device.reason, /1 thread: this browser refuses shared memory for WebAssembly/);
          const granted = got.memories.filter(([, , refused]) => !refused);
          assert.deepEqual(
            granted.map(([shared, maximum]) => [shared, maximum]),
            Array(2).fill([isShared, isShared ? PAGES_OF_A_GIB : 4 * PAGES_OF_A_GIB]),
          );
          assert.equal(got.memories.length > granted.length, isShared, 'what was refused is not asked for again');
          assert.deepEqual(await session.complaints(), []);
        });
      }
    }
  });
}

test('firefox without atomic instructions: an error that says so', async () => {
  const site = await openKingletSite(folder('tests/golden'));
  const session = await openBrowser('firefox', { preferences: { 'javascript.options.shared_memory': false } });
  try {
    await session.goTo(`${site.url}/`, 'Kinglet');
    const error = await session.run(() =>
      Kinglet.load('/models/tiny_full.gguf').catch(({ code, message }) => ({ code, message })),
    );
    assert.equal(error.code, 'E_UNSUPPORTED_FEATURE');
    assert.match(error.message, /no WebAssembly atomic instructions/);
  } finally {
    await session.close();
    await site.close();
  }
});

function assertLived(got, { build, n_threads }) {
  for (const tokens of got.tokens) assert.deepEqual(tokens, NATIVE);
  assert.deepEqual([got.device.kind, got.device.threads], ['cpu', n_threads], got.device.reason);
  assert.equal(got.device.simd, build === 'relaxed' ? 'relaxed' : 'simd128');
  assert.match(got.build, new RegExp(` ${build}$`));
  assert.equal(got.streamed, got.whole);
  assert.ok(got.n_chunks > 2, `${got.n_chunks} chunks`);
  assert.equal(got.reason, 'Error: enough');
  assert.equal(got.closed, 'AbortError: the engine was closed');
}

/** In the page: what its tests do by the controls that a visitor has. Firefox runs each script with globals of its own, hence `window`. */
const prepareVisitor = () => {
  const one = (selector) => document.querySelector(selector);
  const until = async (holds) => {
    while (!holds()) {
      const error = one('#load-error').textContent;
      if (error) throw new Error(error);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const set = (id, value) => {
    const field = document.getElementById(id);
    field.value = value;
    for (const type of ['input', 'change']) field.dispatchEvent(new Event(type, { bubbles: true }));
  };
  Object.assign(window, { one, until, set });
};

/** In the page: loads the default model and asks. */
async function askForTheCapital() {
  await until(() => one('#machine').textContent); // its scripts have run
  one('#load-default').click();
  await until(() => document.body.dataset.state === 'ready');
  set('sampling-max_tokens', '12');
  set('sampling-temperature', '0');
  set('message', 'What is the capital of France, and what is it known for?');
  one('#send').click();
  await until(() => one('.answer:not([aria-busy]) .figures'));
  return {
    answer: one('.answer-text').textContent,
    facts: one('#facts').textContent,
    machine: one('#machine').textContent,
  };
}

/** In the page: begins a long answer and stops it. Gives what it said of it and how long stopping took. */
async function stopAnAnswer() {
  set('sampling-max_tokens', '1000');
  set('message', 'Tell me a very long story about a bird.');
  one('#send').click();
  const answer = () => document.querySelectorAll('.answer')[1];
  await until(() => answer()?.querySelector('.answer-text').textContent.length > 20);
  const at = performance.now();
  one('#stop').click();
  await until(() => !document.body.hasAttribute('data-busy'));
  const ms = performance.now() - at;
  return { ms, figures: answer().querySelector('.figures').textContent };
}

/** In the page, opened anew: the conversation of before is in the list, and is shown when it is chosen. */
async function openKept() {
  await until(() => one('#conversations a'));
  one('#conversations a').click();
  await until(() => document.querySelectorAll('.answer').length === 2);
  return [...document.querySelectorAll('.said')].map(({ textContent }) => textContent);
}

for (const { name, threads, environment } of BROWSERS) {
  if (environment) continue;
  test(`${name}: the demo page answers with the default model, stops, keeps the conversation`, async () => {
    assert.ok(existsSync(join(MODELS, DEFAULT_MODEL)), `${DEFAULT_MODEL} is not in ${MODELS}`);
    const site = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': MODELS }, port: 0 });
    const session = await openBrowser(name);
    try {
      await session.goTo(site.url, 'document');
      await session.run(prepareVisitor);
      const { answer, facts, machine } = await session.run(askForTheCapital);
      assert.match(answer, /Paris/);
      // Where there may be more, the engine finds out how many are fastest.
      assert.match(facts, threads === 1 ? /Threads1Instructions/ : /Threads\d+Instructions/);
      assert.match(machine, threads === 1 ? /isolated, but threads get no shared memory/ : /may use several threads/);
      const { ms, figures } = await session.run(stopAnAnswer);
      assert.match(figures, /stopped/);
      assert.ok(ms < STOP_LIMIT_MS, `stopping took ${ms} ms`);
      const complaints = await session.complaints();
      await session.goTo(site.url, 'document');
      await session.run(prepareVisitor);
      assert.deepEqual(await session.run(openKept), [
        'What is the capital of France, and what is it known for?',
        'Tell me a very long story about a bird.',
      ]);
      complaints.push(...(await session.complaints()));
      assert.deepEqual(
        complaints.filter((text) => !/No available adapters\.$/.test(text)), // Chromium, where there is no GPU
        [],
      );
      found.get(name).page = true;
    } finally {
      await session.close();
      await site.close();
    }
  });
}

test('firefox: the demo page is dark where the system is', async () => {
  const site = await serve({ mounts: { '/': folder('www/demo/dist') }, port: 0 });
  const lightness = {};
  for (const [scheme, override] of [['dark', 0], ['light', 1]]) {
    const session = await openBrowser('firefox', {
      preferences: { 'layout.css.prefers-color-scheme.content-override': override },
    });
    try {
      await session.goTo(site.url, 'document');
      await session.waitFor(() => document.getElementById('machine').textContent !== '');
      lightness[scheme] = await session.run(() =>
        Object.fromEntries(
          ['backgroundColor', 'color'].map((name) => {
            const [r, g, b] = getComputedStyle(document.body)[name].match(/[\d.]+/g).map(Number);
            return [name, (r + g + b) / 3];
          }),
        ),
      );
    } finally {
      await session.close();
    }
  }
  await site.close();
  assert.ok(lightness.dark.backgroundColor < 60 && lightness.dark.color > 180, JSON.stringify(lightness));
  assert.ok(lightness.light.backgroundColor > 200 && lightness.light.color < 80, JSON.stringify(lightness));
});
