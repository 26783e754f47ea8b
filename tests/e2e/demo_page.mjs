// What tests of the demo page's chat share: a page with the committed small model, asking, and waiting for answers.
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { launch, visitQuietly } from './browser.mjs';

export const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Writes stories; its file has no chat template, so it is given a transcript. */
export const SMALL_MODEL = folder('tests/models/stories260K.gguf');

const MODELS = process.env.KINGLET_MODELS ?? folder('.cache/models');

/** `{ visit(run, options), url, close() }`: the demo page in a browser of its own. */
export async function openDemo() {
  const site = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': MODELS }, port: 0 });
  const browser = await launch();
  const permissions = ['clipboard-read', 'clipboard-write'];
  return {
    browser,
    url: site.url,
    visit: (run, options = {}) =>
      visitQuietly(browser, site.url, run, { viewport: { width: 1280, height: 800 }, permissions, ...options }),
    async close() {
      await browser.close();
      await site.close();
    },
  };
}

export async function loadSmall(page, { tokens = 12 } = {}) {
  await page.setInputFiles('#model-file', SMALL_MODEL);
  await page.waitForSelector('body[data-state=ready]', { timeout: 60_000 });
  await limit(page, tokens);
}

/** Greedy answers of at most so many tokens. Also where the settings are hidden. */
export const limit = (page, tokens) =>
  page.evaluate((tokens) => {
    for (const [name, value] of [['max_tokens', tokens], ['temperature', 0]]) {
      const field = document.getElementById(`sampling-${name}`);
      field.value = String(value);
      field.dispatchEvent(new Event('input'));
    }
  }, tokens);

/** Resolves when nothing is being written. */
export const quiet = (page) =>
  page.waitForFunction(() => !document.body.hasAttribute('data-busy') && !document.querySelector('.answer[aria-busy]'), null, {
    timeout: 60_000,
  });

export async function ask(page, text) {
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
  await page.waitForFunction((text) => [...document.querySelectorAll('.said')].at(-1)?.textContent === text, text);
  await quiet(page);
  return page.locator('.answer .answer-text').last().innerText();
}

/** The texts of the messages that are shown, questions and answers by turns. */
export const said = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll('#transcript > li')].map((li) => li.querySelector('.said, .answer-text').innerText.trim()),
  );

export const titles = (page) =>
  page.evaluate(() => [...document.querySelectorAll('#conversations a')].map(({ textContent }) => textContent));

/** Waits until the list of conversations has these titles. */
export const listed = (page, expected) =>
  page.waitForFunction(
    (expected) =>
      JSON.stringify([...document.querySelectorAll('#conversations a')].map((a) => a.textContent)) ===
      JSON.stringify(expected),
    expected,
  );

/** Shows the list of conversations. */
export const openPanel = async (page) => {
  if (!(await page.isVisible('#history'))) await page.click('#history-toggle');
  await page.waitForSelector('#history:visible');
};
