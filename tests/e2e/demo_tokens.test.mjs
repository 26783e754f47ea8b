// Answers token by token on the demo page: probabilities that are the engine's own, alternatives by pointer and by keyboard, and branches
// that go on from one.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ask, limit, loadSmall, openDemo, quiet, said } from './demo_page.mjs';

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

const tokens = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll('.answer:last-child .tokens .token')].map((span) => ({
      text: span.textContent,
      name: span.getAttribute('aria-label'),
      level: Number(/level-(\d)/.exec(span.className)?.[1]),
    })),
  );
const rows = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll('.alternatives:popover-open :is(button, .row-said)')].map((row) => [
      row.querySelector('.word').textContent,
      row.querySelector('.figures').textContent,
      row.tagName,
    ]),
  );
/** The texts and ids in the open list; the one that was said is marked. */
const ids = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll('.alternatives:popover-open :is(button, .row-said)')].map((row) => ({
      word: row.querySelector('.word').textContent,
      id: row.querySelector('.id').textContent,
      said: row.matches('.row-said'),
    })),
  );
async function idsOf(page, index) {
  await page.locator('.answer:last-child .token').nth(index).focus();
  return ids(page);
}
const recording = (page, on = true) =>
  page.evaluate((on) => {
    const box = document.getElementById('probabilities');
    if (box.checked !== on) box.click();
  }, on);
const turned = (page, text) =>
  page.waitForFunction((text) => document.querySelector('.answer .versions:not([hidden]) .count')?.textContent === text, text);

test('probabilities while it is written, and worked out afterwards, are the same', () =>
  demo.visit(async (page) => {
    await loadSmall(page, { tokens: 20 });
    await recording(page);
    await ask(page, 'Once upon a time');
    const live = await tokens(page);
    assert.equal(live.length, 20);
    for (const { name, level } of live) {
      const percent = Number(/, (?:< )?([\d.]+) %$/.exec(name)[1]);
      const expected = [89.9, 59.9, 29.9, 9.9, 0].findIndex((bound) => percent >= bound);
      assert.ok(Math.abs(level - expected) <= 1 && (percent > 11 || level >= 3), `${name} has the colour ${level}`);
    }
    assert.ok(new Set(live.map(({ level }) => level)).size > 2, 'not all tokens are equally likely');

    await page.click('.probabilities'); // as text again
    assert.equal(await page.locator('.tokens').count(), 0);
    await page.click('#new-chat');
    await recording(page, false);
    await ask(page, 'Once upon a time');
    assert.equal(await page.locator('.tokens').count(), 0);
    await page.click('.probabilities');
    await page.waitForSelector('.tokens');
    await quiet(page);
    const later = await tokens(page);
    assert.deepEqual(later.map(({ text }) => text).join('').trim(), live.map(({ text }) => text).join('').trim());
    const percents = (list) => list.map(({ name }) => Number(/([\d.]+) %$/.exec(name)[1]));
    percents(later).forEach((percent, i) => assert.ok(Math.abs(percent - percents(live)[i]) < 2, `${live[i].name} | ${later[i].name}`));
    assert.equal(await page.locator('.probabilities').getAttribute('aria-pressed'), 'true');
    await page.reload();
    await page.waitForSelector('.answer');
    await loadSmall(page);
    await page.click('.probabilities');
    await page.waitForSelector('.tokens');
    assert.deepEqual(await tokens(page), later, 'kept');
  }));

test('a click on an alternative goes on from there: the same up to it, then what was chosen', () =>
  demo.visit(async (page) => {
    await loadSmall(page, { tokens: 16 });
    await recording(page);
    await ask(page, 'Once upon a time');
    const first = await tokens(page);
    await page.hover('.tokens .token >> nth=6');
    await page.waitForSelector('.alternatives:popover-open');
    const offered = await rows(page);
    assert.equal(offered.filter(([, , tag]) => tag === 'P').length, 1, 'what was said is among them and cannot be chosen');
    assert.ok(offered.length >= 6);
    const values = offered.map(([, figure]) => Number(/[\d.]+/.exec(figure)[0]));
    assert.deepEqual(values, [...values].sort((a, b) => b - a), 'the likeliest first');
    const [word] = offered.find(([, , tag]) => tag === 'BUTTON');
    await page.click('.alternatives:popover-open button >> nth=0');
    await turned(page, '2 / 2');
    await quiet(page);
    const second = await tokens(page);
    const kept = (list) => list.slice(0, 6).map(({ text }) => text);
    assert.deepEqual(kept(second), kept(first), 'kept up to there');
    assert.equal(second[6].text, word.replaceAll('␣', ' ').replaceAll('↵', '\n'));
    assert.equal(second.length, 7 + 16, 'and goes on');
    assert.ok(second.every(({ level }) => level >= 0));
    await page.click('.answer [aria-label="Version before"]');
    await turned(page, '1 / 2');
    assert.deepEqual(await tokens(page), first);
  }));

test('each alternative has its id: the same while it is written and worked out afterwards, and what is chosen is that token', () =>
  demo.visit(async (page) => {
    await loadSmall(page, { tokens: 10 });
    await recording(page);
    await ask(page, 'Once upon a time');
    const live = [await idsOf(page, 2), await idsOf(page, 5)];
    for (const list of live) {
      assert.ok(list.length >= 6 && list.every(({ id }) => /^#\d+$/.test(id)), JSON.stringify(list));
      assert.equal(new Set(list.map(({ id }) => id)).size, list.length, 'no two are one');
      assert.equal(list.filter(({ said }) => said).length, 1);
    }
    await page.click('#new-chat');
    await recording(page, false);
    await ask(page, 'Once upon a time');
    await page.click('.probabilities');
    await page.waitForSelector('.tokens');
    await quiet(page);
    const sorted = (list) => list.map(({ word, id }) => `${id} ${word}`).sort();
    const later = [await idsOf(page, 2), await idsOf(page, 5)];
    assert.deepEqual(later.map(sorted), live.map(sorted));
    const chosen = later[1].find(({ said }) => !said);
    await page.click('.alternatives:popover-open button >> nth=0');
    await turned(page, '2 / 2');
    await quiet(page);
    assert.equal((await idsOf(page, 5)).find(({ said }) => said).id, chosen.id);
    assert.deepEqual((await idsOf(page, 2)).map(({ id }) => id), later[0].map(({ id }) => id));
  }));

test('by keyboard: one stop for Tab, arrows from token to token and to the alternatives, Enter chooses', () =>
  demo.visit(async (page) => {
    await loadSmall(page, { tokens: 8 });
    await recording(page);
    await ask(page, 'Once upon a time');
    assert.equal(await page.locator('.tokens [tabindex="0"]').count(), 1);
    await page.focus('.tokens [tabindex="0"]');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => [...document.querySelectorAll('.token')].indexOf(document.activeElement)), 2);
    assert.ok((await rows(page)).length > 0, 'the alternatives are shown');
    await page.keyboard.press('ArrowDown');
    assert.match(await page.evaluate(() => document.activeElement.textContent), /%go on with this$/);
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.alternatives:popover-open').count(), 0);
    assert.equal(await page.evaluate(() => document.activeElement.className.startsWith('token')), true);
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Enter');
    await turned(page, '2 / 2');
    await quiet(page);
    assert.equal((await tokens(page)).length, 4 + 8);
  }));

test('with the default model: a word of several bytes, an end that is chosen, and the next question', () =>
  demo.visit(async (page) => {
    await page.click('#load-default');
    await page.waitForSelector('body[data-state=ready]', { timeout: 120_000 });
    await limit(page, 12);
    await recording(page);
    await ask(page, 'What is the capital of France?');
    const index = 3;
    await page.hover(`.tokens .token >> nth=${index}`);
    await page.waitForSelector('.alternatives:popover-open');
    const [[word]] = (await rows(page)).filter(([, , tag]) => tag === 'BUTTON');
    await page.click('.alternatives:popover-open button >> nth=0');
    await turned(page, '2 / 2');
    await quiet(page);
    assert.ok((await tokens(page))[index].text === word.replaceAll('␣', ' '), 'the alternative stands in its place');

    // Somewhere the answer could have ended: then a branch is the answer up to there.
    await limit(page, 40);
    await ask(page, 'Say hello.');
    const list = await tokens(page);
    let ended = false;
    for (let i = 1; i < list.length && !ended; i++) {
      await page.locator('.answer:last-child .token').nth(i).focus();
      ended = (await rows(page)).some(([text, , tag]) => tag === 'BUTTON' && text.includes('<|im_end|>'));
      if (!ended) continue;
      await page.click('.alternatives:popover-open button:has-text("<|im_end|>")');
      await page.waitForFunction(() => /ended here by choice/.test(document.querySelector('.answer:last-child .figures').textContent));
      assert.equal((await tokens(page)).length, i);
    }
    assert.ok(ended, 'the end is among the alternatives somewhere');
    await limit(page, 4);
    await ask(page, 'And now?');
    assert.equal((await said(page)).length, 6);
  }));
