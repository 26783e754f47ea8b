// engine.score through the public API in Chromium on the CPU: the same bits, whatever is scored with a text, and nearly those of a prompt.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openKingletPage } from './kinglet_page.mjs';

/** What activations of 8 bits may change of a logarithm of a probability. */
const ROUNDING = 0.2;

const GOLDEN = fileURLToPath(new URL('../golden/', import.meta.url));

let opened;
before(async () => {
  opened = await openKingletPage(GOLDEN);
});
after(() => opened?.close());

/** Loads a model, runs `work(engine, data)` in the page, and closes it. */
const onModel = (name, data, work) =>
  opened.page.evaluate(
    async ([url, data, work]) => {
      const engine = await Kinglet.load(url, { device: 'cpu' });
      try {
        return await new Function(`return (${work})`)()(engine, data);
      } finally {
        await engine.close();
      }
    },
    [`/models/${name}.gguf`, data, work.toString()],
  );

const contexts = Array.from({ length: 12 }, (_, i) => `Question ${i}: what is ${'very '.repeat(i)}small?\nAnswer:`);
const endings = [' a bird', ' a mouse that sings', ' no', ' a bird'];

test('scores of many items are those of each scored alone, and nearly those of prompts, which round more', async () => {
  const { items, alone, prompts, progress } = await onModel(
    'tiny_grouped',
    { contexts, endings },
    async (engine, data) => {
      const progress = [];
      const items = await engine.score(
        data.contexts.map((context) => data.endings.map((continuation) => ({ context, continuation }))),
        { onProgress: ({ done, total }) => progress.push([done, total]) },
      );
      const [alone, prompts] = [[], []];
      for (const context of data.contexts) {
        for (const ending of data.endings) {
          const prompt = context + ending;
          const { choices } = await engine.completions.create({ prompt, echo: true, logprobs: 0, max_tokens: 0 });
          const n = (await engine.tokenize(context)).length;
          prompts.push(choices[0].logprobs.token_logprobs.slice(n));
          alone.push(...(await engine.score([[{ context, continuation: ending }]])).flat());
        }
      }
      return { items, alone, prompts, progress };
    },
  );
  assert.deepEqual(items.flat(), alone);
  for (const [i, { token_logprobs }] of alone.entries()) {
    assert.equal(token_logprobs.length, prompts[i].length);
    const worst = Math.max(...token_logprobs.map((logprob, j) => Math.abs(logprob - prompts[i][j])));
    assert.ok(worst <= ROUNDING, `${worst}`);
  }
  for (const item of items) assert.deepEqual(item[3], item[0]);
  assert.deepEqual(
    progress,
    contexts.map((_, i) => [i + 1, contexts.length]),
  );
});

test('what greedy decoding writes is greedy; an abort ends scoring at once, and the next call works', async () => {
  const found = await onModel('tiny_full', { contexts, endings }, async (engine, data) => {
    const [context] = data.contexts;
    const params = { prompt: context, temperature: 0, max_tokens: 8, ignore_eos: true };
    const { token_ids } = (await engine.completions.create(params)).choices[0];
    const greedy = async () =>
      (
        await engine.score([[token_ids, [...token_ids.slice(1), 5]].map((continuation) => ({ context, continuation }))])
      )[0];
    const before = await greedy();
    const items = Array.from({ length: 4096 }, () => [{ context, continuation: data.endings[1] }]);
    const controller = new AbortController();
    let startMs;
    const reason = await engine
      .score(items, {
        signal: controller.signal,
        onItem: () => {
          startMs ??= performance.now();
          controller.abort('enough');
        },
      })
      .catch((thrown) => thrown);
    const after = await greedy();
    return { before, after, reason, ms: performance.now() - startMs };
  });
  assert.deepEqual(
    found.before.map(({ is_greedy }) => is_greedy),
    [true, false],
  );
  assert.deepEqual(found.after, found.before);
  assert.equal(found.reason, 'enough');
  assert.ok(found.ms < 1000, `${found.ms} ms until the next call was done`);
});

test('an encoder-decoder scores answers; typed errors', async () => {
  const found = await onModel('tiny_t5_flan', {}, async (engine) => {
    const items = [['a', 'bc', 'a'].map((continuation) => ({ context: 'the house', continuation }))];
    const scores = await engine.score(items);
    const wrong = [
      { context: 'x', continuation: 'y' },
      { context: 'z', continuation: 'y' },
    ];
    const error = await engine.score([wrong]).catch((thrown) => thrown);
    return { scores, code: error.code, message: error.message };
  });
  const [[a, bc, again]] = found.scores;
  assert.deepEqual(again, a);
  assert.notEqual(bc.logprob, a.logprob);
  assert.ok(
    [a, bc].every(({ logprob, token_ids }) => logprob < 0 && token_ids.at(-1) === 1),
    'the end token is scored',
  );
  assert.equal(found.code, 'E_UNSUPPORTED_TASK');
  const long = await onModel('tiny_full', {}, (engine) =>
    engine.score([[{ context: 'a '.repeat(5000), continuation: 'b' }]]).catch(({ code }) => code),
  );
  assert.equal(long, 'E_CONTEXT_OVERFLOW');
});
