// The demo page on WebGPU: the visitor's choice, what the page says of it, and a chat, with the committed small model as a picked
// file. SwiftShader is allowed, because it is chosen.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serve } from '../../www/demo/serve.mjs';
import { launch, SOFTWARE_GPU, visitQuietly } from './browser.mjs';
import { folder } from './gpu/page.mjs';

const MODEL = folder('tests/models/stories260K.gguf');

let browser;
let bare;
let site;

before(async () => {
  site = await serve({ mounts: { '/': folder('www/demo/dist') }, port: 0 });
  browser = await launch({ args: SOFTWARE_GPU });
  bare = await launch();
});

after(async () => {
  await browser?.close();
  await bare?.close();
  await site?.close();
});

/** Opens the page and holds that it complains of nothing. */
const visiting = (visit, { from = browser, ...options } = {}) =>
  visitQuietly(from, site.url, visit, { viewport: { width: 1280, height: 800 }, ...options });

const choose = (page, name) => page.click(`#device label:has-text("${name}")`);
const chosen = (page) => page.evaluate(() => document.querySelector('#device input:checked').value);
const ready = (page) => page.waitForSelector('body[data-state=ready]', { timeout: 60_000 });

async function answer(page) {
  await page.fill('#sampling-max_tokens', '16');
  await page.fill('#message', 'Once upon a time');
  await page.press('#message', 'Enter');
  await page.waitForSelector('.answer:not([aria-busy]) .figures', { timeout: 60_000 });
  return page.innerText('.answer .answer-text');
}

test('GPU by choice: it chats, says what runs where, and that software is slow', () =>
  visiting(async (page) => {
    assert.equal(await chosen(page), 'auto');
    await choose(page, 'GPU');
    assert.match(await page.innerText('#device-hint'), /software/);
    await page.setInputFiles('#model-file', MODEL);
    await ready(page);
    assert.match(await page.innerText('#announce'), /on the GPU/);
    assert.match(await page.innerText('#loaded-name'), /GPU$/);
    assert.match(await page.innerText('#notice'), /imitated in software.*slow/);
    assert.match(await page.innerText('#reason'), /as asked.*swiftshader/i);
    const facts = await page.innerText('#facts');
    assert.match(facts, /Runs on\s+GPU/);
    assert.match(facts, /Adapter\s+.*swiftshader.*\(software\)/i);
    assert.doesNotMatch(facts, /Threads/);
    assert.ok((await answer(page)).length > 0);
    assert.match(await page.innerText('.answer .figures'), /tok\/s/);
  }));

test('Automatic goes to the CPU here and says why; CPU is CPU; the choice is there at the next visit', () =>
  visiting(async (page) => {
    await page.setInputFiles('#model-file', MODEL);
    await ready(page);
    assert.match(await page.innerText('#reason'), /CPU: the only GPU is a software adapter/);
    assert.equal(await page.isVisible('#notice'), false);
    await page.click('#change-model');
    await page.waitForSelector('body[data-state=empty]');
    await choose(page, 'CPU');
    await page.setInputFiles('#model-file', MODEL);
    await ready(page);
    assert.match(await page.innerText('#reason'), /CPU, as asked/);
    assert.ok((await answer(page)).length > 0);
    await page.reload();
    assert.equal(await chosen(page), 'cpu');
  }));

test('no GPU: said in plain words with what to do, and doing it works', () =>
  visiting(
    async (page) => {
      await choose(page, 'GPU');
      await page.setInputFiles('#model-file', MODEL);
      await page.waitForSelector('#load-error:visible');
      const error = page.locator('#load-error');
      assert.match(await error.innerText(), /gets no GPU.*Choose Automatic or CPU.*E_GPU_UNAVAILABLE/s);
      assert.match(await error.innerText(), /no WebGPU adapter/);
      await choose(page, 'Automatic');
      await page.setInputFiles('#model-file', MODEL);
      await ready(page);
      assert.match(await page.innerText('#reason'), /no WebGPU adapter/);
    },
    { from: bare },
  ));

test('the choice by keyboard alone, on a phone, in the dark', () =>
  visiting(
    async (page) => {
      for (let i = 0; i < 20 && (await page.evaluate(() => document.activeElement?.name)) !== 'device'; i++)
        await page.keyboard.press('Tab');
      assert.equal(await page.evaluate(() => document.activeElement.value), 'auto');
      await page.keyboard.press('ArrowRight');
      assert.equal(await chosen(page), 'webgpu');
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement.closest('label')).outlineStyle);
      assert.equal(outline, 'solid', 'the focus is visible');
      const group = page.getByRole('group', { name: 'Where it runs' });
      assert.equal(await group.getByRole('radio').count(), 3);
      const described = await page.evaluate(() => document.activeElement.getAttribute('aria-describedby'));
      assert.equal(described, 'device-hint');
      await page.setInputFiles('#model-file', MODEL);
      await ready(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} px wider than the phone`);
      assert.equal(await page.isVisible('#notice'), true);
    },
    { viewport: { width: 360, height: 740 }, colorScheme: 'dark' },
  ));
