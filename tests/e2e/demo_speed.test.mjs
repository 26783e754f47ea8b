// The speed page of the demo: measures by the public API, says where and why, stops, and gives its figures as text and as the JSON that
// docs/benchmarks.md describes. Watched as the chat is; on tiny models, whose speed is not what matters here.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { serve } from '../../www/demo/serve.mjs';
import { inaccessible, launch, visitWatched } from './browser.mjs';
import { folder } from './demo_page.mjs';

/** A context of 512 tokens. */
const DECODER = folder('tests/golden/tiny_full.gguf');
const T5 = folder('tests/golden/tiny_t5_flan.gguf');
const BERT = folder('tests/golden/encoders/bert.gguf');

let browser;
let site;
before(async () => {
  site = await serve({ mounts: { '/': folder('www/demo/dist') }, port: 0 });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
});

const visiting = (visit, options) =>
  visitWatched(
    browser,
    `${site.url}/#benchmarks/speed`,
    async (page) => {
      await page.waitForSelector('#speed-title');
      await visit(page);
    },
    options,
  );

async function load(page, file) {
  await page.setInputFiles('#model-file', file);
  await page.waitForSelector('body[data-state=ready]');
}

const button = (page, name) => page.getByRole('button', { name, exact: true });
const measured = (page) => page.waitForSelector('#speed-found-title:visible', { timeout: 60_000 });

async function downloaded(page) {
  const coming = page.waitForEvent('download');
  await button(page, 'Download JSON').click();
  const download = await coming;
  return { name: download.suggestedFilename(), report: JSON.parse(readFileSync(await download.path(), 'utf8')) };
}

/** Names of fields, and of those within: of a list, those of its first. */
const shape = (value) =>
  Array.isArray(value)
    ? value.slice(0, 1).map(shape)
    : value !== null && typeof value === 'object'
      ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, shape(value[key])]))
      : 0;

test('a model is measured; the table, the text and the JSON say the same', () =>
  visiting(async (page) => {
    await load(page, DECODER);
    assert.match(await page.title(), /Benchmarks/);
    await page.getByLabel('Runs of each').fill('3');
    await button(page, 'Measure').click();
    await measured(page);
    const rows = await page.locator('.speeds tbody tr').allInnerTexts();
    assert.equal(rows.length, 4);
    for (const [i, what] of [/^Reading 132 tokens/, /^Reading 512 tokens/, /^Writing 64 tokens behind 132/, /^Writing 64 tokens behind 2,000/].entries())
      assert.match(rows[i], what);
    assert.match(rows[0], /[\d,.]+ tok\/s\s+[\d,.]+ to [\d,.]+ tok\/s$/);
    assert.match(rows[1], /does not fit: the context is 512 tokens/, '512 and the token that ends the reading');
    assert.match(rows[3], /does not fit/);
    assert.match(await page.textContent('#announce'), /^Done\. Reading 132 tokens: [\d,.]+ tok\/s; Writing/);
    // So small a model may write all of them between two looks at the clock.
    assert.match(rows[2], /tok\/s$|too fast to be timed$/);

    const { name, report } = await downloaded(page);
    assert.equal(name, 'kinglet-speed tiny_full.gguf F32 cpu.json');
    assert.deepEqual([report.format, report.version, report.stopped], ['kinglet-speed', 1, false]);
    const [reading, , writing] = report.cases;
    assert.deepEqual(reading.runs.map(({ tokens }) => tokens), [132, 132, 132]);
    assert.deepEqual(writing.runs.map(({ tokens }) => tokens), [64, 64, 64]);
    const speeds = reading.runs.map(({ tokens, ms }) => (1000 * tokens) / ms).sort((a, b) => a - b);
    const { min, median, max } = reading.tokens_per_second;
    assert.deepEqual([min, median, max], speeds);
    assert.deepEqual(report.cases.map(({ left_out }) => left_out), [null, 'context', null, 'context']);
    assert.ok(report.load.ms > 0 && report.load.from === 'files');
    assert.equal(report.load.phases.at(-1).phase, 'ready');
    assert.equal(report.browser.user_agent, await page.evaluate('navigator.userAgent'));
    const facts = await page.locator('.known').last().innerText();
    for (const fact of [report.device.reason, report.build, 'CPU', 'Linux'])
      assert.ok(facts.includes(fact), `${fact} is not in: ${facts}`);

    await button(page, 'Copy').click();
    await page.waitForSelector('button:has-text("Copied")');
    const text = await page.evaluate(() => navigator.clipboard.readText());
    const shown = Math.round(median).toString().replace(/\B(?=(\d{3})+$)/g, ',');
    assert.ok(rows[0].includes(`${shown} tok/s`), rows[0]);
    assert.ok(text.includes(`| Reading 132 tokens | ${shown} tok/s |`), text);

    // What is documented is what is written: every field, and no other.
    const documented = /```json kinglet-speed\n([^]*?)```/.exec(readFileSync(folder('docs/benchmarks.md'), 'utf8'))[1];
    assert.deepEqual(shape(report), shape(JSON.parse(documented)));
  }));

test('it can be stopped; what was measured until then stays', () =>
  visiting(async (page) => {
    await load(page, DECODER);
    await page.getByLabel('Runs of each').fill('20');
    const waiting = page.waitForFunction(() => /^Writing .*: \d+ of 42 runs/.test(document.querySelector('#speed-title ~ .work-progress').innerText));
    await button(page, 'Measure').click();
    await waiting;
    await page.keyboard.press('Escape');
    await measured(page);
    assert.equal(await page.textContent('#announce'), 'Cancelled.');
    assert.match(await page.locator('.speeds').innerText(), /Reading 132 tokens\s+[\d,.]+ tok\/s.*Writing 64 tokens behind 132\s+stopped before/s);
    const { report } = await downloaded(page);
    assert.ok(report.stopped);
    assert.equal(report.cases[2].left_out, 'stopped');
    assert.ok(await button(page, 'Measure').isVisible());
  }));

test('an encoder-decoder is measured; of an encoder it is said why not', () =>
  visiting(async (page) => {
    await load(page, BERT);
    assert.match(await page.innerText('[role=note]:visible'), /writes none/);
    assert.ok(await button(page, 'Measure').isDisabled());
    await button(page, 'Load another model').click();
    await load(page, T5);
    await page.getByLabel('Runs of each').fill('1');
    await button(page, 'Measure').click();
    await measured(page);
    const { report } = await downloaded(page);
    assert.deepEqual(report.cases[0].runs.map(({ tokens }) => tokens), [132]);
    assert.deepEqual(report.cases[2].runs.map(({ tokens }) => tokens), [64]);
  }));

for (const [what, options] of [
  ['a phone, dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark', hasTouch: true }],
  ['a desktop', {}],
])
  test(`on ${what} it fits, by keyboard it is reached, and a screen reader can make sense of it`, () =>
    visiting(async (page) => {
      await load(page, DECODER);
      await page.click('#views a[href="#benchmarks"]');
      await page.waitForSelector('.dropzone:visible');
      assert.equal(await page.isVisible('#speed-title'), false);
      await page.locator('.task-list a', { hasText: 'Speed' }).focus();
      await page.keyboard.press('Enter');
      await page.waitForSelector('#speed-title:visible');
      assert.equal(new URL(page.url()).hash, '#benchmarks/speed');
      await page.getByLabel('Runs of each').fill('1');
      await button(page, 'Measure').focus();
      await page.keyboard.press('Enter');
      await measured(page);
      assert.ok(await page.evaluate(() => document.activeElement.textContent === 'Measure'), 'the focus is where it was');
      assert.deepEqual(await inaccessible(page), []);
      const wide = await page.evaluate(
        () => Math.max(...[document.documentElement, document.getElementById('view-benchmarks')].map((e) => e.scrollWidth - e.clientWidth)),
      );
      assert.ok(wide <= 0, `the page is ${wide} px too wide`);
    }, options));
