// Models loaded from addresses are offered again; files are not; what is kept can be forgotten.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serve } from '../../www/demo/serve.mjs';
import { folder, loadSmall, openDemo } from './demo_page.mjs';

let demo;
let models;
before(async () => {
  demo = await openDemo();
  models = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': folder('tests/models') }, port: 0 });
});
after(async () => {
  await demo?.close();
  await models?.close();
});

const names = (page) => page.evaluate(() => [...document.querySelectorAll('#recent li > button:first-child')].map((b) => b.textContent));
const ready = (page) => page.waitForSelector('body[data-state=ready]', { timeout: 30_000 });

test('an address that was loaded is offered at the next visit, loads by a click, and is forgotten by another', () =>
  demo.visit(async (page) => {
    await page.goto(models.url);
    assert.equal(await page.isVisible('#recent'), false);
    await loadSmall(page);
    await page.click('#change-model');
    await page.waitForSelector('body[data-state=empty]');
    assert.deepEqual(await names(page), [], 'a file is not kept');
    await page.fill('#model-url', `${models.url}/models/stories260K.gguf`);
    await page.press('#model-url', 'Enter');
    await ready(page);
    await page.reload();
    assert.deepEqual(await names(page), ['stories260K.gguf']);
    assert.match(await page.innerText('#recent'), /this page’s server/);
    await page.click('#recent button:has-text("stories260K")');
    await ready(page);
    await page.click('#change-model');
    await page.waitForSelector('body[data-state=empty]');
    assert.deepEqual(await names(page), ['stories260K.gguf'], 'once');
    await page.click('[aria-label="Forget stories260K.gguf"]');
    assert.equal(await page.isVisible('#recent'), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'load-default');
    await page.reload();
    assert.deepEqual(await names(page), []);
  }));

for (const kept of ['{', '"x"', '[1, null, {"name": "a"}, {"name": "b", "url": "http://["}]'])
  test(`what is kept is odd (${kept}): the page opens as if nothing were`, () =>
    demo.visit(async (page) => {
      await page.evaluate((kept) => localStorage.setItem('kinglet.recent', kept), kept);
      await page.reload();
      assert.equal(await page.isVisible('#recent'), false);
      assert.equal(await page.isVisible('#load-default'), true);
    }));
