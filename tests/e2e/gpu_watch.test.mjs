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

/** In the worker, on its device. */
const wrongs = {
  buffer: (device) => void (globalThis.kept = device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE })),
  module: (device) =>
    device.createShaderModule({ code: '@compute @workgroup_size(1) fn main() { _ = inverseSqrt(4.0); }' }),
  invalid: (device) => void device.createBuffer({ size: 16, usage: 0 }),
  warning: () => console.warn('careful'),
};

test('what should not be is counted, complained of, and fails the visit', async () => {
  const states = {};
  const visit = visiting(browser, site, async (page) => {
    await page.evaluate(async () => {
      globalThis.engine = await load('webgpu');
    });
    states.loaded = await seen(page);
    for (const [name, wrong] of Object.entries(wrongs)) {
      await workerOf(page).evaluate((source) => eval(`(${source})`)(gpuWatch.devices.at(-1).device), String(wrong));
      states[name] = await seen(page);
    }
    await page.evaluate(() => engine.close());
    await page.waitForTimeout(100);
    states.live = await page.evaluate(() => buffers.live);
  });
  await assert.rejects(visit, (error) => /uncaptured: .*console\.warn: careful/s.test(error.message));
  const { loaded, buffer, module, warning, live } = states;
  assert.deepEqual(loaded.problems, []);
  assert.equal(buffer.made.createBuffer, loaded.made.createBuffer + 1);
  assert.equal(buffer.live, loaded.live + 1);
  assert.equal(module.made.createShaderModule, loaded.made.createShaderModule + 1);
  assert.equal(warning.problems.length, 2);
  assert.ok(live >= 1, 'a buffer that outlives close');
});
