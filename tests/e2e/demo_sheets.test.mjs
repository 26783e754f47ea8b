// What the demo page tells beside the chat: presets of sampling, live figures, the sheet for bug reports, and what leaves the machine.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ask, limit, loadSmall, openDemo, quiet } from './demo_page.mjs';

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

const value = (page, name) => page.inputValue(`#sampling-${name}`);
const preset = (page) => page.evaluate(() => document.getElementById('sampling-preset').selectedOptions[0].textContent);
/** Rows of figures by their names. */
const figures = (page) =>
  page.evaluate(() =>
    Object.fromEntries(
      [...document.querySelectorAll('#figures dt')].map((dt) => [dt.textContent, dt.nextElementSibling.textContent]),
    ),
  );

test('a preset sets what it names and leaves the rest; a change makes it one’s own', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    await page.fill('#sampling-seed', '7');
    await page.selectOption('#sampling-preset', 'Lively');
    assert.deepEqual([await value(page, 'temperature'), await value(page, 'top_k')], ['1.2', '100']);
    assert.deepEqual([await value(page, 'seed'), await value(page, 'max_tokens')], ['7', '12']);
    assert.match(await page.innerText('#sampling-preset-hint'), /stories/);
    await page.fill('#sampling-temperature', '1.25');
    assert.equal(await preset(page), 'Your own');
    await page.fill('#sampling-temperature', '1.2');
    assert.equal(await preset(page), 'Lively');
    await page.click('#reset-sampling');
    assert.equal(await preset(page), 'Balanced');
    assert.equal(await value(page, 'seed'), '');

    await limit(page, 20);
    await page.selectOption('#sampling-preset', 'Exact');
    const first = await ask(page, 'Once upon a time');
    await page.hover('.answer');
    await page.click('.regenerate');
    await page.waitForSelector('.answer .versions:not([hidden])');
    await quiet(page);
    assert.equal(await page.locator('.answer .answer-text').innerText(), first, 'the model was told');
  }));

test('figures of what is written, read, held and taken', () =>
  demo.visit(async (page) => {
    await loadSmall(page);
    assert.equal((await figures(page))['Writing'], '–');
    await ask(page, 'Once upon a time');
    const after = await figures(page);
    assert.match(after['Writing'], /^[\d.]+ tok\/s$/);
    assert.match(after['First token'], /^after \d+ ms$/);
    assert.match(after['Reading'], /^\d+ tokens at \d+ tok\/s/);
    assert.match(after['In the context'], /^\d+ of 512 tokens$/);
    assert.match(after['Memory of the model'], /^[\d.]+ [kM]B$/);
    await ask(page, 'And then');
    assert.match((await figures(page))['Reading'], /, \d+ known from before$/);
    await page.click('#new-chat');
    assert.equal((await figures(page))['In the context'], '0 of 512 tokens');
  }));

test('diagnostics before anything is loaded, after a failure, and with a model; nothing of the conversation is in it', () =>
  demo.visit(async (page) => {
    const read = async (place) => {
      await page.click(`${place} [data-sheet=diagnostics]`);
      await page.waitForFunction(() => /Last answer/.test(document.getElementById('diagnostics-text').textContent));
      return page.innerText('#diagnostics-text');
    };
    const nothing = await read('#welcome');
    assert.match(nothing, /User agent: .*Chrome/);
    assert.match(nothing, /Cross-origin isolated: yes/);
    assert.match(nothing, /Conversations are kept: yes/);
    assert.match(nothing, /Loaded: none/);
    await page.keyboard.press('Escape');
    assert.equal(await page.isVisible('#diagnostics'), false);

    const buffer = Buffer.from('not a model');
    await page.setInputFiles('#model-file', { name: 'bad.gguf', mimeType: '', buffer });
    await page.waitForSelector('#load-error:visible');
    assert.match(await read('#welcome'), /Loading\n.*Asked for: auto\n(.*\n)*.*Error: E_FILE_FORMAT: /);
    await page.click('#diagnostics .sheet-close');

    await loadSmall(page);
    await ask(page, 'A secret question');
    const whole = await read('#panel');
    assert.match(whole, /Architecture: llama/);
    assert.match(whole, /Runs on: CPU/);
    assert.match(whole, /Why: .*CPU/i);
    assert.match(whole, /Phases: start after \d+ ms, .*ready after \d+ ms/);
    assert.match(whole, /Self-check of the GPU: not run/);
    assert.match(whole, /Figures: 12 tokens/);
    assert.doesNotMatch(whole, /secret|Error/);
    await page.click('#diagnostics button:has-text("Copy")');
    await page.waitForSelector('#diagnostics button:has-text("Copied")');
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `\`\`\`text\n${whole}\n\`\`\``);
  }, { expected: [/No available adapters/] }));

test('what leaves the machine is said, and is true: from then on nothing is fetched', () =>
  demo.visit(async (page) => {
    await page.click('#welcome [data-sheet=privacy]');
    assert.match(await page.innerText('#privacy'), /What leaves this machine: nothing/);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'privacy-title', 'it is read from the top');
    await page.mouse.click(5, 5);
    assert.equal(await page.isVisible('#privacy'), false, 'a click beside it closes it');
    const rest = page.waitForResponse(/_later\.wasm$/); // of the engine, a second after the model is ready
    await loadSmall(page);
    await (await rest).finished();
    await page.context().setOffline(true);
    const requests = [];
    // Chromium asks for the page's icon again when the address of the page changes.
    page.on('request', (request) => request.url().endsWith('/mark.svg') || requests.push(request.url()));
    await ask(page, 'Hello ![x](https://other.invalid/pixel.png)');
    await ask(page, 'And again');
    await page.click('.probabilities >> nth=-1');
    await page.waitForSelector('.tokens');
    assert.deepEqual(requests, []);
  }, { expected: [/ERR_INTERNET_DISCONNECTED/] }));
