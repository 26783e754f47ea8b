// Models that a visitor brings to the demo page: in parts, picked, dropped or by address; what the page says meanwhile, and what it
// says of files that are not enough or no model. On a tiny model that gguf-split has split.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { launch, visitQuietly } from './browser.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const SPLIT = folder('tests/golden/split');
const NAMES = [1, 2, 3].map((n) => `gguf-split-0000${n}-of-00003.gguf`);

let browser;
let site;

before(async () => {
  site = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': SPLIT }, port: 0 });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
});

const visiting = (visit, options) =>
  visitQuietly(browser, site.url, visit, { viewport: { width: 1280, height: 800 }, ...options });

const loaded = (page, name) =>
  page.waitForFunction((n) => document.getElementById('loaded-name').textContent.startsWith(`${n} ·`), name);

/** The greedy answer of what is loaded. */
async function answer(page) {
  await page.fill('#sampling-max_tokens', '8');
  await page.fill('#sampling-temperature', '0');
  await page.click('#new-chat');
  await page.fill('#message', 'the in on at');
  await page.press('#message', 'Enter');
  await page.waitForSelector('.answer:not([aria-busy]) .figures');
  return page.locator('.answer .answer-text').innerText();
}

/** In the page: files are dropped on it. */
async function drop(files) {
  const dataTransfer = new DataTransfer();
  for (const [url, name] of files) {
    dataTransfer.items.add(new File([await (await fetch(url)).blob()], name));
  }
  document.dispatchEvent(new DragEvent('dragover', { dataTransfer, cancelable: true }));
  if (document.getElementById('drop-hint').hidden) throw new Error('nothing says that files may be dropped');
  document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
  if (!document.getElementById('drop-hint').hidden) throw new Error('the hint stays');
}
const dropped = (names) => names.map((name) => [`models/${name}`, name]);

test('a split model by address, picked and dropped answers as the whole file does', () =>
  visiting(async (page) => {
    const texts = [];
    const back = async () => {
      texts.push(await answer(page));
      await page.click('#change-model');
      await page.waitForSelector('body[data-state=empty]');
    };
    await page.click('#other-models summary');
    await page.fill('#model-url', `${site.url}/models/whole.gguf`);
    await page.press('#model-url', 'Enter');
    await loaded(page, 'whole.gguf');
    await back();
    await page.fill('#model-url', `${site.url}/models/${NAMES[1]}?any=1`);
    await page.press('#model-url', 'Enter');
    await loaded(page, 'gguf-split, 3 parts');
    await back();
    await page.setInputFiles(
      '#model-file',
      NAMES.map((name) => `${SPLIT}/${name}`),
    );
    await loaded(page, 'gguf-split, 3 parts');
    await back();
    await page.evaluate(drop, dropped(NAMES.toReversed()));
    await loaded(page, 'gguf-split, 3 parts');
    await back();
    await page.evaluate(drop, [['models/whole.gguf', 'one.gguf']]);
    await loaded(page, 'one.gguf');
    texts.push(await answer(page));
    assert.equal(texts.length, 5);
    assert.deepEqual(new Set(texts).size, 1, texts.join(' | '));
  }));

test('an encoder-decoder answers each message by itself, and the page says so', () =>
  visiting(async (page) => {
    await page.setInputFiles('#model-file', folder('tests/golden/tiny_t5_flan.gguf'));
    await page.waitForSelector('body[data-state=ready]');
    assert.match(await page.innerText('#notice'), /answers each message by itself/);
    assert.equal(await page.innerText('#notes'), '', 'it has no chat template to speak of');
    const first = await answer(page);
    assert.ok(first.length > 0);
    await page.fill('#message', 'at on in the');
    await page.press('#message', 'Enter');
    await page.waitForFunction(() => document.querySelectorAll('.answer:not([aria-busy]) .figures').length === 2);
    assert.equal(await answer(page), first, 'what was said before does not count');
  }));

test('a model that writes nothing says so instead of a chat, leads to the tasks, and the next one chats', () =>
  visiting(async (page) => {
    await page.setInputFiles('#model-file', folder('tests/golden/encoders/bert.gguf'));
    await loaded(page, 'bert.gguf');
    assert.match(await page.innerText('#silent'), /reads texts but writes none: a model of bert/);
    assert.equal(await page.isVisible('#message'), false);
    await page.click('#silent a');
    await page.waitForSelector('.task-list');
    await page.goBack();
    await page.click('#silent-change');
    await page.setInputFiles('#model-file', `${SPLIT}/whole.gguf`);
    await loaded(page, 'whole.gguf');
    assert.equal(await page.isVisible('#silent'), false);
    assert.notEqual(await answer(page), '');
  }));

test('a part alone is told what is missing, and the others make it whole', () =>
  visiting(async (page) => {
    await page.evaluate(drop, dropped(NAMES.slice(0, 1)));
    await page.waitForSelector('#load-error:visible');
    const text = await page.innerText('#load-error');
    assert.match(text, /comes in 3 files\. Choose or drop all of them together/);
    assert.match(text, /gguf-split-00002-of-00003\.gguf, gguf-split-00003-of-00003\.gguf/);
    assert.equal(await page.getAttribute('#load-error', 'role'), 'alert', 'a screen reader hears it');
    await page.evaluate(drop, dropped(NAMES));
    await loaded(page, 'gguf-split, 3 parts');
    assert.equal(await page.isVisible('#load-error'), false);
  }));

test('what is no model is said in words: a web page, an LFS pointer, pieces of different models', () =>
  visiting(async (page) => {
    await page.click('#other-models summary');
    const pick = async (files, pattern) => {
      await page.setInputFiles('#model-file', files);
      await page.waitForFunction((s) => new RegExp(s, 's').test(document.getElementById('load-error').innerText), pattern);
      await page.waitForSelector('body[data-state=empty]');
    };
    const file = (name, text) => ({ name, mimeType: '', buffer: Buffer.from(text) });
    await pick([file('a.gguf', '<!doctype html>')], 'not a GGUF file.*a web page came instead');
    await pick([file('b.gguf', 'version https://git-lfs.github.com/spec/v1')], 'Git-LFS pointer');
    await pick([file('a.gguf', '<html>'), file('b.gguf', '{}')], 'a.gguf: this is no GGUF file');
    await pick([file('config.json', '{}'), file('model.safetensors', 'x')], 'model_type is missing');
    await page.setInputFiles('#model-file', `${SPLIT}/whole.gguf`);
    await loaded(page, 'whole.gguf');
  }));

test('the page says which part is read, and Escape ends it', () =>
  visiting(async (page) => {
    await page.route(`**/${NAMES[2]}`, async (route) => {
      if (!route.request().headers()['range']) return; // never answered
      await route.continue();
    });
    await page.click('#other-models summary');
    await page.fill('#model-url', `${site.url}/models/${NAMES[0]}`);
    await page.press('#model-url', 'Enter');
    await page.waitForFunction(() => /^Part 3 of 3 · .* %/.test(document.getElementById('progress-text').textContent));
    const bar = page.getByRole('progressbar', { name: 'Loading gguf-split, 3 parts' });
    assert.match(await bar.getAttribute('aria-valuetext'), /^Part 3 of 3 · .* of .* · \d+ %/);
    assert.ok(Number(await bar.getAttribute('aria-valuenow')) > 10);
    await page.keyboard.press('Escape');
    await page.waitForSelector('body[data-state=empty]');
    assert.equal(await page.innerText('#announce'), 'Loading was cancelled.');
    await page.unroute(`**/${NAMES[2]}`);
    await page.press('#model-url', 'Enter');
    await loaded(page, 'gguf-split, 3 parts');
  }));

test('files are picked by keyboard', () =>
  visiting(async (page) => {
    await page.focus('#other-models summary');
    await page.keyboard.press('Enter');
    for (let i = 0; i < 5 && (await page.evaluate(() => document.activeElement.id)) !== 'pick-file'; i++)
      await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'pick-file');
    const opened = page.waitForEvent('filechooser');
    await page.evaluate(() => undefined); // it is waited for by now
    await page.keyboard.press('Enter');
    const chooser = await opened;
    assert.equal(chooser.isMultiple(), true);
    await chooser.setFiles(NAMES.map((name) => `${SPLIT}/${name}`));
    await loaded(page, 'gguf-split, 3 parts');
  }));
