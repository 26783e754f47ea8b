// Conversations in Chromium on the CPU, with the default model: forks share what they have in common, a snapshot is taken up on another page
// and goes on as it would have here, other bytes are refused, and a conversation that is too long goes on without its oldest turns.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from './browser.mjs';
import { openKingletSite } from './kinglet_page.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const MODELS = process.env.KINGLET_MODELS ?? folder('.cache/models');
const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';

let site;
let browser;
before(async () => {
  assert.ok(existsSync(join(MODELS, MODEL)), `${MODEL} is not there: ./build.sh test fetches it`);
  site = await openKingletSite(MODELS, {
    mounts: {
      '/kinglet/': folder('www/pkg/dist/'),
      '/models/': MODELS,
      '/small/': folder('tests/models/'),
    },
  });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
});

/** Opens a page and runs `work` in it, with `open()` for an engine. */
async function onPage(work, argument) {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(`${site.url}/`);
    await page.waitForFunction('globalThis.Kinglet');
    await page.evaluate((model) => {
      const given = { device: 'cpu', contextLength: 512 };
      globalThis.open = (options) => Kinglet.load(`/models/${model}`, { ...given, ...options });
      globalThis.begin = (engine, more) =>
        engine.conversation({
          messages: [{ role: 'system', content: 'You are a friendly teacher.' }],
          temperature: 0,
          max_tokens: 20,
          ...more,
        });
      const letters = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
      globalThis.textOf = (bytes) => btoa(letters(bytes));
      globalThis.bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      globalThis.codeOf = (work) =>
        work.then(
          () => 'nothing',
          (error) => error.code ?? error.name,
        );
      globalThis.shown = ({ choices: [{ message, token_ids }], usage, timings }) => ({
        text: message.content,
        token_ids,
        cached: usage.prompt_tokens_details.cached_tokens,
        prompt_tokens: usage.prompt_tokens,
        total: usage.total_tokens,
        computed: timings.prompt_n,
      });
    }, MODEL);
    return await page.evaluate(work, argument);
  } finally {
    await context.close();
  }
}

/** Only the tokens that are new were computed, and the newest of the answer before. */
function assertGoesOn(answer, before) {
  assert.equal(answer.cached, before.total - 1);
  assert.equal(answer.computed, answer.prompt_tokens - answer.cached);
}

test('two branches take turns, and nothing that they share is computed twice', async () => {
  const got = await onPage(async () => {
    const engine = await open();
    const chat = begin(engine);
    const first = shown(await chat.send('Name three birds.'));
    const fork = chat.fork();
    const answers = [];
    for (const [one, said] of [
      [chat, 'Which one is the smallest?'],
      [fork, 'Now name three trees.'],
      [chat, 'Why?'],
      [fork, 'Why?'],
    ])
      answers.push(shown(await one.send(said)));
    const [left, right, leftAgain, rightAgain] = answers;
    // The same without a cache.
    const messages = chat.messages.slice(0, -1);
    const afresh = await engine.chat.completions.create({
      messages,
      temperature: 0,
      max_tokens: 20,
      cache_prompt: false,
    });
    const said = [chat.messages, fork.messages].map((all) => all.map(({ role }) => role[0]).join(''));
    await engine.close();
    return { first, left, right, leftAgain, rightAgain, afresh: shown(afresh), said };
  });
  assert.deepEqual(got.said, ['suauaua', 'suauaua']);
  assertGoesOn(got.left, got.first);
  // Its question begins as the other one does.
  assert.ok(got.right.cached >= got.first.total - 1);
  assert.equal(got.right.computed, got.right.prompt_tokens - got.right.cached);
  assertGoesOn(got.leftAgain, got.left);
  assertGoesOn(got.rightAgain, got.right);
  assert.notEqual(got.left.text, got.right.text);
  assert.equal(got.afresh.cached, 0);
  assert.deepEqual(got.afresh.token_ids, got.leftAgain.token_ids);
});

test('a snapshot is taken up on another page, and goes on as it would have here', async () => {
  const here = await onPage(async () => {
    const engine = await open();
    const chat = begin(engine);
    await chat.send('Name three birds.');
    const second = shown(await chat.send('Which one is the smallest?'));
    const bytes = await chat.snapshot();
    const next = shown(await chat.send('Why?'));
    const empty = await begin(engine).snapshot();
    const aborted = await codeOf(chat.snapshot({ signal: AbortSignal.abort() }));
    await engine.close();
    return { second, next, bytes: textOf(bytes), empty: textOf(empty), aborted };
  });
  assertGoesOn(here.next, here.second);
  assert.equal(here.aborted, 20, 'AbortError, by its old number');
  const there = await onPage(async (taken) => {
    const [bytes, empty] = [bytesOf(taken.bytes), bytesOf(taken.empty)];
    const engine = await open();
    const damaged = bytes.slice();
    damaged[damaged.length >> 1] ^= 1;
    const codes = [];
    for (const wrong of [damaged, new Uint8Array(100), damaged.subarray(0, 30), damaged.subarray(0, -1)])
      codes.push(await codeOf(engine.restore(wrong)));
    const chat = await engine.restore(bytes);
    const roles = chat.messages.map(({ role }) => role[0]).join('');
    const next = shown(await chat.send('Why?'));
    const begun = await engine.restore(empty);
    const first = shown(await begun.send('Name three birds.'));
    await engine.close();
    for (const options of [{ kvType: 'q8_0' }, { contextLength: 32 }]) {
      const other = await open(options);
      codes.push(await codeOf(other.restore(bytes)));
      await other.close();
    }
    const other = await Kinglet.load('/small/stories260K.gguf', { device: 'cpu' });
    codes.push(await codeOf(other.restore(bytes)));
    codes.push(await codeOf(other.completions.create({ prompt: 'Once', max_tokens: 1 })));
    await other.close();
    return { codes, roles, next, first };
  }, here);
  assert.deepEqual(there.codes, [...Array(5).fill('E_INTEGRITY'), 'E_CONTEXT_OVERFLOW', 'E_INTEGRITY', 'nothing']);
  assert.equal(there.roles, 'suaua');
  assert.deepEqual(there.next, here.next);
  assert.notEqual(there.first.text, '');
});

test('what does not fit goes on without the oldest turns, where the caller says so', async () => {
  const got = await onPage(async () => {
    const engine = await open({ contextLength: 256 });
    const long = 'The kinglet is a very small bird that lives in conifer forests. '.repeat(4);
    const chat = begin(engine, { truncation: 'auto' });
    const left = [];
    for (let i = 0; i < 5; i++) left.push((await chat.send(`${i}: ${long}`)).truncated_messages);
    const told = [];
    for await (const { truncated_messages } of await chat.stream('And?')) told.push(truncated_messages);
    const disabled = await codeOf(
      engine.chat.completions.create({ model: 'any', messages: chat.messages, max_tokens: 1 }),
    );
    const alone = await codeOf(chat.send(long.repeat(8)));
    const n_messages = chat.messages.length;
    // The newest turn is in the cache.
    const restored = await engine.restore(await chat.snapshot());
    const again = shown(await restored.send('Go on.'));
    await engine.close();
    return { left, told, disabled, alone, n_messages, again };
  });
  assert.equal(got.left[0], 0);
  assert.ok(got.left.at(-1) >= 4 && got.left.every((n) => n % 2 === 0), `${got.left}`);
  assert.ok(got.told[0] >= got.left.at(-1) && got.told.slice(1).every((n) => n === undefined), `${got.told}`);
  assert.deepEqual([got.disabled, got.alone], ['E_CONTEXT_OVERFLOW', 'E_CONTEXT_OVERFLOW']);
  assert.equal(got.n_messages, 1 + 2 * 6, 'nothing is forgotten');
  assert.ok(got.again.cached > 0);
});
