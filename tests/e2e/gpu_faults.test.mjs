// What goes wrong with GPUs, in Chromium: none is there, a software one under 'auto', one that computes wrong or leaves work out,
// one that is lost while it loads or computes. 'webgpu' rejects with the code, 'auto' goes on with the CPU and says why.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, NOT_LONG, SOFTWARE_GPU } from './browser.mjs';
import { openGpuSite, seen, visiting, workerOf } from './gpu/page.mjs';

const LOST_LIMIT_MS = 2_000;

let site;
before(async () => {
  site = await openGpuSite();
});
after(() => site?.close());

/** A test suite with a browser of its own. */
function withBrowser(name, args, tests) {
  describe(name, () => {
    let browser;
    before(async () => {
      browser = await launch({ args });
    });
    after(() => browser?.close());
    tests((work, options) => visiting(browser, site, work, options));
  });
}

/** In the page: what loading gave, and a text, which is the CPU's wherever it comes from. */
async function outcome({ device, faults }) {
  const result = {};
  result.error = await caught(async () => {
    globalThis.engine = await load(device, faults);
    result.device = engine.info.device;
    result.text = (
      await engine.completions.create({ prompt: 'Once upon a time', max_tokens: 8, temperature: 0 })
    ).choices[0].text;
  });
  return result;
}

withBrowser('a browser that gives no adapter', [], (visit) => {
  test("'webgpu': E_GPU_UNAVAILABLE, saying what is missing", () =>
    visit(async (page) => {
      const { error } = await page.evaluate(outcome, { device: 'webgpu', faults: '' });
      assert.equal(error.code, 'E_GPU_UNAVAILABLE');
      assert.match(error.message, /no WebGPU adapter/);
    }));

  test("'auto': the CPU, for that reason", () =>
    visit(async (page) => {
      const { device, text } = await page.evaluate(outcome, { device: 'auto', faults: '' });
      assert.equal(device.kind, 'cpu');
      assert.match(device.reason, /^CPU: .*no WebGPU adapter.*; relaxed SIMD/);
      assert.ok(device.threads > 0 && text.length > 0);
    }));
});

withBrowser(
  'a page without a secure context',
  ['--host-resolver-rules=MAP insecure.test 127.0.0.1', ...SOFTWARE_GPU],
  (visit) => {
    test("'webgpu': E_GPU_UNAVAILABLE, naming the secure context", () => {
      const url = `${site.url.replace('127.0.0.1', 'insecure.test')}/index.html`;
      const load = () => caught(() => kinglet.Kinglet.load('/model.gguf', { device: 'webgpu' }));
      return visit(
        async (page) => {
          const error = await page.evaluate(load);
          assert.equal(error.code, 'E_GPU_UNAVAILABLE', error.message);
          assert.match(error.message, /secure context.*https/);
        },
        { url, expected: [/Cross-Origin-(Opener|Embedder)-Policy/] },
      );
    });
  },
);

withBrowser('a software adapter', SOFTWARE_GPU, (visit) => {
  let right;
  test("'auto': the CPU, for that reason, and no device is asked for", () =>
    visit(async (page) => {
      const { device, text } = await page.evaluate(outcome, { device: 'auto', faults: '' });
      assert.equal(device.kind, 'cpu');
      assert.match(device.reason, /software adapter \(.*swiftshader/i);
      assert.deepEqual((await seen(page)).made, {});
      right = text;
    }));

  test("taken for hardware, 'auto' uses it", () =>
    visit(async (page) => {
      const { device, text } = await page.evaluate(outcome, { device: 'auto', faults: '?hardware' });
      assert.deepEqual([device.kind, device.adapter, device.software], ['webgpu', 'acme rocket', false]);
      assert.match(device.reason, /passed the self-check/);
      assert.equal(text, right);
    }));

  test("'auto' takes the device that was faster with such a model", () =>
    visit(async (page) => {
      const devices = await page.evaluate(async () => {
        const devices = [];
        for (const [device, faults] of [
          ['cpu', ''],
          ['auto', '?hardware'],
          ['auto', '?hardware'],
        ]) {
          // An answer of which some was guessed ahead does not tell how fast the device is.
          const engine = await load(device, faults, { speculation: 'off' });
          await engine.completions.create({ prompt: 'Once upon a time', max_tokens: 40, ignore_eos: true });
          devices.push(engine.info.device);
          await engine.close();
        }
        return devices;
      });
      assert.deepEqual(
        devices.map(({ kind }) => kind),
        ['cpu', 'webgpu', 'cpu'],
      );
      assert.match(devices[2].reason, /^CPU: faster here with models of this size, \d+ against [\d.]+ tokens .*acme rocket/);
    }));

  const lies = [
    ['wgsl', 'a shader that computes another function', { skip: { webgpu: false, auto: NOT_LONG } }],
    ['drop=2', 'an adapter that leaves work out', { skip: { webgpu: NOT_LONG, auto: false } }],
  ];
  for (const [lie, what, { skip }] of lies) {
    test(`${what}: E_GPU_WRONG for 'webgpu'`, { skip: skip.webgpu }, () =>
      visit(async (page) => {
        const { error } = await page.evaluate(outcome, { device: 'webgpu', faults: `?${lie}` });
        assert.equal(error.code, 'E_GPU_WRONG', error.message);
      }));

    test(`${what}: the CPU for 'auto', with the model fetched once`, { skip: skip.auto }, () =>
      visit(async (page) => {
        const before = site.requests.filter((path) => path === '/model.gguf').length;
        const { device, text, error } = await page.evaluate(outcome, { device: 'auto', faults: `?hardware&${lie}` });
        assert.equal(device?.kind, 'cpu', error.message);
        assert.match(device.reason, /^CPU: the GPU \(acme rocket\) failed the self-check: ./);
        assert.equal(text, right);
        assert.ok((await seen(page)).altered > 0, 'the adapter has lied');
        assert.equal(site.requests.filter((path) => path === '/model.gguf').length, before + 1);
        assert.equal((await seen(page)).live, 0, 'the GPU has its memory back');
      }));
  }

  test("lost while it loads: E_GPU_LOST for 'webgpu', the CPU for 'auto'", () =>
    visit(async (page) => {
      const { error } = await page.evaluate(outcome, { device: 'webgpu', faults: '?lose=3' });
      assert.equal(error.code, 'E_GPU_LOST', error.message);
      const auto = await page.evaluate(outcome, { device: 'auto', faults: '?hardware&lose=3' });
      assert.equal(auto.device?.kind, 'cpu', auto.error.message);
      assert.match(auto.device.reason, /stopped answering while the model was loaded/);
      assert.equal(auto.text, right);
    }));

  test('lost in the middle of a generation: that call and every later one, at once, until close', () =>
    visit(async (page) => {
      await page.evaluate(async () => {
        globalThis.engine = await load('webgpu');
        const call = (params) =>
          engine.completions.create({ prompt: 'Once', max_tokens: 400, ignore_eos: true, ...params });
        globalThis.calls = [call(), call()].map((one) => caught(() => one));
        globalThis.stream = await call({ stream: true });
        globalThis.streamed = caught(async () => {
          for await (const _ of stream);
        });
        await new Promise((resolve) => setTimeout(resolve, 100));
      });
      const worker = workerOf(page);
      await worker.evaluate(() => gpuWatch.devices.at(-1).device.destroy());
      const got = await page.evaluate(async () => {
        const at = performance.now();
        const errors = await Promise.all([...calls, streamed]);
        errors.push(await caught(() => engine.completions.create({ prompt: 'x' })));
        errors.push(await caught(() => engine.chat.completions.create({ messages: [{ role: 'user', content: 'x' }] })));
        const ms = performance.now() - at;
        await engine.close();
        return { errors, ms, closed: await caught(() => engine.completions.create({ prompt: 'x' })) };
      });
      for (const error of got.errors) assert.equal(error.code, 'E_GPU_LOST', error.message);
      assert.ok(got.ms < LOST_LIMIT_MS, `${got.ms} ms`);
      assert.equal(got.closed.name, 'InvalidStateError');
      const next = await page.evaluate(outcome, { device: 'webgpu', faults: '' });
      assert.equal(next.text, right, 'a new engine works');
    }));
});
