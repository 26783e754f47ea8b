// The watchers of the WebGPU tests notice what they are for: something made per token, an error that no scope caught, a warning,
// a buffer that is never given back.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, SOFTWARE_GPU } from './browser.mjs';
import { openGpuSite, seen, visiting, workerOf } from './gpu/page.mjs';

let browser;
let site;

before(async () => {
  site = await openGpuSite();
  browser = await launch({ args: SOFTWARE_GPU });
});

after(async () => {
  await browser?.close();
  await site?.close();
});

/** Loads a model, does `wrong` in its worker (a device is its argument), and resolves to what the worker has seen. */
const doing = (wrong, more = async () => {}) =>
  visiting(browser, site, async (page) => {
    await page.evaluate(async () => {
      globalThis.engine = await load('webgpu');
    });
    const before = await seen(page);
    await workerOf(page).evaluate((source) => eval(`(${source})`)(gpuWatch.devices.at(-1).device), String(wrong));
    await page.waitForTimeout(200);
    await more(page);
    return { before, after: page.workers().length > 0 ? await seen(page) : undefined };
  });

const makeBuffer = (device) =>
  void (globalThis.kept = device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE }));

test('one more of anything that is made', async () => {
  const { before, after } = await doing(makeBuffer);
  assert.equal(after.made.createBuffer, before.made.createBuffer + 1);
  assert.equal(after.live, before.live + 1);
  const compute = (device) =>
    device.createShaderModule({ code: '@compute @workgroup_size(1) fn main() { _ = inverseSqrt(4.0); }' });
  const module = await doing(compute);
  assert.equal(module.after.made.createShaderModule, module.before.made.createShaderModule + 1);
});

test('a buffer that outlives close', () =>
  doing(makeBuffer, async (page) => {
    await page.evaluate(() => engine.close());
    await page.waitForTimeout(100);
    assert.ok((await page.evaluate(() => buffers.live)) >= 1);
  }));

test('an error that nobody expects, and a warning, fail the visit', async () => {
  const invalid = (device) => void device.createBuffer({ size: 16, usage: 0 });
  await assert.rejects(doing(invalid), /uncaptured: /);
  await assert.rejects(
    doing(() => console.warn('careful')),
    /console\.warn: careful/,
  );
});
