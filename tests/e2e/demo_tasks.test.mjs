// The tasks page of the demo: each task from its example on tiny models of the family that suits it, what it says of models that do
// not, cancelling, addresses, notes that are searched and kept. Watched as the chat is: no console error, no foreign request, no long task.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { inaccessible, launch, visitWatched } from './browser.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const MODELS = process.env.KINGLET_MODELS ?? folder('.cache/models');
const T5 = folder('tests/golden/tiny_t5_flan.gguf');
const BERT = folder('tests/golden/encoders/bert.gguf');
const DECODER = folder('tests/golden/tiny_full.gguf');
const TASKS = ['summarize', 'translate', 'answer', 'fill', 'classify', 'search'];

let browser;
let site;

before(async () => {
  site = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': MODELS }, port: 0 });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
});

/** Opens the tasks page at a task. */
const visiting = (task, visit, options) =>
  visitWatched(
    browser,
    `${site.url}/#tasks/${task}`,
    async (page) => {
      await page.waitForSelector(`#task-${task}`);
      await visit(page);
    },
    options,
  );

async function load(page, file) {
  await page.setInputFiles('#model-file', file);
  await page.waitForSelector('body[data-state=ready]');
}

const pane = (page) => page.locator('.task:not([hidden])');
/** The task that is open has ended, well or not. */
const ended = (page) =>
  page.waitForSelector('.task:not([hidden]) .output :is(.foot:not([hidden]), .error)', { timeout: 120_000 });

async function runExample(page) {
  await pane(page).getByRole('button', { name: 'Run the example' }).click();
  await ended(page);
  assert.equal(await pane(page).locator('.error').count(), 0, await pane(page).locator('.output').innerText());
}

async function open(page, title) {
  await page.locator('.task-list a', { hasText: title }).click();
  await page.waitForSelector(`.task:not([hidden]) h2:text-is("${title}")`);
}
const announced = (page) => page.textContent('#announce');

test('an encoder-decoder summarizes, translates and answers from the examples', () =>
  visiting('summarize', async (page) => {
    await load(page, T5);
    for (const title of ['Summarize', 'Translate', 'Answer']) {
      await open(page, title);
      await runExample(page);
      const text = await pane(page).locator('.written').innerText();
      assert.notEqual(text, '');
      assert.match(await pane(page).locator('.foot .figures').innerText(), /^[\d,]+ tokens? · .*read in/);
      assert.equal(await announced(page), text, 'a screen reader hears it once it is whole');
    }
    await pane(page).getByRole('button', { name: 'Copy' }).click();
    assert.equal(
      await page.evaluate(() => navigator.clipboard.readText()),
      await pane(page).locator('.written').innerText(),
    );
  }));

test('an encoder fills blanks, classifies and finds, from the examples', () =>
  visiting('fill', async (page) => {
    await load(page, BERT);
    await runExample(page);
    assert.equal(await pane(page).locator('.bars li').count(), 5);
    assert.doesNotMatch(await pane(page).locator('p.written').innerText(), /\[MASK\]/);
    await pane(page).getByLabel('Words to compare').fill('bird, fish');
    await pane(page).getByRole('button', { name: 'Fill it in' }).click();
    await page.waitForFunction(() => document.querySelectorAll('.task:not([hidden]) .bars li').length === 2);
    await ended(page);

    await open(page, 'Classify');
    await runExample(page);
    const shares = await pane(page).locator('.bars .figures').allInnerTexts();
    assert.ok(shares.length >= 2);
    assert.match(shares.join(), /\d+ %/);

    await open(page, 'Find in my notes');
    await runExample(page);
    assert.equal(await pane(page).locator('.results li').count(), 5);
    assert.match(await pane(page).locator('.foot .figures').innerText(), /^8 notes searched in/);
    assert.match(await pane(page).locator('.given > .figures').innerText(), /^8 notes · 8 read in/);
  }));

test('a text that is dropped goes into the task that is open', () =>
  visiting('classify', async (page) => {
    const drop = (name, text) =>
      page.evaluate(
        ([name, text]) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([text], name));
          document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
        },
        [name, text],
      );
    await drop('news.txt', 'It rained.');
    const field = pane(page).getByRole('textbox', { name: 'Text' });
    await page.waitForFunction((field) => field.value === 'It rained.', await field.elementHandle());
    await drop('news.bin', 'a\0b');
    await page.waitForSelector('.task:not([hidden]) .error');
    assert.match(await pane(page).locator('.error').innerText(), /news\.bin is not a text/);
    assert.equal(await field.inputValue(), 'It rained.');
  }));

test('a decoder compares words and labels by how probable it finds them', () =>
  visiting('fill', async (page) => {
    await load(page, DECODER);
    await runExample(page);
    assert.equal(await pane(page).locator('.bars li').count(), 4);
    await open(page, 'Classify');
    await runExample(page);
    assert.deepEqual(
      (await pane(page).locator('.bars .name').allInnerTexts()).sort(),
      ['cooking', 'politics', 'science', 'sport'],
    );
    await pane(page).getByRole('textbox', { name: 'Labels' }).fill('only one');
    await pane(page).getByRole('button', { name: 'Classify', exact: true }).click();
    await page.waitForSelector('.task:not([hidden]) .error');
    assert.match(await pane(page).locator('.error').innerText(), /labels/i);
  }));

test('a model that is not meant for a task says so, names one that is, and leads to another', () =>
  visiting('summarize', async (page) => {
    await load(page, BERT);
    const unsuited = page.locator('.task-list a[data-unsuited]');
    const titles = ['Summarize', 'Translate', 'Answer'];
    assert.deepEqual(await unsuited.allTextContents(), titles.map((title) => `${title}, not with this model`));
    const note = pane(page).getByRole('note');
    assert.match(await note.innerText(), /is an encoder.*does not write.*Made for it: flan-T5/s);
    assert.ok(await pane(page).getByRole('button', { name: 'Summarize' }).isDisabled());
    await note.getByRole('button', { name: 'Load another model' }).click();
    await page.waitForSelector('body[data-state=empty]');
    assert.ok(await page.isVisible('#model-card'), 'models are offered on this page');
    await load(page, T5);
    assert.equal(await pane(page).locator('[data-unsuited]').count(), 0);
    await open(page, 'Find in my notes');
    assert.match(await pane(page).getByRole('note').innerText(), /gives no embeddings.*MiniLM/s);
  }));

test('a task loads the default model, streams, and is cancelled by its button and by Escape', () =>
  visiting('summarize', async (page) => {
    await pane(page).getByText('Long', { exact: true }).click();
    await pane(page).getByRole('button', { name: 'Summarize' }).click();
    await page.waitForSelector('body[data-state=ready]', { timeout: 120_000 });
    await page.waitForSelector('.task:not([hidden]) .written', { timeout: 120_000 });
    await pane(page).getByRole('button', { name: 'Cancel' }).click();
    await ended(page);
    assert.equal(await pane(page).locator('.foot .figures').innerText(), 'cancelled');
    assert.notEqual(await pane(page).locator('.written').innerText(), '', 'what has come stays');
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Summarize', 'the focus is where it was');
    assert.equal(await announced(page), 'Cancelled.');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.activeElement?.textContent === 'Cancel');
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.activeElement?.textContent === 'Summarize');
    assert.equal(await page.getAttribute('body', 'data-state'), 'ready');
  }));

test('by keyboard alone: a page, a task, its example, another length; the focus is always seen', () =>
  visitWatched(browser, site.url, async (page) => {
    await load(page, T5);
    await page.evaluate(() => document.activeElement?.blur());
    const focusOn = async (name) => {
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press('Tab');
        const found = await page.evaluate(() => {
          const element = document.activeElement;
          const shown = element?.matches('.choices input') ? element.parentElement : element;
          const { outlineStyle, boxShadow } = getComputedStyle(shown);
          const isSeen = outlineStyle !== 'none' || boxShadow !== 'none' || element.id === 'message';
          return { name: (element.labels?.[0] ?? element).textContent.trim(), isSeen, tag: element.tagName };
        });
        if (found.tag !== 'BODY') assert.ok(found.isSeen, `${found.tag} ${found.name} has no visible focus`);
        if (found.name === name) return;
      }
      assert.fail(`Tab never reaches ${name}`);
    };
    await focusOn('Tasks');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#task-summarize:visible');
    await focusOn('Answer');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#task-answer:visible');
    await focusOn('Run the example');
    await page.keyboard.press('Enter');
    await ended(page);
    assert.notEqual(await pane(page).locator('.written').innerText(), '');
    await page.evaluate(() => (location.hash = '#tasks/summarize'));
    await page.waitForSelector('#task-summarize:visible');
    await focusOn('Short');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.value), 'medium');
    await focusOn('Summarize');
    await page.keyboard.press('Enter');
    await ended(page);
    await focusOn('Copy');
  }));

test('addresses lead back, forward and to the same task after a reload; the focus goes along', async () => {
  const code = () =>
    ['/tasks/page.js', '/kinglet/tasks/index.js', '/kinglet/eval/index.js'].map(
      (name) => site.requests.filter((path) => path.endsWith(name)).length,
    );
  const [page0, tasks0, eval0] = code();
  await visitWatched(browser, site.url, async (page) => {
    await page.waitForSelector('#headline');
    assert.deepEqual(code(), [page0, tasks0, eval0], 'the chat needs none of it');
    await page.getByRole('link', { name: 'Tasks' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForSelector('#task-summarize:visible');
    assert.deepEqual(code(), [page0 + 1, tasks0 + 1, eval0], 'the code of the tasks comes now, that of the benchmarks not yet');
    assert.equal(await page.title(), 'Tasks · kinglet');
    assert.equal(await page.getAttribute('#views a[href="#tasks"]', 'aria-current'), 'page');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'view-tasks');
    await open(page, 'Translate');
    await page.waitForSelector('#task-translate:visible');
    await page.getByRole('link', { name: 'Benchmarks' }).click();
    await page.waitForSelector('.dropzone:visible');
    await page.goBack();
    await page.waitForSelector('#task-translate:visible');
    await page.reload();
    await page.waitForSelector('#task-translate:visible');
    await page.goBack();
    await page.waitForSelector('#task-summarize:visible');
    await page.goBack();
    await page.waitForSelector('#headline:visible');
    await page.goForward();
    await page.waitForSelector('#task-summarize:visible');
  });
});

test('notes: pasted and dropped, searched as one types, saved, loaded, forgotten', () =>
  visiting('search', async (page) => {
    await load(page, BERT);
    await pane(page).getByRole('textbox', { name: 'Notes' }).fill('one thing\n\nanother thing\n\none thing');
    await pane(page).getByRole('button', { name: 'Add these notes' }).click();
    const state = pane(page).locator('.given > .figures');
    await page.waitForFunction(() => /^2 notes · 2 read/.test(document.querySelector('#task-search .given > .figures').textContent));
    await page.evaluate(dropTexts, [['third.md', 'a third thing'], ['none.txt', ' '], ['binary.txt', 'a\0b']]);
    await page.waitForFunction(() => /^3 notes · 1 read/.test(document.querySelector('#task-search .given > .figures').textContent));
    const refused = await pane(page).locator('[role=alert]').innerText();
    assert.match(refused, /none\.txt is empty.*binary\.txt is not a text/s);
    await pane(page).getByRole('searchbox').pressSequentially('a third thing', { delay: 20 });
    await page.waitForSelector('.results li');
    await page.waitForFunction(() => document.querySelector('.results .passage')?.textContent === 'a third thing');
    assert.equal(await pane(page).locator('.results h3').first().innerText(), 'third.md');
    assert.match(await announced(page), /^Nearest: a third thing/);

    const coming = page.waitForEvent('download');
    await pane(page).getByRole('button', { name: 'Save the index' }).click();
    const saved = await (await coming).path();
    await pane(page).getByRole('button', { name: 'Forget all' }).click();
    assert.equal(await state.innerText(), 'No notes yet');
    assert.equal(await pane(page).locator('.results').count(), 0);
    const index = { name: 'notes.kinglet-index', mimeType: '', buffer: readFileSync(saved) };
    await pane(page).locator('input[type=file]').setInputFiles(index);
    await page.waitForSelector('.results li');
    assert.match(await state.innerText(), /^3 notes · from notes\.kinglet-index/);
    await pane(page).locator('input[type=file]').setInputFiles({ ...index, buffer: index.buffer.subarray(0, 40) });
    await page.waitForSelector('#task-search .output .error');
    assert.match(await pane(page).locator('.error').innerText(), /not an index of notes.*E_FILE_FORMAT/s);
    assert.match(await state.innerText(), /^3 notes/, 'the notes are kept');

    await page.click('#change-model');
    await load(page, folder('tests/golden/encoders/nomic-bert.gguf'));
    assert.match(await state.innerText(), /not read by this model yet/);
    await pane(page).getByRole('searchbox').fill('another thing');
    await page.waitForFunction(() => document.querySelector('.results .passage')?.textContent === 'another thing');
  }));

/** In the page: texts are dropped on it as files. */
function dropTexts(files) {
  const dataTransfer = new DataTransfer();
  for (const [name, text] of files) dataTransfer.items.add(new File([text], name));
  document.dispatchEvent(new DragEvent('dragover', { dataTransfer, cancelable: true }));
  if (!/texts to search/.test(document.getElementById('drop-hint').textContent)) throw new Error('the hint is another');
  document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
}

for (const [what, options] of [
  ['a phone, dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark', hasTouch: true }],
  ['a desktop', {}],
])
  test(`on ${what} every task fits, and a screen reader can make sense of it`, () =>
    visiting(
      'summarize',
      async (page) => {
        assert.deepEqual(await inaccessible(page), [], 'before a model is loaded');
        await load(page, BERT);
        for (const task of TASKS) {
          await page.evaluate((hash) => (location.hash = hash), `#tasks/${task}`);
          await page.waitForSelector(`#task-${task}:visible`);
          assert.deepEqual(await inaccessible(page), [], task);
          const wide = await page.evaluate(
            () => Math.max(...[document.documentElement, document.getElementById('view-tasks')].map((e) => e.scrollWidth - e.clientWidth)),
          );
          assert.ok(wide <= 0, `${task} is ${wide} px wider than the page`);
        }
      },
      options,
    ));

test('the watch over names, ids and headings notices what is wrong', () =>
  visiting('summarize', async (page) => {
    await page.evaluate(() => {
      const place = document.querySelector('#view-tasks .view-body');
      const add = (tag, set) => place.append(Object.assign(document.createElement(tag), set));
      add('button', { className: 'wrong' });
      add('h4', { textContent: 'too deep' });
      add('p', { id: 'task-summarize' });
      const label = document.createElement('label');
      label.htmlFor = 'nowhere';
      place.append(label);
    });
    const found = (await inaccessible(page)).join('\n');
    for (const pattern of [/wrong has no name/, /level 4 follows/, /task-summarize is there twice/, /points at nowhere/])
      assert.match(found, pattern);
  }));
