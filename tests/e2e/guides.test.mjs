// The code of docs/guides, taken out of the pages and run as it stands there, against the packed package and the default model: pages in
// Chromium, React in a build by Vite, the extension loaded into Chromium, offline with the server gone.
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildApp, installApp, packPackage } from './apps.mjs';
import { launch, launchWithExtension, visitQuietly } from './browser.mjs';
import { filesOf, guideNames, readGuide, writeGuide } from './guides.mjs';
import { openSite } from './site.mjs';

const MODELS = process.env.KINGLET_MODELS ?? fileURLToPath(new URL('../../.cache/models', import.meta.url));
const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';

let packed;
let browser;
/** The package as npm unpacked it, beside which the guides' folders are made. */
let installed;
const closing = [];

before(async () => {
  assert.ok(existsSync(join(MODELS, MODEL)), `${MODEL} is not in ${MODELS}: ./build.sh test fetches it`);
  packed = packPackage();
  installed = join(installApp(packed, 'plain'), 'node_modules');
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const site of closing) await site.close();
  if (packed) rmSync(packed.folder, { recursive: true, force: true });
});

/** A folder with the guide's files and the package. */
function folderOf(name) {
  const folder = join(packed.folder, 'guides', name);
  writeGuide(name, folder);
  symlinkSync(installed, join(folder, 'node_modules'));
  return folder;
}

async function serve(folder) {
  const site = await openSite({ mounts: { '/': folder, '/models/': MODELS }, isolated: true });
  closing.push(site);
  return site;
}

async function visiting(name, visit, options) {
  const site = await serve(folderOf(name));
  await visitQuietly(browser, site.url, (page) => visit(page, site), options);
}

/** The text of `selector` as soon as it `holds`. Asked from here: an extension's policy lets nobody wait within the page. */
async function textOf(page, selector, holds) {
  for (const before = Date.now(); ; await page.waitForTimeout(50)) {
    const text = await page.textContent(selector);
    if (holds(text)) return text;
    assert.ok(Date.now() - before < 60_000, `${selector} says: ${text}`);
  }
}

test('every guide is among these tests', () => {
  assert.deepEqual(guideNames().sort(), ['autocomplete', 'chat-box', 'extension', 'offline', 'react', 'summarize-selection']);
  for (const name of guideNames()) assert.ok(filesOf(readGuide(name)).size > 0, name);
});

test('a block that nobody could name is refused', () => {
  assert.deepEqual([...filesOf('`a.js`:\n\n```js a.js\n1;\n```\n')], [['a.js', '1;\n']]);
  assert.throws(() => filesOf('x\n\n```js\n1;\n```\n'), /has no name/);
  assert.throws(() => filesOf('`b.js`:\n\n```js a.js\n1;\n```\n'), /the line above/);
});

test('a chat box: an answer that grows, and a second question', () =>
  visiting('chat-box', async (page) => {
    const ask = async (text) => {
      await page.waitForSelector('button:enabled', { timeout: 60_000 });
      await page.fill('input', text);
      await page.press('input', 'Enter');
    };
    await page.evaluate(() => {
      globalThis.lengths = new Set();
      const log = document.querySelector('pre');
      new MutationObserver(() => globalThis.lengths.add(log.textContent.length)).observe(log, { childList: true });
    });
    await ask('What is the capital of France? One word.');
    const first = await textOf(page, 'pre', (text) => /assistant: \S/.test(text) && text.length > 60);
    assert.match(first, /^user: What is the capital of France\? One word\.\n\nassistant: /);
    assert.ok((await page.evaluate('lengths.size')) > 2, 'it grew');
    await ask('And of Italy?');
    await textOf(page, 'pre', (text) => /\n\nuser: And of Italy\?\n\nassistant: \S/.test(text));
  }));

test('a selection is summarized; it can be stopped', () =>
  visiting('summarize-selection', async (page) => {
    assert.ok(await page.isDisabled('#summarize'));
    await page.evaluate(() => getSelection().selectAllChildren(document.querySelector('p')));
    await page.click('#summarize:enabled');
    const summary = await textOf(page, 'output', (text) => text.length > 30);
    assert.match(summary, /[Kk]inglet|bird|winter|goldcrest/i);
    await page.waitForSelector('#summarize:visible');
    await page.evaluate(() => getSelection().selectAllChildren(document.querySelector('p')));
    await page.click('#summarize:enabled');
    await page.click('#stop');
    await page.waitForSelector('#summarize:visible');
    assert.ok((await page.textContent('output')).length < summary.length + 200);
  }));

test('autocomplete: what comes next is suggested, taken by Tab, and every key ends the call before', () => {
  const prepare = () => {
    globalThis.aborted = 0;
    const { abort } = AbortController.prototype;
    AbortController.prototype.abort = function (...reason) {
      globalThis.aborted += 1;
      return abort.apply(this, reason);
    };
  };
  const visit = async (page) => {
    await page.waitForSelector('textarea:enabled', { timeout: 60_000 });
    const beginning = 'The capital of France is';
    await page.type('textarea', beginning);
    assert.match(await textOf(page, 'output', (text) => text !== ''), /^ Paris/);
    assert.equal(await page.evaluate('aborted'), beginning.length);
    await page.press('textarea', 'Tab');
    assert.match(await page.inputValue('textarea'), /^The capital of France is Paris/);
    await page.type('textarea', '. The capital of Italy is');
    await textOf(page, 'output', (text) => /^ Rome/.test(text));
    assert.equal(await page.evaluate('document.activeElement.tagName'), 'TEXTAREA');
  };
  return visiting('autocomplete', visit, { prepare });
});

test('offline: with the server gone the page opens again, and answers', () =>
  visiting(
    'offline',
    async (page, site) => {
      await textOf(page, 'output', (text) => /^Ready/.test(text));
      const asked = site.requests.filter((path) => path.endsWith('.gguf'));
      assert.equal(asked.length, 1, 'the model is fetched once');
      await site.close();
      await page.reload();
      await textOf(page, 'output', (text) => /^Ready/.test(text));
      await page.click('button');
      await textOf(page, 'output', (text) => text.length > 20 && !/^Ready/.test(text));
    },
    { expected: [/favicon/] },
  ));

test('React: an answer that grows, and a second question', async () => {
  const app = installApp(packed, 'react');
  writeGuide('react', app);
  const site = await serve(buildApp(app));
  await visitQuietly(browser, site.url, async (page) => {
    const lengths = new Set();
    await page.exposeFunction('grown', (length) => lengths.add(length));
    const ask = async (text, n_answers) => {
      await page.fill('input:enabled', text);
      await page.click('text=Send');
      await page.waitForFunction(
        (n) =>
          document.querySelectorAll('.assistant').length === n &&
          document.querySelector('button').textContent === 'Send',
        n_answers,
      );
    };
    await page.waitForSelector('input:enabled', { timeout: 60_000 });
    await page.evaluate(() =>
      new MutationObserver(() =>
        globalThis.grown(document.querySelector('.assistant')?.textContent.length ?? 0),
      ).observe(document.querySelector('#root'), { subtree: true, childList: true, characterData: true }),
    );
    await ask('hello', 1);
    assert.ok(lengths.size > 2, `the answer grew: ${[...lengths]}`);
    await ask('and then?', 2);
    assert.deepEqual(await page.$$eval('p', (all) => all.map(({ className }) => className)), [
      'user',
      'assistant',
      'user',
      'assistant',
    ]);
  });
});

// Not seen here: that the browser opens its side panel, which needs a visitor's own click. The panel's page is opened in a tab, and the choice in
// the context menu is told to the extension as the browser would.
test('an extension: a marked text is summarized in its panel, on several threads', async () => {
  const folder = join(packed.folder, 'guides/extension');
  writeGuide('extension', folder);
  cpSync(installed, join(folder, 'node_modules'), { recursive: true });
  mkdirSync(join(folder, 'models'));
  copyFileSync(join(MODELS, MODEL), join(folder, 'models', MODEL));
  const profile = mkdtempSync(join(tmpdir(), 'kinglet-profile-'));
  const context = await launchWithExtension(folder, profile);
  try {
    const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent('serviceworker', { timeout: 20_000 }));
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(new URL('panel.html', worker.url()).href);
    assert.ok(await page.evaluate('crossOriginIsolated'));
    const choose = (text) =>
      worker.evaluate((selectionText) => {
        chrome.sidePanel.open = async () => {}; // only a visitor's own click may
        chrome.contextMenus.onClicked.dispatch({ menuItemId: 'summarize', selectionText }, { windowId: 1 });
      }, text);
    await choose('Kinglets are among the smallest of songbirds. A goldcrest weighs about five grams, and eats all day in winter.');
    const first = await textOf(page, 'output', (text) => !/^(Mark|Reading)/.test(text) && text !== '');
    assert.match(first, /[Kk]inglet|bird|goldcrest/i);
    await choose('A violin has four strings. It is played with a bow, or plucked with the fingers.');
    const second = await textOf(page, 'output', (text) => /violin|string|bow/i.test(text));
    assert.notEqual(second, first);
    assert.ok(page.workers().length > 2, 'threads of the pool are among the workers');
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
});
