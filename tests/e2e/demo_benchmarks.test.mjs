// The benchmark page of the demo: files read as what they are, run with progress, cancelled, exported, imported, compared item by item;
// on tiny models. Watched as the chat is: no console error, no foreign request, no long task of the main thread.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { inaccessible, launch, visitWatched } from './browser.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const DECODER = folder('tests/golden/tiny_full.gguf');
const OTHER = folder('tests/golden/tiny_grouped.gguf');
const T5 = folder('tests/golden/tiny_t5_flan.gguf');
const BERT = folder('tests/golden/encoders/bert.gguf');
const QUESTIONS = 'Twelve questions';

let browser;
let site;
let temporary;

before(async () => {
  temporary = mkdtempSync(path.join(tmpdir(), 'kinglet-'));
  site = await serve({ mounts: { '/': folder('www/demo/dist') }, port: 0 });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
  rmSync(temporary, { recursive: true });
});

const visiting = (visit, options) =>
  visitWatched(
    browser,
    `${site.url}/#benchmarks`,
    async (page) => {
      await page.waitForSelector('.dropzone');
      await visit(page);
    },
    options,
  );

async function load(page, file) {
  if ((await page.getAttribute('body', 'data-state')) === 'ready') {
    if (!(await page.isVisible('#change-model'))) await page.click('#panel-toggle');
    await page.click('#change-model');
  }
  await page.setInputFiles('#model-file', file);
  await page.waitForSelector('body[data-state=ready]');
}

const button = (page, name) => page.getByRole('button', { name, exact: true });
const known = (page) => page.locator('.known').innerText();
const rows = (page) => page.locator('[role=group] tbody tr');
const hasRows = (page, n) =>
  page.waitForFunction((n) => document.querySelectorAll('[role=group] tbody tr').length === n, n, { timeout: 120_000 });

async function sample(page, name) {
  await button(page, name).click();
  await page.waitForSelector('.known');
}

/** What a browser would save. */
async function exported(page, n) {
  const coming = page.waitForEvent('download');
  await rows(page).nth(n).getByRole('button', { name: /^Export/ }).click();
  const download = await coming;
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), 'utf8') };
}

/** In the page: texts are dropped on it as files. */
function drop(files) {
  const dataTransfer = new DataTransfer();
  for (const [name, text] of files) dataTransfer.items.add(new File([text], name));
  document.dispatchEvent(new DragEvent('dragover', { dataTransfer, cancelable: true }));
  if (!/benchmark/.test(document.getElementById('drop-hint').textContent)) throw new Error('the hint is another');
  document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
}

const ITEM = (i) =>
  JSON.stringify({
    id: `q${i}`,
    question: { stem: `what is in ${i}`, choices: ['on', 'at', 'the'].map((text, c) => ({ text, label: 'ABC'[c] })) },
    answerKey: 'ABC'[i % 3],
  });

test('the items of the page run: a table, a chart that says the same, a report that can be kept', () =>
  visiting(async (page) => {
    await load(page, DECODER);
    await sample(page, QUESTIONS);
    assert.match(await known(page), /ARC \(ARC, JSON lines\).*Items\s+12.*Skipped\s+none/s);
    await button(page, 'Run').click();
    await hasRows(page, 1);
    const row = await rows(page).innerText();
    assert.match(row, /[\d.]+ ± [\d.]+ %\s+[\d.]+ ± [\d.]+ %\s+12\s+\d/);
    const accuracy = /[\d.]+ ± [\d.]+ %/.exec(row)[0];
    const chart = page.locator('.chart');
    assert.match(await chart.getAttribute('aria-label'), new RegExp(`^Accuracy, higher is better: .*${accuracy.replace('.', '\\.')}`));
    assert.ok(await chart.locator('.whisker').count(), 'the standard error is drawn');
    assert.match(await page.textContent('#announce'), /^Done: accuracy/);
    assert.match(await page.innerText('.live'), /%\s+accuracy$/);

    const { name, text } = await exported(page, 0);
    assert.match(name, /^arc .*\.json$/);
    const report = JSON.parse(text);
    assert.equal(report.items.length, 12);
    const right = report.items.filter(({ correct }) => correct).length;
    assert.equal(accuracy.split(' ')[0], ((100 * right) / 12).toFixed(1), 'the figure is that of the items');
    await page.locator('input[type=file]').last().setInputFiles({ name, mimeType: '', buffer: Buffer.from(text) });
    await hasRows(page, 2);
    await rows(page).nth(1).getByRole('button', { name: /^Remove/ }).click();
    await hasRows(page, 1);
  }));

test('a second model is compared item by item', () =>
  visiting(async (page) => {
    await load(page, DECODER);
    await sample(page, QUESTIONS);
    await button(page, 'Run').click();
    await hasRows(page, 1);
    assert.equal(await page.isVisible('#compare-title'), false);
    await load(page, OTHER);
    assert.match(await known(page), /Items\s+12/, 'the benchmark stays');
    await button(page, 'Run').click();
    await hasRows(page, 2);
    const [both, onlyA, onlyB, neither] = (await page.locator('.quadrants dd').allInnerTexts()).map(Number);
    assert.equal(both + onlyA + onlyB + neither, 12);
    const reports = [JSON.parse((await exported(page, 0)).text), JSON.parse((await exported(page, 1)).text)];
    const pairs = reports[0].items.map((item, i) => [item, reports[1].items[i]]);
    assert.equal(both, pairs.filter(([a, b]) => a.correct && b.correct).length);
    assert.equal(onlyA, pairs.filter(([a, b]) => a.correct && !b.correct).length);
    assert.match(await page.locator('#compare-title ~ .given > p').first().innerText(), /McNemar|the same items/);
    const differing = pairs.filter(([a, b]) => a.correct !== b.correct);
    assert.ok(differing.length > 0, 'the test is about models that differ');
    assert.equal(await page.locator('.differing details').count(), differing.length);
    const [a, b] = differing[0];
    await page.locator('.differing summary').first().click();
    const table = await page.locator('.differing table').first().innerText();
    for (const { logprob } of [...a.choices, ...b.choices]) assert.ok(table.includes(logprob.toFixed(3)), table);
    assert.match(table, /right/);
    // The other way round.
    await page.getByLabel('A', { exact: true }).selectOption('1');
    await page.getByLabel('B', { exact: true }).selectOption('0');
    const turned = (await page.locator('.quadrants dd').allInnerTexts()).map(Number);
    assert.deepEqual(turned, [both, onlyB, onlyA, neither]);
  }));

test('a long run says how far it is, and what is left when it is cancelled is a report', () =>
  visiting(async (page) => {
    await load(page, DECODER);
    // From the disk: what a test sends to a page itself takes the page's time.
    const file = path.join(temporary, 'ARC-Easy.jsonl');
    const many = Array.from({ length: 20_000 }, (_, i) => ITEM(i)).join('\n');
    writeFileSync(file, `${many}\nnot JSON\n{"question":"x"}`);
    await page.locator('input[type=file]').last().setInputFiles(file);
    await page.waitForSelector('.known');
    assert.match(await known(page), /ARC-Easy.*Items\s+20,000.*Skipped\s+2/s);
    await page.click('.given summary');
    assert.match(await page.innerText('.given details'), /Line 20,001: /);
    const limit = page.getByLabel('Items to run');
    assert.equal(await limit.inputValue(), '200');
    await limit.fill('1000000');
    await button(page, 'Run').click();
    await page.waitForFunction(() => /of 20,000 · .* left/.test(document.querySelector('.work-progress').innerText));
    assert.equal(await limit.inputValue(), '20000', 'no more than there are');
    await page.keyboard.press('Escape');
    await hasRows(page, 1);
    assert.match(await rows(page).innerText(), /[\d,]+ of 20,000/);
    assert.equal(await page.textContent('#announce'), 'Cancelled.');
    assert.ok(await button(page, 'Run').isVisible());
    await limit.fill('30');
    await button(page, 'Run').click();
    await hasRows(page, 2);
    const n = Number(/([\d,]+) of 20,000/.exec(await rows(page).first().innerText())[1].replace(',', ''));
    const common = (await page.locator('#compare-title ~ .given').innerText()).match(/(\d+) items are in both/);
    assert.equal(Number(common[1]), Math.min(n, 30));
  }));

test('a text is measured by its perplexity', () =>
  visiting(async (page) => {
    await load(page, DECODER);
    await sample(page, 'A short text');
    assert.match(await known(page), /Perplexity of a text \(plain text\)/);
    assert.equal(await page.isVisible('text=Items to run'), false);
    await button(page, 'Run').click();
    await hasRows(page, 1);
    assert.match(await page.locator('[role=group] thead').innerText(), /Perplexity\s+By word\s+Bits per byte/);
    await load(page, OTHER);
    await button(page, 'Run').click();
    await hasRows(page, 2);
    assert.match(await page.locator('.chart').getAttribute('aria-label'), /^Perplexity, lower is better/);
    assert.equal(await page.locator('.differing details').count(), 1);
  }));

test('items that do not fit into the context are counted; where none does, that is said', () =>
  visiting(async (page) => {
    await load(page, DECODER);
    const long = (i) => ITEM(i).replace(`what is in ${i}`, 'on at the in '.repeat(400));
    const read = (name, text) =>
      page.locator('input[type=file]').last().setInputFiles({ name, mimeType: '', buffer: Buffer.from(text) });
    await read('some.jsonl', [ITEM(1), long(2), ITEM(3)].join('\n'));
    await page.waitForSelector('.known');
    await button(page, 'Run').click();
    await hasRows(page, 1);
    assert.match(await rows(page).innerText(), /1 too long for its context.*2 of 3/s);
    await read('none.jsonl', long(1));
    await page.waitForFunction(() => /none\.jsonl/.test(document.querySelector('.known').innerText));
    await button(page, 'Run').click();
    await page.waitForSelector('.dropzone ~ [role=alert] .error');
    assert.match(await page.innerText('.dropzone ~ [role=alert]'), /No item fits/);
    assert.equal(await rows(page).count(), 1);
  }));

test('code of a page that cannot be fetched is said in words, and the chat goes on', () =>
  visitWatched(
    browser,
    site.url,
    async (page) => {
      await page.route('**/benchmarks/page.js', (route) => route.abort());
      await page.getByRole('link', { name: 'Benchmarks' }).click();
      await page.waitForSelector('#view-benchmarks .error');
      assert.match(await page.innerText('#view-benchmarks .error'), /could not be fetched/);
      await page.getByRole('link', { name: 'Chat' }).click();
      await page.waitForSelector('#message:visible');
    },
    { expected: [/ERR_FAILED/] },
  ));

test('what cannot be run is said: of files and of models', () =>
  visiting(async (page) => {
    await page.evaluate(drop, [
      ['other.json', '[{"name":"x"},{"name":"y"}]'],
      ['binary.bin', 'a\0b'],
    ]);
    await page.waitForFunction(() => document.querySelectorAll('.dropzone ~ [role=alert] .error').length === 2);
    assert.match(await page.innerText('.dropzone ~ [role=alert]'), /other\.json is not a benchmark.*E_FILE_FORMAT.*Known are ARC/s);
    await load(page, BERT);
    await sample(page, QUESTIONS);
    assert.equal(await page.locator('.dropzone ~ [role=alert] .error').count(), 0);
    assert.match(await page.innerText('[role=note]:not([hidden])'), /gives no probabilities.*take a model that writes/);
    assert.ok(await button(page, 'Run').isDisabled());
    await load(page, T5);
    assert.ok(await button(page, 'Run').isEnabled());
    await sample(page, 'A short text');
    await page.waitForFunction(() => /Perplexity/.test(document.querySelector('.known').innerText));
    assert.match(await page.innerText('[role=note]:not([hidden])'), /Perplexity is for models that only go on/);
    await sample(page, 'Eight causes and effects');
    await page.waitForFunction(() => /COPA/.test(document.querySelector('.known').innerText));
    await button(page, 'Run').click();
    await hasRows(page, 1);
  }));

for (const [what, options] of [
  ['a phone, dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark', hasTouch: true }],
  ['a desktop', {}],
])
  test(`on ${what} the page fits, and a screen reader can make sense of it`, () =>
    visiting(async (page) => {
      await load(page, DECODER);
      await sample(page, QUESTIONS);
      await button(page, 'Run').click();
      await hasRows(page, 1);
      await load(page, OTHER);
      await button(page, 'Run').click();
      await hasRows(page, 2);
      await page.locator('.differing summary').first().click();
      assert.deepEqual(await inaccessible(page), []);
      const wide = await page.evaluate(
        () => Math.max(...[document.documentElement, document.getElementById('view-benchmarks')].map((e) => e.scrollWidth - e.clientWidth)),
      );
      assert.ok(wide <= 0, `the page is ${wide} px too wide`);
    }, options));
