// Conversations on the demo page: kept and found again, renamed, deleted and brought back, searched, saved to files and read from them;
// and what the page says where the browser keeps nothing.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { inaccessible } from './browser.mjs';
import { ask, limit, listed, loadSmall, openDemo, openPanel, quiet, said, titles } from './demo_page.mjs';

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

async function more(page, title, entry) {
  await page.locator('#conversations li', { hasText: title }).hover();
  await page.click(`[aria-label="More for ${title}"]`);
  await page.click(`[role=menuitem]:has-text("${entry}")`);
}
async function saved(page, act) {
  const [file] = await Promise.all([page.waitForEvent('download'), act()]);
  return { name: file.suggestedFilename(), text: await readFile(await file.path(), 'utf8') };
}

test('a conversation is there after a reload, can be read without a model, and goes on', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    const answer = await ask(page, 'Tell me of Lily.');
    assert.match(page.url(), /#chat\/[0-9a-f]{32}$/);
    await page.reload();
    await page.waitForSelector('.answer .figures');
    assert.deepEqual(await said(page), ['Tell me of Lily.', answer.trim()]);
    assert.match(await page.title(), /^Tell me of Lily\. · kinglet$/);
    assert.equal(await page.isVisible('#headline'), false);
    assert.equal(await page.isVisible('#model-card'), true, 'a model can be loaded');
    assert.equal(await page.isVisible('.regenerate'), false, 'nothing is offered that needs a model');
    await loadSmall(page);
    await ask(page, 'And of Tom.');
    assert.equal((await said(page)).length, 4);
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll('.answer .figures').length === 2);
  }));

test('an answer that was cut off by closing the page is kept as far as it came', () =>
  demo.visit(async (page) => {
    await loadSmall(page, { tokens: 400 });
    await page.fill('#message', 'Tell me all.');
    await page.press('#message', 'Enter');
    await page.waitForFunction(() => document.querySelector('.answer-text')?.textContent.length > 20);
    await page.reload();
    await page.waitForSelector('.answer .foot .figures', { state: 'attached' });
    assert.ok((await said(page))[1].length > 10, 'the beginning of the answer is there');
  }));

test('new, open by a click, back by the browser, rename, delete and undo', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await openPanel(page);
    await ask(page, 'First question');
    await page.click('#new-chat');
    await ask(page, 'Second question');
    await listed(page, ['Second question', 'First question']);
    await page.click('#conversations a:has-text("First")');
    await page.waitForFunction(() => document.querySelector('.said')?.textContent === 'First question');
    await page.waitForSelector('#conversations [aria-current]:has-text("First question")');
    await page.goBack();
    await page.waitForFunction(() => document.querySelector('.said')?.textContent === 'Second question');

    await more(page, 'First question', 'Rename');
    await page.keyboard.type('Birds of the north');
    await page.keyboard.press('Enter');
    await listed(page, ['Second question', 'Birds of the north']);
    await more(page, 'Birds of the north', 'Rename');
    await page.keyboard.type('not meant');
    await page.keyboard.press('Escape');
    await listed(page, ['Second question', 'Birds of the north']);

    await more(page, 'Second question', 'Delete');
    await listed(page, ['Birds of the north']);
    assert.deepEqual(await said(page), [], 'what was open and is deleted is no longer shown');
    assert.match(await page.innerText('#toast'), /“Second question” was deleted/);
    await page.click('#toast button:has-text("Undo")');
    await listed(page, ['Second question', 'Birds of the north']);
    await page.waitForFunction(() => document.querySelector('.said')?.textContent === 'Second question');
    assert.equal((await said(page)).length, 2);

    await more(page, 'Birds of the north', 'Delete');
    await listed(page, ['Second question']); // what the list no longer shows is deleted
    await page.reload();
    await openPanel(page);
    await listed(page, ['Second question']);
  }));

test('by keyboard: the menu of a conversation opens, moves, and gives the focus back', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await openPanel(page);
    await ask(page, 'Some question');
    await page.focus('[aria-label="More for Some question"]');
    await page.keyboard.press('Enter');
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    assert.equal(await focused(), 'Rename');
    await page.keyboard.press('ArrowUp');
    assert.equal(await focused(), 'Delete');
    await page.keyboard.press('Escape');
    assert.equal(await focused(), '⋯');
    assert.equal(await page.isVisible('[role=menu]'), false);
  }));

test('the search finds titles and what was said, by either side', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await openPanel(page);
    const answer = await ask(page, 'A zebra');
    await page.click('#new-chat');
    await ask(page, 'An okapi');
    await page.fill('#conversation-search', 'ZEBRA');
    await listed(page, ['A zebra']);
    await page.fill('#conversation-search', answer.trim().split(/\s+/).slice(0, 3).join(' '));
    await page.waitForFunction(() => [...document.querySelectorAll('#conversations a')].some((a) => a.textContent === 'A zebra'));
    await page.fill('#conversation-search', 'nothing has this');
    await page.waitForFunction(() => /No title and no message/.test(document.getElementById('conversations').textContent));
    assert.equal(await page.innerText('#announce'), '0 conversations.');
    await page.fill('#conversation-search', '');
    await listed(page, ['An okapi', 'A zebra']);
  }));

test('saved as JSON it comes back whole, with its branches; saved as Markdown it reads', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await openPanel(page);
    const answer = (await ask(page, 'A <b>bold</b> question?')).trim();
    await limit(page, 5);
    await page.hover('.answer');
    await page.click('.regenerate');
    await page.waitForFunction(() => document.querySelector('.answer .versions .count')?.textContent === '2 / 2');
    await quiet(page);
    const shorter = (await said(page))[1];
    assert.ok(answer.startsWith(shorter) && shorter.length < answer.length);

    const markdown = await saved(page, () => more(page, 'A <b>bold</b> question?', 'Save as Markdown'));
    assert.equal(markdown.name, 'A b bold b question.md');
    assert.match(markdown.text, /^# A <b>bold<\/b> question\?\n/);
    assert.ok(markdown.text.includes(`## You\n\nA <b>bold</b> question?\n\n## stories260K.gguf\n\n${shorter}\n`));

    const json = await saved(page, () => page.click('#export-all'));
    assert.match(json.name, /^kinglet conversations \d{4}-\d\d-\d\d\.json$/);
    await more(page, 'A <b>bold</b> question?', 'Delete');
    await listed(page, []);
    await page.setInputFiles('#import-file', { name: 'saved.json', mimeType: 'application/json', buffer: Buffer.from(json.text) });
    await listed(page, ['A <b>bold</b> question?']);
    assert.match(await page.innerText('#toast'), /was added/);
    await page.click('#conversations a');
    await page.waitForSelector('.answer');
    assert.deepEqual(await said(page), ['A <b>bold</b> question?', shorter]);
    await page.hover('.answer');
    await page.click('.answer [aria-label="Version before"]');
    await page.waitForFunction((text) => document.querySelector('.answer-text').innerText.trim() === text, answer);
  }));

test('a file that is none of conversations is refused in words, dropped or chosen, and changes nothing', () =>
  demo.visit(async (page) => {
    await openPanel(page);
    const offer = (text) =>
      page.setInputFiles('#import-file', { name: 'odd.json', mimeType: 'application/json', buffer: Buffer.from(text) });
    for (const [text, words] of [
      ['{"format": "kinglet-conv', /not JSON, or it was cut off/],
      ['{"report": 1}', /holds no conversations/],
      ['{"format": "kinglet-conversations", "version": 9, "conversations": []}', /version 9; this page reads version 1/],
      ['{"format": "kinglet-conversations", "version": 1, "conversations": [{}]}', /Conversation 1.*missing/],
    ]) {
      await offer(text);
      await page.waitForFunction((source) => new RegExp(source).test(document.getElementById('toast').textContent), words.source);
    }
    await page.evaluate(() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(['[]'], 'dropped.json'));
      document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
    });
    await page.waitForFunction(() => /dropped\.json was not read/.test(document.getElementById('toast').textContent));
    assert.deepEqual(await titles(page), []);
  }));

test('another tab sees what this one keeps', () =>
  demo.visit(async (page) => {
    const other = await page.context().newPage();
    await other.goto(demo.url);
    await openPanel(other);
    await loadSmall(page);
    await ask(page, 'Seen by both');
    await listed(other, ['Seen by both']);
    await other.click('#conversations a');
    await other.waitForSelector('.answer');
    await openPanel(page);
    await more(page, 'Seen by both', 'Rename');
    await page.keyboard.type('Renamed here');
    await page.keyboard.press('Enter');
    await listed(other, ['Renamed here']);
    await other.waitForFunction(() => document.title === 'Renamed here · kinglet');
    await more(page, 'Renamed here', 'Delete');
    await other.waitForFunction(() => !document.querySelector('.answer'), null, { polling: 100 });
    assert.match(other.url(), /#chat$/, 'what was deleted there is no longer shown here');
  }));

const REFUSALS = {
  'throws at once': () =>
    Object.defineProperty(window, 'indexedDB', {
      get: () => {
        throw new DOMException('refused', 'SecurityError');
      },
    }),
  'answers with an error': () => {
    IDBFactory.prototype.open = function () {
      const request = {};
      setTimeout(() => request.onerror?.(((request.error = new DOMException('refused', 'InvalidStateError')), {})));
      return request;
    };
  },
};
for (const [how, prepare] of Object.entries(REFUSALS))
  test(`storage that ${how}: the page says that nothing is kept, and works`, () =>
    demo.visit(
      async (page) => {
        await page.waitForSelector('#not-kept:not(:empty)');
        assert.match(await page.innerText('#not-kept'), /keeps nothing for this page.*last until the tab is closed/);
        await loadSmall(page);
        await openPanel(page);
        await ask(page, 'One');
        await page.click('#new-chat');
        await ask(page, 'Two');
        await page.click('#conversations a:has-text("One")');
        await page.waitForFunction(() => document.querySelector('.said')?.textContent === 'One');
        assert.equal((await said(page)).length, 2);
        await page.reload();
        await openPanel(page);
        await listed(page, []);
      },
      { prepare },
    ));

test('where there is no room the page says so, and the chat goes on', () =>
  demo.visit(
    async (page) => {
      await loadSmall(page);
      await ask(page, 'Hello');
      await page.waitForSelector('#not-kept:not(:empty)');
      assert.match(await page.innerText('#not-kept'), /could not be kept.*full/);
      await ask(page, 'Again');
      assert.equal((await said(page)).length, 4);
    },
    {
      prepare: () => {
        const { transaction } = IDBDatabase.prototype;
        IDBDatabase.prototype.transaction = function (names, mode) {
          if (mode === 'readwrite') throw new DOMException('the disk is full', 'QuotaExceededError');
          return transaction.call(this, names, mode);
        };
      },
    },
  ));

test('on a phone the list lies over the chat and goes when one is chosen', () =>
  demo.visit(
    async (page) => {
      await loadSmall(page);
      await ask(page, 'A long question that does not fit into one line of the list on a small phone, by far');
      await page.click('#new-chat');
      await page.click('#history-toggle');
      await page.waitForSelector('#history:visible');
      await page.click('#conversations a');
      await page.waitForSelector('.answer');
      assert.equal(await page.isVisible('#history'), false);
      await page.click('#history-toggle');
      await page.keyboard.press('Escape');
      assert.equal(await page.isVisible('#history'), false);
      assert.equal(await page.evaluate(() => document.activeElement.id), 'history-toggle');
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} px wider than the phone`);
    },
    { viewport: { width: 360, height: 740 }, hasTouch: true },
  ));

test('an answer’s Markdown: tables, lists and code to copy; what is hostile in it stays text', () =>
  demo.visit(async (page) => {
    const created = '2026-01-01T00:00:00.000Z';
    const text =
      'Birds:\n\n| Name | Weight |\n|:--|--:|\n| <b>kinglet</b> | 5 g |\n| **wren** | 9 g |\n\n1. one\n   - in\n   - it\n2. two\n\n```js\nconst a = "<i>";\n```\n![x](https://other.invalid/x.png) [bad](javascript:alert(1))';
    const messages = [
      { id: 'a', parent: null, role: 'user', text: '<img src=x onerror=alert(1)>', created },
      { id: 'b', parent: 'a', role: 'assistant', text, created, model: '<script>', figures: '<i>', end: 'stop' },
    ];
    const one = { title: '<img src=x>', created, updated: created, system: '', leaf: 'b', messages };
    const file = { format: 'kinglet-conversations', version: 1, conversations: [one] };
    const buffer = Buffer.from(JSON.stringify(file));
    await page.setInputFiles('#import-file', { name: 'a.json', mimeType: 'application/json', buffer });
    await openPanel(page);
    await page.click('#conversations a');
    await page.waitForSelector('.answer table');
    const cells = await page.evaluate(() => [...document.querySelectorAll('.answer :is(th, td)')].map((cell) => cell.textContent));
    assert.deepEqual(cells, ['Name', 'Weight', '<b>kinglet</b>', '5 g', 'wren', '9 g']);
    assert.equal(await page.locator('.answer td strong').innerText(), 'wren');
    assert.equal(await page.locator('.answer .answer-text > ol > li').count(), 2);
    assert.equal(await page.locator('.answer ol > li:first-child > ul > li').count(), 2);
    await page.click('.answer .code .copy');
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'const a = "<i>";\n');
    assert.equal(await page.locator(':is(#transcript, #history) :is(img, script, i, b, iframe)').count(), 0);
    assert.deepEqual(
      await page.evaluate(() => [...document.querySelectorAll('.answer a')].map(({ href, textContent }) => [href, textContent])),
      [['https://other.invalid/x.png', 'x (other.invalid)']],
    );
    const problems = await inaccessible(page);
    assert.deepEqual(problems, []);
  }));
