// The demo page as its visitor meets it, on the default model: loading, chatting, stopping, by keyboard alone, on a phone, with
// and without isolation, and what goes wrong. Every page is watched: no console error, no request to another origin, no task
// of its main thread over 50 ms. Tasks are measured by the processor time that Chromium's trace gives for them: by the clock
// a task also lasts while other programs have the processor.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { launch, visitWatched } from './browser.mjs';
import { withString } from './gguf.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const MODELS = process.env.KINGLET_MODELS ?? folder('.cache/models');
const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';

let browser;
let site;
let plainSite;

before(async () => {
  const mounts = { '/': folder('www/demo/dist'), '/models': MODELS };
  site = await serve({ mounts, port: 0 });
  plainSite = await serve({ mounts, port: 0, isolation: false });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
  await plainSite?.close();
});

/** `expected`: console errors that belong. */
const visiting = ({ at = site, ...options }, visit) => visitWatched(browser, at.url, visit, options);

const ready = (page) => page.waitForSelector('body[data-state=ready]', { timeout: 120_000 });
const answered = (page, n = 1) =>
  page.waitForFunction((n) => document.querySelectorAll('.answer:not([aria-busy]) .figures').length >= n, n, {
    timeout: 120_000,
  });
const answerText = (page) => page.locator('.answer .answer-text').last().innerText();

async function limitAnswers(page, tokens) {
  await page.fill('#sampling-max_tokens', String(tokens));
  await page.fill('#sampling-temperature', '0');
}

async function ask(page, text) {
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
}

test('loads the default model with progress and says what runs where', () =>
  visiting({}, async (page) => {
    const seen = await page.evaluateHandle(() => {
      const texts = new Set();
      const target = document.getElementById('progress-text');
      new MutationObserver(() => texts.add(target.textContent)).observe(target, {
        childList: true,
        characterData: true,
        subtree: true,
      });
      return texts;
    });
    await page.click('#load-default');
    await ready(page);
    const texts = await seen.evaluate((set) => [...set]);
    assert.ok(
      texts.some((text) => /MB of 98\.\d MB · \d+ % · .*\/s/.test(text)),
      `progress said: ${texts.join(' | ')}`,
    );
    assert.match(await page.innerText('#reason'), /\w+/);
    const facts = await page.innerText('#facts');
    assert.match(facts, /Threads/);
    assert.match(facts, /Isolated page\s+yes/);
    assert.match(facts, /4,096 tokens/);
    assert.match(facts, /Q4_1/);
  }));

test('streams an answer, counts it, copies it, makes another, and starts afresh', () =>
  visiting({}, async (page) => {
    await page.click('#load-default');
    await ready(page);
    await limitAnswers(page, 24);
    await ask(page, 'What is the capital of France, and what is it known for?'); // by far the likeliest answer is Paris
    await answered(page);
    assert.match(await answerText(page), /Paris/);
    assert.match(await page.innerText('.answer .figures'), /\d+ tokens · [\d.]+ tok\/s · first after/);
    assert.match(await page.innerText('#context-text'), /^\d+ of 4,096 tokens$/);

    await page.click('.answer button:has-text("Copy")');
    await page.waitForSelector('button:has-text("Copied")');
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /Paris/);

    const first = await answerText(page);
    await page.click('.regenerate');
    await answered(page);
    assert.equal(await page.locator('.answer').count(), 1);
    assert.equal(await answerText(page), first, 'greedy: the same answer again');

    await ask(page, 'And of Italy?');
    await answered(page, 2);
    await page.click('#new-chat');
    assert.equal(await page.locator('#transcript > li').count(), 0);
    assert.match(await page.innerText('#context-text'), /^0 of/);
  }));

test('a stopped answer stays, and the next one works', () =>
  visiting({}, async (page) => {
    await page.click('#load-default');
    await ready(page);
    await ask(page, 'Tell me a very long story about a bird that counts to ten thousand.');
    await page.waitForFunction(() => document.querySelector('.answer-text')?.textContent.length > 20);
    const stoppedMs = await page.evaluate(async () => {
      const started = performance.now();
      document.getElementById('stop').click();
      while (document.body.hasAttribute('data-busy')) await new Promise((done) => setTimeout(done, 5));
      return performance.now() - started;
    });
    assert.ok(stoppedMs < 1000, `stopping took ${stoppedMs} ms`);
    assert.match(await page.innerText('.answer .figures'), /stopped/);
    await limitAnswers(page, 8);
    await ask(page, 'Hello');
    await answered(page, 2);
    assert.notEqual(await answerText(page), '');
  }));

test('by keyboard alone: load, write two lines, send, stop with Escape', () =>
  visiting({}, async (page) => {
    const focusOn = async (selector) => {
      for (let i = 0; i < 40; i++) {
        if (await page.evaluate((s) => document.activeElement?.matches(s), selector)) return;
        await page.keyboard.press('Tab');
      }
      assert.fail(`Tab never reaches ${selector}`);
    };
    await focusOn('#load-default');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, 'solid', 'the focus is visible');
    await page.keyboard.press('Enter');
    await ready(page);
    await page.waitForFunction(() => document.activeElement?.id === 'message');
    await page.keyboard.type('Tell me a long story.');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('With a fox.');
    await page.keyboard.press('Enter');
    assert.equal(await page.innerText('.said'), 'Tell me a long story.\nWith a fox.');
    await page.waitForFunction(() => document.querySelector('.answer-text')?.textContent.length > 0);
    await page.keyboard.press('Escape');
    await answered(page);
    assert.match(await page.innerText('.answer .figures'), /stopped/);
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'message', 'the focus is where it was');
    assert.notEqual(await page.innerText('#announce'), '', 'a screen reader hears the answer');
    await focusOn('#sampling-temperature');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.innerText('#sampling output >> nth=0'), '0.85');
  }));

test('the first message loads the model; the page fits a phone', () =>
  visiting({ viewport: { width: 360, height: 740 }, hasTouch: true }, async (page) => {
    await page.evaluate(() => (document.getElementById('sampling-max_tokens').value = '8'));
    await page.fill('#message', 'Say hello.');
    await page.click('#send');
    await ready(page);
    await answered(page);
    await page.click('#panel-toggle');
    await page.waitForSelector('#facts:visible');
    await page.click('#panel-close');
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `the page is ${wide} px wider than the phone`);
    await page.click('#new-chat');
  }));

test('without isolation headers it runs on one thread and says why', () =>
  visiting({ at: plainSite }, async (page) => {
    assert.match(await page.innerText('#machine'), /not cross-origin isolated/);
    await page.click('#load-default');
    await ready(page);
    assert.match(await page.innerText('#facts'), /Threads\s+1\n/);
    assert.match(await page.innerText('#reason'), /isolat/i);
    await limitAnswers(page, 8);
    await ask(page, 'Hello');
    await answered(page);
    assert.notEqual(await answerText(page), '');
  }));

test('loading can be cancelled, and begun again', () =>
  visiting({}, async (page) => {
    await page.route('**/*.gguf', async (route) => {
      await new Promise((done) => setTimeout(done, 1500));
      await route.continue().catch(() => undefined);
    });
    await page.click('#load-default');
    await page.click('#cancel-load');
    await page.waitForSelector('body[data-state=empty]');
    assert.equal(await page.isVisible('#load-error'), false, 'cancelling is no error');
    await page.unroute('**/*.gguf');
    await page.click('#load-default');
    await ready(page);
  }));

test('what cannot be loaded is explained, with its code, and the page goes on', () =>
  visiting({ expected: [/404/] }, async (page) => {
    await page.click('#other-models summary');
    await page.fill('#model-url', `${site.url}/models/none.gguf`);
    await page.press('#model-url', 'Enter');
    await page.waitForSelector('#load-error:visible');
    assert.match(await page.innerText('#load-error'), /could not be fetched.*E_NETWORK/s);
    await page.setInputFiles('#model-file', {
      name: 'page.gguf',
      mimeType: '',
      buffer: Buffer.from('<!doctype html><p>not a model'),
    });
    await page.waitForFunction(() => /E_FILE_FORMAT/.test(document.getElementById('load-error').innerText));
    await page.click('#load-default');
    await ready(page);
    assert.equal(await page.isVisible('#load-error'), false);
  }));

test('what a model writes is text: no element, no request comes of it', () =>
  visiting({}, async (page) => {
    await page.click('#load-default');
    await ready(page);
    await limitAnswers(page, 8);
    const hostile = '<img src=x onerror=alert(1)><script>alert(1)</script>';
    await ask(page, hostile);
    await answered(page);
    assert.equal(await page.innerText('.said'), hostile);
    assert.equal(await page.locator('#transcript :is(img, script, iframe, style)').count(), 0);
  }));

test('another model takes the place of the first: from an address, from a file, dropped', () =>
  visiting({}, async (page) => {
    const loaded = (name) => page.waitForFunction((n) => document.getElementById('loaded-name').textContent.startsWith(n), name);
    await page.click('#load-default');
    await loaded('SmolLM2 135M');
    await page.click('#change-model');
    await page.waitForSelector('body[data-state=empty]');
    await page.fill('#model-url', `${site.url}/models/${MODEL}?again`);
    await page.press('#model-url', 'Enter');
    await loaded(MODEL);
    await page.click('#change-model');
    await page.waitForSelector('body[data-state=empty]');
    await page.setInputFiles('#model-file', `${MODELS}/${MODEL}`);
    await loaded(MODEL);
    await page.evaluate(drop, `models/${MODEL}`);
    await loaded('dropped.gguf');
    await limitAnswers(page, 8);
    await ask(page, 'Hello');
    await answered(page);
    assert.notEqual(await answerText(page), '');
  }));

/** In the page: drops the file at this address on it. */
async function drop(url) {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([await (await fetch(url)).blob()], 'dropped.gguf'));
  document.dispatchEvent(new DragEvent('dragover', { dataTransfer, cancelable: true }));
  if (document.getElementById('drop-hint').hidden) throw new Error('nothing says that a file may be dropped');
  document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
}

test('the policy of the page is no wider than it says', async () => {
  const response = await fetch(site.url);
  const policy = response.headers.get('content-security-policy');
  assert.match(policy, /script-src 'self' 'wasm-unsafe-eval';/);
  assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')|\*(?!;|$|:| )/);
  assert.equal(response.headers.get('cross-origin-opener-policy'), 'same-origin');
  assert.equal((await fetch(plainSite.url)).headers.get('cross-origin-opener-policy'), null);
});

test('a note about a file whose chat template is not known, or that has none; none about the default model', async () => {
  const models = mkdtempSync(path.join(tmpdir(), 'kinglet-'));
  const tiny = readFileSync(folder('tests/golden/tiny_full.gguf'));
  const hiding = "{{ 'obey' }}{% for message in messages %}{{ message.content }}{% endfor %}";
  writeFileSync(path.join(models, 'hiding.gguf'), withString(tiny, 'tokenizer.chat_template', hiding));
  writeFileSync(path.join(models, 'none.gguf'), withString(tiny, 'tokenizer.chat_template', undefined));
  const at = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': models }, port: 0 });
  try {
    await visiting({ at, viewport: { width: 390, height: 800 }, colorScheme: 'dark' }, async (page) => {
      await page.click('#other-models summary');
      for (const [name, summary, more] of [
        ['hiding.gguf', /not one that is known: it may tell the model things that you do not see/, /SHA-256 [0-9a-f]{64}/],
        ['none.gguf', /The file has no chat template/, /ChatML/],
      ]) {
        await page.fill('#model-url', `${at.url}/models/${name}`);
        await page.press('#model-url', 'Enter');
        await ready(page);
        assert.match(await page.innerText('#notes[role=status] summary'), summary);
        assert.equal(await page.isVisible('#notes summary ~ p'), false);
        await page.focus('#notes summary');
        await page.keyboard.press('Enter');
        assert.match(await page.innerText('#notes details'), more);
        const { x, width } = await page.locator('#notes details').boundingBox();
        assert.ok(x >= 0 && x + width <= 390, 'the note is wider than a phone');
        await page.click('#panel-toggle');
        await page.click('#change-model');
      }
    });
  } finally {
    await at.close();
    rmSync(models, { recursive: true });
  }
  await visiting({}, async (page) => {
    await page.click('#load-default');
    await ready(page);
    assert.equal(await page.innerText('#notes'), '');
    assert.match(await page.textContent('#facts'), /Chat templatethe model’s own/);
  });
});

test('the watchers notice: a long task, a console error, a foreign request', async () => {
  const wrongs = [
    () => {
      let sum = 0;
      for (let i = 0; i < 4e8; i++) sum += Math.sqrt(i);
      return sum;
    },
    () => console.error('wrong'),
    () => fetch('https://other.invalid/').catch(() => undefined),
  ];
  for (const wrong of wrongs) {
    const visit = async (page) => {
      await page
        .evaluate((source) => new Promise((done) => setTimeout(() => done(eval(`(${source})()`)))), String(wrong))
        .catch(() => undefined);
      await page.waitForTimeout(200);
    };
    await assert.rejects(visiting({ bypassCSP: true }, visit), assert.AssertionError, String(wrong));
  }
});

test('a message that is too long is refused in words, and the next one is answered', () =>
  visiting({}, async (page) => {
    await page.click('#load-default');
    await ready(page);
    await limitAnswers(page, 8);
    await ask(page, 'one two three four '.repeat(1500));
    await page.waitForSelector('.answer .error');
    assert.match(await page.innerText('.answer .error'), /longer than the model can hold.*E_CONTEXT_OVERFLOW/s);
    assert.match(await page.innerText('#announce'), /longer than/, 'a screen reader hears it');
    await ask(page, 'Hello');
    await answered(page, 2);
    assert.notEqual(await answerText(page), '');
  }));

test('the system prompt and the sampling controls reach the model', () =>
  visiting({}, async (page) => {
    await page.click('#load-default');
    await ready(page);
    await page.fill('#sampling-max_tokens', '12');
    await page.fill('#sampling-temperature', '1.5');
    await page.fill('#sampling-seed', '7');
    const tokens = async () => Number(/^([\d,]+) of/.exec(await page.innerText('#context-text'))[1].replace(',', ''));
    const once = async () => {
      await page.click('#new-chat');
      await ask(page, 'Invent a word.');
      await answered(page);
      return { text: await answerText(page), tokens: await tokens() };
    };
    const first = await once();
    assert.deepEqual(await once(), first, 'the same seed gives the same answer');
    await page.fill('#sampling-seed', '8');
    assert.notEqual((await once()).text, first.text, 'another seed gives another');
    await page.fill('#system', 'small bird '.repeat(100));
    assert.ok((await once()).tokens > first.tokens + 150, 'the system prompt is in the context');
    await page.click('#reset-sampling');
    assert.deepEqual([await page.inputValue('#sampling-temperature'), await page.inputValue('#sampling-seed')], ['0.8', '']);
  }));
