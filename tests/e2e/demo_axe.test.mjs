// axe (WCAG 2.2 A and AA, and its best practices) finds nothing wrong on the demo page: light and dark, on a desk and on a phone, with
// everything open that can be.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { ask, limit, loadSmall, openDemo, quiet } from './demo_page.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

/** What axe complains of, in words. */
async function complaints(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(' ')} ${node.failureSummary}`));
}
const clean = async (page, where) => assert.deepEqual(await complaints(page), [], where);

/** Each brings the page somewhere; they follow each other. */
const PLACES = {
  'the first screen': async () => {},
  'the first screen with other models': (page) => page.click('#other-models summary'),
  'a model and nothing said': (page) => loadSmall(page),
  'a conversation with branches': async (page) => {
    await ask(page, 'Once upon a time');
    await limit(page, 6);
    await page.hover('.answer');
    await page.click('.regenerate');
    await page.waitForSelector('.answer .versions:not([hidden])');
    await quiet(page);
  },
  'a message that is edited': (page) => page.click('.edit'),
  'the alternatives of a token': async (page) => {
    await page.click('.editing button:has-text("Cancel")');
    await page.click('.probabilities');
    await page.waitForSelector('.tokens');
    await quiet(page);
    await page.locator('.tokens .token').nth(2).focus();
    await page.waitForSelector('.alternatives:popover-open');
  },
  'the conversations': async (page) => {
    await page.keyboard.press('Escape');
    await page.click('#history-toggle');
  },
  'the menu of one': async (page) => {
    await page.hover('#conversations li');
    await page.click('#conversations .more');
  },
  'a title that is written': (page) => page.click('[role=menuitem]:has-text("Rename")'),
  'a conversation that was deleted': async (page) => {
    await page.keyboard.press('Escape');
    await page.hover('#conversations li');
    await page.click('#conversations .more');
    await page.click('[role=menuitem]:has-text("Delete")');
    await page.waitForSelector('#toast:not(:empty)');
  },
  'the settings': async (page) => {
    if (await page.isVisible('#history-close')) await page.click('#history-close');
    if (await page.isVisible('#panel-toggle')) await page.click('#panel-toggle');
    await page.locator('#probabilities').scrollIntoViewIfNeeded();
  },
  'the diagnostics': async (page) => {
    await page.click('#panel [data-sheet=diagnostics]');
    await page.waitForFunction(() => /Last answer/.test(document.getElementById('diagnostics-text').textContent));
  },
  'what leaves the machine': async (page) => {
    await page.keyboard.press('Escape');
    await page.click('#panel [data-sheet=privacy]');
  },
};

for (const [device, viewport] of [
  ['a desk', { width: 1400, height: 860 }],
  ['a phone', { width: 360, height: 740 }],
])
  for (const colorScheme of ['light', 'dark'])
    test(`on ${device}, ${colorScheme}`, () =>
      demo.visit(
        async (page) => {
          const found = {};
          for (const [where, go] of Object.entries(PLACES)) {
            await go(page);
            const complained = await complaints(page);
            if (complained.length > 0) found[where] = complained;
          }
          assert.deepEqual(found, {});
        },
        { viewport, colorScheme, hasTouch: device === 'a phone', reducedMotion: 'reduce', expected: [/No available adapters/] },
      ));

test('what is wrong is found', () =>
  demo.visit(async (page) => {
    await page.evaluate(() => {
      const button = document.createElement('button');
      document.querySelector('main').append(button);
    });
    assert.match(String(await complaints(page)), /button-name/);
  }));

for (const name of ['compare', 'tasks', 'benchmarks'])
  test(`the ${name} page, in the same frame`, () =>
    demo.visit(async (page) => {
      await page.click(`#views a[href="#${name}"]`);
      await page.waitForSelector(`#view-${name} .view-body > *`);
      await clean(page, name);
    }));
