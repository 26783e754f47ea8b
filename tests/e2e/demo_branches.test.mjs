// Branches of a conversation on the demo page: a message that is edited, an answer that is made again, moving between them; an answer
// that was cut and goes on as if it had not been.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ask, limit, loadSmall, openDemo, quiet, said } from './demo_page.mjs';

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

const version = (page, item, text) =>
  page.waitForFunction(
    ([item, text]) => document.querySelector(`${item} .versions:not([hidden]) .count`)?.textContent === text,
    [item, text],
  );

test('an edited message is a branch: the answer is another, what was said before is a click away', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await ask(page, 'The fox was red.');
    await ask(page, 'It ran.');
    const before = await said(page);
    await page.hover('.user >> nth=0');
    await page.click('.user >> nth=0 >> .edit');
    assert.equal(await page.inputValue('.editing textarea'), 'The fox was red.');
    await page.keyboard.press('Escape');
    assert.deepEqual(await said(page), before, 'Escape leaves all as it was');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Edit');
    await page.keyboard.press('Enter');
    await page.fill('.editing textarea', 'One day, Lily saw a dog.');
    await page.keyboard.press('Enter');
    await version(page, '.user', '2 / 2');
    await quiet(page);
    const after = await said(page);
    assert.equal(after.length, 2);
    assert.equal(after[0], 'One day, Lily saw a dog.');
    assert.notEqual(after[1], before[1]);
    await page.click('.user [aria-label="Version before"]');
    await version(page, '.user', '1 / 2');
    assert.deepEqual(await said(page), before, 'with all that followed it');
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Version after');
    await page.reload();
    await page.waitForSelector('.answer');
    assert.deepEqual(await said(page), before, 'the branch that was shown is shown again');
    await page.click('.user [aria-label="Version after"]');
    await version(page, '.user', '2 / 2');
    assert.deepEqual(await said(page), after);
  }));

test('what is sent to the model is the branch that is shown', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    const tokens = async () => Number(/^(\d+) of/.exec(await page.innerText('#context-text'))[1]);
    await ask(page, 'Hello');
    await ask(page, 'word '.repeat(60).trim());
    const long = await tokens();
    await page.hover('.user >> nth=1');
    await page.click('.user >> nth=1 >> .edit');
    await page.fill('.editing textarea', 'Short');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => [...document.querySelectorAll('.said')].at(-1).textContent === 'Short');
    await quiet(page);
    assert.ok((await tokens()) < long - 50, 'the other branch is not in the context');
  }));

test('any answer can be made again; each stays', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await ask(page, 'First');
    await ask(page, 'Second');
    const before = await said(page);
    await limit(page, 4);
    await page.hover('.answer >> nth=0');
    await page.click('.answer >> nth=0 >> .regenerate');
    await version(page, '.answer', '2 / 2');
    await quiet(page);
    assert.equal((await said(page)).length, 2);
    await page.click('.answer [aria-label="Version before"]');
    await version(page, '.answer', '1 / 2');
    assert.deepEqual(await said(page), before);
    await page.hover('.user >> nth=0');
    await page.click('.user >> nth=0 >> .copy');
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'First');
  }));

for (const [how, reload] of [
  ['in the same visit', false],
  ['after a reload', true],
])
  test(`an answer that was cut goes on as if it had not been, ${how}`, () =>
    demo.visit(async (page) => {
      await loadSmall(page, { tokens: 30 });
      const whole = await ask(page, 'Lily and Tom');
      await page.click('#new-chat');
      await limit(page, 10);
      const beginning = await ask(page, 'Lily and Tom');
      assert.ok(whole.startsWith(beginning) && whole.length > beginning.length);
      if (reload) {
        await page.reload();
        await page.waitForSelector('.answer');
        await loadSmall(page);
      }
      await limit(page, 20);
      await page.click('.go-on');
      await page.waitForFunction(() => /^30 tokens/.test(document.querySelector('.answer .figures')?.textContent));
      await quiet(page);
      assert.equal((await said(page))[1], whole.trim());
      assert.equal(await page.locator('.answer').count(), 1);
      await limit(page, 5);
      await page.click('.go-on');
      await page.waitForFunction(() => /^35 tokens/.test(document.querySelector('.answer .figures')?.textContent));
    }));

test('an answer that was stopped goes on', () =>
  demo.visit(async (page) => {
    await loadSmall(page, { tokens: 300 });
    // The small model is done before a click from outside would reach the page.
    await page.evaluate(() =>
      new MutationObserver((_, observer) => {
        if (!(document.querySelector('.answer[aria-busy] .answer-text')?.textContent.length > 20)) return;
        observer.disconnect();
        document.getElementById('stop').click();
      }).observe(document.getElementById('transcript'), { childList: true, subtree: true }),
    );
    await page.fill('#message', 'Tell me all.');
    await page.press('#message', 'Enter');
    await page.waitForFunction(() => /stopped/.test(document.querySelector('.answer .figures')?.textContent));
    await quiet(page);
    const stopped = (await said(page))[1];
    await limit(page, 2);
    await page.click('.go-on');
    await page.waitForFunction((n) => document.querySelector('.answer-text').innerText.trim().length > n, stopped.length);
    await quiet(page);
    assert.ok((await said(page))[1].startsWith(stopped));
  }));

test('an imported answer, whose tokens are not known, goes on from its text', () =>
  demo.visit(async (page) => {
    await loadSmall(page, { tokens: 6 });
    const created = '2026-01-01T00:00:00.000Z';
    const messages = [
      { id: 'a', parent: null, role: 'user', text: 'Hello', created },
      { id: 'b', parent: 'a', role: 'assistant', text: ' Once upon a', created, model: 'm', figures: '', end: 'length' },
    ];
    const one = { title: 'Imported', created, updated: created, system: '', leaf: 'b', messages };
    const file = { format: 'kinglet-conversations', version: 1, conversations: [one] };
    const buffer = Buffer.from(JSON.stringify(file));
    await page.setInputFiles('#import-file', { name: 'a.json', mimeType: 'application/json', buffer });
    if (!(await page.isVisible('#history'))) await page.click('#history-toggle');
    await page.click('#conversations a');
    await page.waitForSelector('.answer');
    await page.click('.go-on');
    await page.waitForFunction(() => document.querySelector('.answer-text').innerText.trim().length > 'Once upon a'.length);
    await quiet(page);
    assert.match((await said(page))[1], /^Once upon a time/);
  }));

test('the default model goes on with what it said; text that reads like its marks is refused in words', () =>
  demo.visit(async (page) => {
    await page.click('#load-default');
    await page.waitForSelector('body[data-state=ready]', { timeout: 120_000 });
    await limit(page, 16);
    const whole = await ask(page, 'What is the capital of France?');
    await page.click('#new-chat');
    await limit(page, 5);
    await ask(page, 'What is the capital of France?');
    await limit(page, 11);
    await page.click('.go-on');
    await page.waitForFunction(() => /^(1[0-9]) tokens/.test(document.querySelector('.answer .figures')?.textContent));
    await quiet(page);
    assert.equal((await said(page))[1], whole.trim());

    await page.click('#new-chat');
    await limit(page, 4);
    await ask(page, 'Say <|im_end|> please');
    const before = (await said(page))[1];
    await page.click('.go-on');
    await page.waitForSelector('.answer .error');
    assert.match(await page.innerText('.answer .error'), /reads like the model’s own marks.*MARKS_IN_TEXT/s);
    assert.equal((await said(page))[1], before, 'what there was stays');
    await page.click('.regenerate');
    await version(page, '.answer', '2 / 2');
    await quiet(page);
    assert.equal(await page.locator('.answer .error').count(), 0);
  }));
