// The compare page: two settings of a model, two models, and what they have in common.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { folder, loadSmall, openDemo, SMALL_MODEL } from './demo_page.mjs';

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

const open = async (page) => {
  await page.click('#views a[href="#compare"]');
  await page.waitForSelector('.sides .side');
};
const set = (page, side, values) =>
  page.evaluate(
    ([side, values]) => {
      for (const [name, value] of Object.entries(values)) {
        const field = document.getElementById(`compare-${side}-${name}`);
        field.value = String(value);
        field.dispatchEvent(new Event('input', { bubbles: true }));
      }
    },
    [side, values],
  );
const answers = (page) =>
  page.evaluate(() => [...document.querySelectorAll('.side')].map((side) => side.querySelector('.answer-text').innerText.trim()));
const begin = async (page, text) => {
  await page.fill('#view-compare textarea >> nth=0', text);
  await page.press('#view-compare textarea >> nth=0', 'Enter');
};
const both = (page) =>
  page.waitForFunction(
    () => document.querySelectorAll('.side:not([aria-busy]) .foot .figures').length === 2 && document.querySelector('.verdict').textContent,
    null,
    { timeout: 30_000 },
  );

test('two settings: the same where they are the same, and where they part is said', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await open(page);
    for (const side of ['a', 'b']) await set(page, side, { temperature: 0, max_tokens: 16 });
    await begin(page, 'Once upon a time');
    await both(page);
    const [a, b] = await answers(page);
    assert.equal(a, b);
    assert.notEqual(a, '');
    assert.equal(await page.innerText('.verdict'), 'Both answers are the same.');
    assert.match(await page.innerText('.side >> nth=1 >> .foot .figures'), /^16 tokens/);

    await set(page, 'b', { max_tokens: 24 });
    await begin(page, 'Once upon a time');
    await page.waitForFunction(() => /B says the same, and goes on/.test(document.querySelector('.verdict').textContent));
    await set(page, 'b', { temperature: 2, min_p: 0, top_p: 1, seed: 3 });
    assert.match(await page.innerText('.side >> nth=1 >> summary >> nth=0'), /Your own/);
    await begin(page, 'Once upon a time');
    await page.waitForFunction(() => /part behind|differ from the first/.test(document.querySelector('.verdict').textContent));
    const [, other] = await answers(page);
    assert.notEqual(other, b);
    await page.click('.side >> nth=1 >> .copy');
    assert.equal((await page.evaluate(() => navigator.clipboard.readText())).trim().length > 0, true);
  }));

test('the system prompt of a side is its own', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await open(page);
    for (const side of ['a', 'b']) await set(page, side, { temperature: 0, max_tokens: 16 });
    await page.click('.side >> nth=1 >> details >> nth=0 >> summary');
    await page.fill('.side >> nth=1 >> textarea', 'A story about a big red dog named Max.');
    await begin(page, 'Tell me.');
    await both(page);
    const [a, b] = await answers(page);
    assert.notEqual(a, b);
  }));

test('two models: B is loaded beside A, answers, and is given back', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await open(page);
    const names = () => page.evaluate(() => [...document.querySelectorAll('.model-name')].map((span) => span.textContent));
    assert.deepEqual(await names(), ['stories260K.gguf', 'stories260K.gguf']);
    const buffer = Buffer.from('not a model');
    await page.setInputFiles('.second-model input[type=file]', { name: 'bad.gguf', mimeType: '', buffer });
    await page.waitForSelector('.second-model .error');
    await page.setInputFiles('.second-model input[type=file]', folder('tests/golden/tiny_full.gguf'));
    await page.waitForSelector('.second-model button:has-text("Back to")');
    assert.equal(await page.locator('.second-model .error').count(), 0);
    assert.deepEqual(await names(), ['stories260K.gguf', 'tiny_full.gguf']);
    for (const side of ['a', 'b']) await set(page, side, { temperature: 0, max_tokens: 12 });
    await begin(page, 'Once upon a time');
    await both(page);
    const [a, b] = await answers(page);
    assert.notEqual(a, b);
    await page.click('.second-model button:has-text("Back to")');
    assert.deepEqual(await names(), ['stories260K.gguf', 'stories260K.gguf']);
    await begin(page, 'Once upon a time');
    await page.waitForFunction(() => /same/.test(document.querySelector('.verdict').textContent));
  }));

test('cancelled in the middle, what there is stays; on a phone the sides lie below each other', () =>
  demo.visit(
    async (page) => {
      await loadSmall(page);
      await open(page);
      for (const side of ['a', 'b']) await set(page, side, { temperature: 0, max_tokens: 400 });
      await page.evaluate(() =>
        new MutationObserver((_, observer) => {
          if (!(document.querySelector('.side .answer-text')?.textContent.length > 20)) return;
          observer.disconnect();
          [...document.querySelectorAll('#view-compare button')].find((one) => one.textContent === 'Cancel' && one.offsetParent).click();
        }).observe(document.querySelector('.sides'), { childList: true, subtree: true }),
      );
      await begin(page, 'Tell me all');
      await page.waitForFunction(() => /stopped/.test(document.querySelector('.side .foot .figures')?.textContent));
      const [a, b] = await answers(page);
      assert.ok(a.length > 20);
      assert.equal(b, '');
      const [first, second] = await Promise.all([0, 1].map((n) => page.locator('.side').nth(n).boundingBox()));
      assert.ok(second.y >= first.y + first.height);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} px wider than the phone`);
    },
    { viewport: { width: 360, height: 740 }, hasTouch: true },
  ));

test('without a model the default one would be loaded; a file dropped here becomes A', () =>
  demo.visit(async (page) => {
    await open(page);
    assert.equal(await page.isVisible('#view-compare #model-card'), true);
    await page.setInputFiles('#model-file', SMALL_MODEL);
    await page.waitForSelector('body[data-state=ready]');
    assert.equal(await page.innerText('.model-name >> nth=0'), 'stories260K.gguf');
  }));
