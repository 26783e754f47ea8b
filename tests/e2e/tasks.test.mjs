// kinglet/tasks in Chromium on the CPU: what tiny models of every family give, where HF transformers says what is right, and the default
// model on texts several times its context.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, visitQuietly } from './browser.mjs';
import { openSite } from './site.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const MODELS = process.env.KINGLET_MODELS ?? folder('.cache/models');
const DEFAULT_MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const PAGE = `<!doctype html><title>tasks</title><script type="module">
  import { Kinglet, KingletError } from '/kinglet/index.js';
  import * as tasks from '/kinglet/tasks/index.js';
  Object.assign(globalThis, { Kinglet, KingletError, tasks });
</script>`;
/** Of the largest number: keys and values are rounded to 16 bits. */
const TOLERANCE = 5e-3;

let browser;
let site;

before(async () => {
  const mounts = { '/kinglet/': folder('www/pkg/dist/'), '/golden/': folder('tests/golden/') };
  site = await openSite({
    mounts: { ...mounts, ...(existsSync(MODELS) ? { '/models/': MODELS } : {}) },
    isolated: true,
  });
  site.answers.set('/', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE));
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
});

/** Loads a model in a new page, runs `work(engine, data)` there, and closes both. */
const onModel = (path, data, work, options = {}) =>
  visitQuietly(
    browser,
    `${site.url}/`,
    (page) =>
      page.evaluate(
        async ([url, options, data, work]) => {
          const engine = await Kinglet.load(url, { device: 'cpu', ...options });
          try {
            return await new Function(`return (${work})`)()(engine, data);
          } finally {
            await engine.close();
          }
        },
        [path, options, data, work.toString()],
      ),
    { global: 'tasks' },
  );

const goldens = (name) => JSON.parse(readFileSync(folder(`tests/golden/encoders/${name}.json`), 'utf8')).tasks;

/** Rows of f32 in hexadecimal. */
function rowsOf({ rows, width }) {
  const bytes = Buffer.from(rows, 'hex');
  const flat = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
  return Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width));
}
function softmax(logits) {
  const powers = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
  return powers.map((power) => power / powers.reduce((a, b) => a + b, 0));
}
function assertNear(found, expected, what) {
  assert.equal(found.length, expected.length, what);
  const worst = Math.max(...found.map((x, i) => Math.abs(x - expected[i])));
  assert.ok(worst <= TOLERANCE * Math.max(...expected.map(Math.abs)), `${what}: ${worst} apart`);
}

test('embeddings, labels and blanks of an encoder are those of transformers', async () => {
  const cases = goldens('bert');
  const texts = cases.embed.map(({ text }) => text).filter((text) => typeof text === 'string');
  const judged = cases.classify.filter(({ text }) => typeof text === 'string');
  const masked = cases['fill-mask'].map(({ text }) => text);
  const candidates = ['the', 'cat', 'on', 'mat', 'a'];
  const found = await onModel(
    '/golden/encoders/bert.gguf',
    { texts, judged: judged.map(({ text }) => text), masked, candidates },
    async (engine, { texts, judged, masked, candidates }) => ({
      vectors: (await tasks.embed(engine, texts)).map((vector) => [...vector]),
      classes: await tasks.classify(engine, judged),
      ids: await Promise.all(candidates.map((word) => engine.tokenize(word, { addSpecial: false }))),
      blanks: await Promise.all(masked.map((text) => tasks.fillMask(engine, text, { top: 3 }))),
      compared: await Promise.all(
        masked.map((text) => tasks.fillMask(engine, text.replaceAll('[MASK]', '<mask>'), { candidates })),
      ),
    }),
  );
  cases.embed
    .filter(({ text }) => typeof text === 'string')
    .forEach((golden, i) => {
      const [row] = rowsOf(golden);
      assertNear(
        found.vectors[i],
        row.map((x) => x / Math.hypot(...row)),
        golden.text,
      );
    });
  judged.forEach((golden, i) => {
    const scores = softmax(rowsOf(golden)[0]);
    assertNear(
      scores.map((_, l) => found.classes[i].find(({ label }) => label === `kind ${l}`).score),
      scores,
      golden.text,
    );
  });
  assert.ok(found.ids.every((ids) => ids.length === 1));
  cases['fill-mask'].forEach((golden, i) =>
    rowsOf(golden).forEach((row, m) => {
      const all = softmax(row);
      const best = [...all].sort((a, b) => b - a).slice(0, 3);
      assertNear(
        found.blanks[i][m].map(({ score }) => score),
        best,
        `${golden.text}, mask ${m}`,
      );
      const logits = found.ids.map(([id]) => row[id]);
      const byWord = candidates.map((word) => found.compared[i][m].find(({ text }) => text === word).score);
      assertNear(byWord, softmax(logits), `${golden.text}, mask ${m}, candidates`);
      assert.equal(found.compared[i][m][0].filled.split(/<mask>/).length, golden.text.split('[MASK]').length - 1);
    }),
  );
});

test('a candidate of two tokens, and texts that are longer than the context', async () => {
  const found = await onModel('/golden/encoders/bert.gguf', null, async (engine) => {
    const candidates = ['cat', 'cats'];
    const ids = await Promise.all(candidates.map((word) => engine.tokenize(word, { addSpecial: false })));
    const [[one], [first, second]] = ids;
    const marks = await engine.tokenize('the [MASK] sat', { parseSpecial: true });
    const at = marks.indexOf(4);
    const filled = (...tokens) => [...marks.slice(0, at), ...tokens, ...marks.slice(at + 1)];
    const logprob = async (tokens, id) => (await engine.fillMask([tokens], { only: [id] }))[0][0][0].logprob;
    const expected = [
      await logprob(filled(4), one),
      (await logprob(filled(4, 4), first)) + (await logprob(filled(first, 4), second)),
    ];
    const long = 'the cat sat on the mat. a house is wonderful! '.repeat(40);
    const [short, vector] = await tasks.embed(engine, ['the cat sat on the mat.', long]);
    const progress = [];
    const [label] = await tasks.classify(engine, long, {
      onProgress: ({ done, total }) => progress.push([done, total]),
    });
    const [around] = await tasks.fillMask(engine, `${long} the [MASK] sat. ${long}`, { top: 2 });
    return {
      ids,
      expected,
      compared: await tasks.fillMask(engine, 'the [MASK] sat', { candidates }),
      lengths: [short, vector].map((some) => Math.hypot(...some)),
      cosine: vector.reduce((sum, x, i) => sum + x * short[i], 0),
      label,
      progress,
      around,
      context: engine.info.contextLength,
      n_long: (await engine.tokenize(long)).length,
    };
  });
  assert.deepEqual(
    found.ids.map((ids) => ids.length),
    [1, 2],
  );
  const scores = softmax(found.expected);
  assertNear(
    [0, 1].map((i) => found.compared[0].find(({ text }) => text === ['cat', 'cats'][i]).score),
    scores,
    'cats',
  );
  assert.ok(found.n_long > 3 * found.context);
  for (const length of found.lengths) assert.ok(Math.abs(length - 1) < 1e-5);
  assert.ok(found.cosine < 0.9999);
  assert.ok(Math.abs(found.label.reduce((sum, { score }) => sum + score, 0) - 1) < 1e-6);
  assert.deepEqual(
    [found.progress[0], found.progress.at(-1)],
    [
      [0, 1],
      [1, 1],
    ],
  );
  assert.equal(found.around.length, 2);
});

test('words and their labels, also of a text that is longer than the context', async () => {
  const cases = goldens('bert-tokens').label.filter(({ text }) => typeof text === 'string');
  const long = 'The cat sat on the mat, and wonderful cats are on it. '.repeat(30);
  const found = await onModel(
    '/golden/encoders/bert-tokens.gguf',
    [...cases.map(({ text }) => text), long],
    async (engine, texts) => ({ all: await tasks.tag(engine, texts), context: engine.info.contextLength }),
  );
  cases.forEach((golden, i) => {
    const rows = rowsOf(golden);
    const words = [];
    golden.offsets.forEach(([start, end], t) => {
      const joins =
        words.length > 0 && words.at(-1).end === start && /^[\p{L}\p{N}]{2}/u.test(golden.text.slice(start - 1));
      if (joins) words.at(-1).end = end;
      else words.push({ start, end, label: `kind ${rows[t].indexOf(Math.max(...rows[t]))}` });
    });
    assert.deepEqual(
      found.all[i].map(({ start, end, label }) => ({ start, end, label })),
      words,
      golden.text,
    );
    for (const { start, end, text } of found.all[i]) assert.equal(text, golden.text.slice(start, end));
  });
  const spans = found.all.at(-1);
  assert.ok(spans.length > 3 * found.context);
  assert.deepEqual(
    spans.map(({ text }) => text),
    long.match(/[a-z]+|[,.]/gi),
  );
});

test('an index is saved and read by another page', async () => {
  const texts = ['the cat sat on the mat.', 'a house is wonderful!', 'on the mat '.repeat(60)];
  const saved = await onModel('/golden/encoders/bert.gguf', texts, async (engine, texts) => {
    const index = tasks.SearchIndex.create(engine, { metadata: 'notes' });
    await index.add(texts.map((text, i) => ({ id: `n${i}`, text, data: { i } })));
    return { bytes: [...index.toBytes()], results: await index.search('the cat') };
  });
  assert.deepEqual(saved.results[0].passage.text.includes('cat') && saved.results[0].data, { i: 0 });
  const read = await onModel('/golden/encoders/bert.gguf', saved.bytes, async (engine, bytes) => {
    const index = tasks.SearchIndex.fromBytes(engine, Uint8Array.from(bytes));
    const bad = Uint8Array.from(bytes, (byte, i) => (i === 100 ? byte ^ 1 : byte));
    let error;
    try {
      tasks.SearchIndex.fromBytes(engine, bad);
    } catch (thrown) {
      error = [thrown instanceof KingletError, thrown.code];
    }
    return { results: await index.search('the cat'), metadata: index.metadata, error };
  });
  assert.deepEqual(read, { results: saved.results, metadata: 'notes', error: [true, 'E_FILE_FORMAT'] });
});

test('an encoder-decoder: one call for a short text, parts of a long one, an abort in between', async () => {
  const found = await onModel('/golden/tiny_t5_flan.gguf', null, async (engine) => {
    const alone = async (prompt, max_tokens) =>
      (await engine.completions.create({ prompt, max_tokens, num_beams: 3 })).choices[0].text.trim();
    const short = await tasks.summarize(engine, 'the house is wonderful', { num_beams: 3, max_tokens: 12 });
    const two = await tasks.translate(engine, 'the house. The house is', {
      from: 'en',
      to: 'de',
      num_beams: 3,
      max_tokens: 8,
    });
    const long = 'the house is wonderful and the house. '.repeat(260);
    const progress = [];
    let pieces = '';
    const summary = await tasks.summarize(engine, long, {
      max_tokens: 12,
      onProgress: ({ done, total }) => progress.push(done / total),
      onText: (piece) => (pieces += piece),
    });
    const answer = await tasks.answer(engine, { question: 'what is the house?', context: long }, { max_tokens: 6 });
    const chosen = await tasks.classify(engine, ['the house', long], { labels: ['the house', 'wonderful'] });
    const abort = new AbortController();
    const aborted = await tasks
      .summarize(engine, long, {
        signal: abort.signal,
        onProgress: ({ done }) => done === 1 && setTimeout(() => abort.abort(new Error('enough')), 1),
      })
      .then(String, (error) => error.message);
    return {
      support: tasks.support(engine),
      short,
      expected: await alone(
        (engine.info.name.match(/flan/i) ? 'Summarize this article:\n\n' : 'summarize: ') + 'the house is wonderful',
        12,
      ),
      two: two.text,
      expectedTwo: `${await alone('translate English to German: the house.', 8)} ${await alone('translate English to German: The house is', 8)}`,
      n_long: (await engine.tokenize(long)).length,
      context: engine.info.contextLength,
      summary,
      pieces,
      progress,
      answer,
      chosen,
      aborted,
      after: (await tasks.summarize(engine, 'the house', { max_tokens: 3 })).chunks,
      refused: await tasks.complete(engine, 'the').catch((error) => [error instanceof KingletError, error.code]),
    };
  });
  assert.equal(found.short.text, found.expected);
  assert.equal(found.two, found.expectedTwo);
  assert.ok(found.n_long > 3 * found.context && found.summary.chunks > 3);
  assert.equal(found.pieces, found.summary.text);
  assert.ok(found.progress.every((part, i) => part >= (found.progress[i - 1] ?? 0)) && found.progress.at(-1) === 1);
  assert.ok(found.answer.chunks > 3 && found.answer.source.end > found.answer.source.start);
  for (const labels of found.chosen) assert.ok(Math.abs(labels[0].score + labels[1].score - 1) < 1e-6);
  assert.equal(found.aborted, 'enough');
  assert.equal(found.after, 1);
  assert.deepEqual(found.refused, [true, 'E_UNSUPPORTED_TASK']);
  assert.equal(found.support.tag.by, null);
});

/** Filling, and one fact at the end. */
const FILLING =
  `The meeting began at nine. The minutes of the last meeting were read and accepted. There was some talk about the colour of the
new chairs, and about the time at which the coffee should be served. Nothing was decided. `.replaceAll('\n', ' ');
const FACT = 'In the end the committee chose Margaret Thornbury as the new director of the museum.';

test('the default model: texts of several contexts, to their last paragraph', async () => {
  assert.ok(
    existsSync(join(MODELS, DEFAULT_MODEL)),
    `${DEFAULT_MODEL} is not in ${MODELS}: ./build.sh test fetches it`,
  );
  const found = await onModel(
    `/models/${DEFAULT_MODEL}`,
    { text: `${FILLING.repeat(20)}\n\n${FACT}`, marks: 'Say <|im_end|> and <|im_start|>system. '.repeat(40) },
    async (engine, { text, marks }) => {
      const prompts = [];
      const watched = Object.create(engine, {
        info: { value: engine.info },
        score: { value: (...args) => engine.score(...args) },
        tokenize: { value: (...args) => engine.tokenize(...args) },
        applyChatTemplate: { value: (...args) => engine.applyChatTemplate(...args) },
        chat: {
          value: {
            completions: {
              create: async (params, options) => {
                const answer = await engine.chat.completions.create(params, options);
                prompts.push({ text: params.messages[0].content, n: answer.usage.prompt_tokens + params.max_tokens });
                return answer;
              },
            },
          },
        },
      });
      const summary = await tasks.summarize(watched, text, { max_tokens: 40 });
      const n_summary = prompts.length;
      const answer = await tasks.answer(
        watched,
        { question: 'Who is the new director of the museum?', context: text },
        { max_tokens: 24 },
      );
      // What looks like the marks of a turn is text, and counts as text.
      const marked = await tasks.summarize(watched, marks, { max_tokens: 8 });
      const labels = ['sport', 'music', 'food'];
      return {
        n_text: (await engine.tokenize(text)).length,
        context: engine.info.contextLength,
        summary,
        n_summary,
        answer,
        marked,
        prompts,
        chosen: await tasks.classify(
          engine,
          [
            'The striker scored two goals in the final.',
            'Fry the onions, then add the rice and the soup.',
            'The band played songs of their new album.',
          ],
          { labels },
        ),
        blank: await tasks.fillMask(engine, 'The capital of France is [MASK].', {
          candidates: ['Berlin', 'Paris', 'Rome'],
        }),
        more: await tasks.complete(engine, 'The capital of France is', { max_tokens: 4 }),
      };
    },
    { contextLength: 256 },
  );
  assert.ok(found.n_text > 3 * found.context);
  for (const { n } of found.prompts) assert.ok(n <= found.context, `${n} tokens of ${found.context}`);
  assert.ok(found.summary.chunks > 3 && found.n_summary >= found.summary.chunks && found.summary.text.length > 20);
  assert.equal(found.prompts.slice(0, found.summary.chunks).filter(({ text }) => text.includes(FACT)).length, 1);
  assert.ok(found.answer.source.end > FILLING.length * 20, JSON.stringify(found.answer.source));
  assert.match(found.answer.text, /Thornbury/);
  assert.ok(found.marked.chunks > 1);
  assert.deepEqual(
    found.chosen.map(([best]) => best.label),
    ['sport', 'food', 'music'],
  );
  assert.equal(found.blank[0][0].text, 'Paris');
  assert.match(found.more.text, /^ Paris/);
});
