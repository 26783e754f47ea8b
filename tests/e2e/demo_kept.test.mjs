// What the demo page has kept: conversations of a file that go on, an answer that was cut and a question without one; all of them deleted,
// and brought back; how the sampling was set.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inaccessible } from './browser.mjs';
import { ask, limit, listed, loadSmall, openDemo, openPanel, quiet, said, titles } from './demo_page.mjs';

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

const opened = (page, question) =>
  page.waitForFunction((question) => document.querySelector('.said')?.textContent === question, question);

const created = '2026-01-01T00:00:00.000Z';
const BEGUN = 'Once upon a time, there was a';
/** A conversation of a file, with these messages by turns. */
function conversation(title, texts, end = 'stop') {
  const messages = texts.map((text, i) => ({
    id: String(i),
    parent: i === 0 ? null : String(i - 1),
    role: i % 2 ? 'assistant' : 'user',
    text,
    created,
    ...(i % 2 && { model: 'another', figures: '', end }),
  }));
  return { title, created, updated: created, system: '', leaf: String(texts.length - 1), messages };
}
const bring = (page, ...conversations) =>
  page.setInputFiles('#import-file', {
    name: 'saved.json',
    mimeType: 'application/json',
    buffer: Buffer.from(JSON.stringify({ format: 'kinglet-conversations', version: 1, conversations })),
  });

for (const end of ['stopped', 'length', 'failed', 'running'])
  test(`an answer of a file that is unfinished (${end}) goes on from its text`, () =>
    demo.visit(async (page) => {
      await bring(page, conversation('Cut', ['Tell me a story.', BEGUN], end));
      await openPanel(page);
      await page.click('#conversations a');
      await opened(page, 'Tell me a story.');
      assert.equal(await page.isVisible('.go-on'), false, 'nothing is offered that needs a model');
      await loadSmall(page);
      await page.hover('.answer');
      await page.click('.go-on');
      await page.waitForFunction((n) => document.querySelector('.answer-text').textContent.length > n + 10, BEGUN.length);
      await quiet(page);
      const [, answer] = await said(page);
      assert.ok(answer.startsWith(`${BEGUN} `), answer);
      assert.equal((await said(page)).length, 2, 'it is the same answer');
      await page.reload();
      await opened(page, 'Tell me a story.');
      assert.deepEqual(await said(page), ['Tell me a story.', answer]);
    }));

test('a question of a file that has no answer gets one; one that is finished does not go on', () =>
  demo.visit(async (page) => {
    await bring(page, conversation('Open', ['Hello', 'Hi.', 'Who are you?']), conversation('Whole', ['Hello', 'Hi.']));
    await openPanel(page);
    await loadSmall(page);
    const answer = page.locator('.user button:text-is("Answer")');
    await page.click('#conversations a:text-is("Whole")');
    await page.waitForFunction(() => document.querySelectorAll('#transcript > li').length === 2);
    assert.equal(await page.locator('.go-on').count(), 0);
    assert.deepEqual([await answer.count(), await answer.filter({ visible: true }).count()], [1, 0]);
    await page.click('#conversations a:text-is("Open")');
    await page.waitForFunction(() => document.querySelectorAll('#transcript > li').length === 3);
    await page.hover('.user:last-child');
    assert.equal(await answer.filter({ visible: true }).count(), 1);
    assert.deepEqual(await inaccessible(page), []);
    await answer.last().click();
    await page.waitForSelector('.answer:last-child .figures:not(:empty)');
    await quiet(page);
    const after = await said(page);
    assert.deepEqual(after.slice(0, 3), ['Hello', 'Hi.', 'Who are you?']);
    assert.ok(after[3].length > 5, after[3]);
    assert.equal(await answer.filter({ visible: true }).count(), 0);
  }));

test('all conversations are deleted when it is meant, and brought back', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await openPanel(page);
    assert.equal(await page.isDisabled('#delete-all-open'), true, 'there is nothing to delete');
    await ask(page, 'First question');
    await page.click('#new-chat');
    await ask(page, 'Second question');
    const both = ['Second question', 'First question'];
    await listed(page, both);
    const before = await said(page);
    await page.fill('#conversation-search', 'First');
    await listed(page, ['First question']);
    await page.click('#delete-all-open');
    await page.waitForFunction(() => /deletes 2 conversations with every branch/.test(document.getElementById('delete-all-text').textContent));
    assert.deepEqual(await inaccessible(page), []);
    await page.keyboard.press('Escape');
    await page.fill('#conversation-search', '');
    await listed(page, both);

    await page.click('#delete-all-open');
    await page.click('#delete-all-yes');
    await listed(page, []);
    assert.deepEqual(await said(page), [], 'what was open is no longer shown');
    assert.match(await page.innerText('#toast'), /^2 conversations were deleted\./);
    await page.click('#toast button:has-text("Undo")');
    await listed(page, both);
    await opened(page, 'Second question');
    assert.deepEqual(await said(page), before);

    await page.click('#delete-all-open');
    await page.click('#delete-all-yes');
    await listed(page, []);
    await page.reload();
    await openPanel(page);
    await listed(page, []);
    assert.deepEqual(await titles(page), []);
    await loadSmall(page);
    await ask(page, 'Third question');
    await listed(page, ['Third question']);
  }));

test('an answer that is being written is deleted with the others, and stays so', () =>
  demo.visit(async (page) => {
    await page.click('#load-default');
    await page.waitForSelector('body[data-state=ready]', { timeout: 120_000 });
    await limit(page, 2000);
    await openPanel(page);
    await page.fill('#message', 'Write a long story about a very small bird.');
    await page.press('#message', 'Enter');
    await page.waitForFunction(() => document.querySelector('.answer-text')?.textContent.length > 20);
    await page.click('#delete-all-open');
    assert.equal(await page.evaluate(() => document.body.hasAttribute('data-busy')), true);
    await page.click('#delete-all-yes');
    await quiet(page);
    await listed(page, []);
    await page.reload();
    await openPanel(page);
    await page.waitForFunction(() => /What you write will be listed here/.test(document.getElementById('conversations').textContent));
    assert.deepEqual(await titles(page), []);
  }));

const sampling = (page) =>
  page.evaluate(() =>
    Object.fromEntries([...document.querySelectorAll('#sampling [id^=sampling-]')].flatMap(({ id, value }) => (value === undefined ? [] : [[id.slice(9), value]]))),
  );

test('how the sampling was set is kept, until it is set back', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    const first = await sampling(page);
    if (await page.isVisible('#panel-toggle')) await page.click('#panel-toggle');
    await page.fill('#sampling-temperature', '0.35');
    await page.fill('#sampling-top_k', '7');
    await page.fill('#sampling-seed', '42');
    await page.fill('#sampling-max_tokens', '');
    await page.reload();
    assert.deepEqual(await sampling(page), { ...first, temperature: '0.35', top_k: '7', seed: '42', max_tokens: '', preset: 'Your own' });
    assert.equal(await page.textContent('output[for=sampling-temperature]'), '0.35');
    await page.evaluate(() => document.getElementById('reset-sampling').click());
    await page.reload();
    const defaults = { temperature: '0.8', top_k: '40', seed: '', max_tokens: '', preset: 'Balanced' };
    assert.deepEqual(await sampling(page), { ...first, ...defaults });
    await page.evaluate(() => {
      const select = document.getElementById('sampling-preset');
      select.value = 'Lively';
      select.dispatchEvent(new Event('input', { bubbles: true }));
    });
    await page.goto(`${demo.url}#compare`);
    await page.reload();
    assert.equal((await sampling(page)).preset, 'Lively');
    assert.equal((await sampling(page)).top_k, '100');
    await page.waitForFunction(() => document.querySelectorAll('#view-compare select[id$=-preset]').length === 2);
    const others = await page.evaluate(() => [...document.querySelectorAll('#view-compare select[id$=-preset]')].map(({ value }) => value));
    assert.ok(others.length === 2 && !others.includes('Lively'), `the pages beside it have their own: ${others}`);
  }));

for (const kept of ['{', 'null', '[]', '{"temperature":"hot","top_k":1e99,"seed":-3,"min_p":null}', '"x"'])
  test(`settings that cannot be read do no harm: ${kept}`, () =>
    demo.visit(
      async (page) => {
        assert.equal((await sampling(page)).temperature, '0.8');
        await loadSmall(page);
        await ask(page, 'Hello');
        assert.ok((await said(page))[1].length > 3);
        await limit(page, 3);
      },
      { prepare: `localStorage.setItem('kinglet.sampling', ${JSON.stringify(kept)})` },
    ));
