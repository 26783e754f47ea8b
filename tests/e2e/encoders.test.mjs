// Encoders through the public API in Chromium: tiny random models of every head, with what HF transformers gives
// (tests/golden/make_encoders.py); on the CPU, and on WebGPU (SwiftShader) the CPU's answers.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NOT_LONG, SOFTWARE_GPU } from './browser.mjs';
import { openKingletPage } from './kinglet_page.mjs';

const MODELS = fileURLToPath(new URL('../golden/encoders/', import.meta.url));
/** Of the largest number: keys and values are rounded to 16 bits. */
const TOLERANCE = 5e-3;
/** The same of WebGPU against the CPU, both with keys and values of 32 bits. */
const GPU_TOLERANCE = 1e-4;

let opened;
before(async () => {
  opened = await openKingletPage(MODELS, { args: SOFTWARE_GPU });
});
after(() => opened?.close());

const goldens = (name) => JSON.parse(readFileSync(`${MODELS}${name}.json`, 'utf8')).tasks;

/** Rows of f32 in hexadecimal. */
function rowsOf({ rows, width }) {
  const bytes = Buffer.from(rows, 'hex');
  const flat = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
  return Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width));
}

/** Loads a model, runs `work(engine, data)` in the page, and closes it. */
const onModel = (name, data, work, options = { device: 'cpu' }) =>
  opened.page.evaluate(
    async ([url, data, work, options]) => {
      const engine = await Kinglet.load(url, options);
      try {
        return await new Function(`return (${work})`)()(engine, data);
      } finally {
        await engine.close();
      }
    },
    [`/models/${name}.gguf`, data, work.toString(), options],
  );

function assertNear(found, expected, what, tolerance = TOLERANCE) {
  assert.equal(found.length, expected.length, what);
  const largest = Math.max(...expected.map(Math.abs));
  const worst = Math.max(...found.map((x, i) => Math.abs(x - expected[i])));
  assert.ok(worst <= tolerance * largest, `${what}: ${worst} of ${largest}`);
}

const textOf = ({ text }) => (Array.isArray(text) ? { text: text[0], text_pair: text[1] } : text);

test('embeddings of one call and of several are the same, and those of transformers', async () => {
  for (const name of ['bert', 'distilbert', 'modern-bert', 'nomic-bert']) {
    const cases = goldens(name).embed;
    const texts = cases.map(textOf);
    const { together, alone, base64, tokens, info } = await onModel(name, texts, async (engine, input) => {
      const of = async (params) => (await engine.embeddings.create(params)).data.map((d) => d.embedding);
      const alone = [];
      for (const text of input) alone.push(...(await of({ input: text })));
      const ids = await Promise.all(input.map((text) => engine.tokenize(text)));
      return {
        together: await of({ input }),
        alone,
        base64: await of({ input: input[0], encoding_format: 'base64' }),
        tokens: await of({ input: ids }),
        info: engine.info,
      };
    });
    assert.deepEqual(info.tasks, ['embed', 'fill-mask', 'classify']);
    assert.deepEqual(info.notices, []);
    assert.deepEqual(alone, together, name);
    assert.deepEqual(tokens, together, name);
    const bytes = Buffer.from(base64[0], 'base64');
    assert.deepEqual(
      together[0].map((_, i) => bytes.readFloatLE(4 * i)),
      together[0],
    );
    cases.forEach((golden, i) => {
      const [row] = rowsOf(golden);
      const length = Math.hypot(...row);
      assertNear(
        together[i],
        row.map((x) => x / length),
        `${name}: ${golden.text}`,
      );
    });
  }
});

test('labels of texts and pairs, masks, and labels of tokens with their places', async () => {
  const cases = goldens('bert');
  const { classes, masks } = await onModel(
    'bert',
    { texts: cases.classify.map(textOf), masked: cases['fill-mask'].map(textOf) },
    async (engine, { texts, masked }) => ({
      classes: await engine.classify(texts),
      masks: await engine.fillMask(masked, { top: 3 }),
    }),
  );
  cases.classify.forEach((golden, i) => {
    const [row] = rowsOf(golden);
    const byLabel = row.map((_, l) => classes[i].find(({ label }) => label === `kind ${l}`).logit);
    assertNear(byLabel, row, String(golden.text));
    assert.ok(Math.abs(classes[i].reduce((sum, { score }) => sum + score, 0) - 1) < 1e-9);
  });
  cases['fill-mask'].forEach((golden, i) =>
    rowsOf(golden).forEach((row, m) => {
      const best = row.indexOf(Math.max(...row));
      assert.deepEqual([masks[i][m].length, masks[i][m][0].token], [3, best], golden.text);
    }),
  );

  const { label: labelled } = goldens('bert-tokens');
  const tokens = await onModel('bert-tokens', labelled.map(textOf), async (engine, texts) =>
    (await engine.label(texts)).map((some) => some.map((t) => ({ ...t, logits: Array.from(t.logits) }))),
  );
  labelled.forEach((golden, i) => {
    const rows = rowsOf(golden);
    assert.deepEqual(
      tokens[i].map(({ start, end }) => [start, end]),
      golden.offsets,
    );
    rows.forEach((row, t) => {
      assertNear(tokens[i][t].logits, row, golden.text);
      assert.equal(tokens[i][t].label, `kind ${row.indexOf(Math.max(...row))}`);
    });
  });
});

test('what a model is not made for, too long a text, and an abort', async () => {
  const found = await onModel('bert', null, async (engine) => {
    const codeOf = (promise) =>
      promise.then(
        () => 'no error',
        (error) => [error.code ?? error.name, error.message, error.details?.availableTokens],
      );
    const abort = new AbortController();
    const many = engine.embeddings.create(
      { input: Array(2048).fill('the cat sat on the mat ' + 'and '.repeat(60)) },
      abort,
    );
    const aborted = codeOf(many);
    await new Promise((resolve) => setTimeout(resolve, 30));
    const atMs = performance.now();
    abort.abort(new DOMException('enough', 'AbortError'));
    const reason = await aborted;
    const rejectedMs = performance.now() - atMs;
    const next = await engine.embeddings.create({ input: 'a' });
    const nextMs = performance.now() - atMs;
    return {
      chat: await codeOf(engine.chat.completions.create({ messages: [{ role: 'user', content: 'a' }] })),
      label: await codeOf(engine.label(['a'])),
      long: await codeOf(engine.embeddings.create({ input: ['a', 'the '.repeat(100)] })),
      reason,
      rejectedMs,
      nextMs,
      next: next.data.length,
    };
  });
  assert.deepEqual(found.chat, [
    'E_UNSUPPORTED_TASK',
    'chat.completions.create with a model of bert, which can embed, fill-mask, classify',
    undefined,
  ]);
  assert.equal(found.label[0], 'E_UNSUPPORTED_TASK');
  assert.deepEqual([found.long[0], found.long[2]], ['E_CONTEXT_OVERFLOW', 80]);
  assert.equal(found.reason[1], 'enough');
  assert.ok(found.rejectedMs < 100, `rejected after ${found.rejectedMs} ms`);
  assert.equal(found.next, 1);
});

/** Everything that a model with these tasks gives, as arrays of numbers and as names, and which device it ran on. */
async function everything(engine, { texts, masked }) {
  const codeOf = (promise) =>
    promise.then(
      () => 'no error',
      (error) => error.code,
    );
  const { tasks, device } = engine.info;
  const numbers = [];
  const names = [];
  if (tasks.includes('embed')) {
    numbers.push(...(await engine.embeddings.create({ input: texts })).data.map((one) => one.embedding));
  }
  if (tasks.includes('classify')) {
    const found = (await engine.classify(texts)).map((all) => all.sort((a, b) => (a.label < b.label ? -1 : 1)));
    numbers.push(...found.map((all) => all.map((one) => one.logit)));
  }
  if (tasks.includes('fill-mask')) {
    const found = (await engine.fillMask(masked, { top: 3 })).flat();
    numbers.push(...found.map((all) => all.map((one) => one.score)));
    names.push(...found.map((all) => all.map((one) => one.token)));
  }
  if (tasks.includes('label')) {
    const found = (await engine.label(texts)).flat();
    numbers.push(...found.map((one) => Array.from(one.logits)));
    names.push(...found.map((one) => [one.label, one.start, one.end]));
  }
  const refused = [
    await codeOf(engine.completions.create({ prompt: 'a' })),
    await codeOf(tasks.includes('label') ? engine.classify(['a']) : engine.label(['a'])),
    await codeOf(
      tasks.includes('embed')
        ? engine.embeddings.create({ input: 'the '.repeat(100) })
        : engine.label(['the '.repeat(100)]),
    ),
  ];
  const again = tasks.includes('embed') ? (await engine.embeddings.create({ input: texts })).data[0].embedding : [];
  return { kind: device.kind, numbers, names, refused, again };
}

for (const name of ['bert', 'bert-tokens', 'modern-bert']) {
  const skip = name !== 'bert' && NOT_LONG;
  test(`${name} on WebGPU gives what it gives on the CPU, and refuses what it refuses there`, { skip }, async () => {
    const cases = goldens(name);
    const data = { texts: (cases.embed ?? cases.label).map(textOf), masked: (cases['fill-mask'] ?? []).map(textOf) };
    const on = (device) => onModel(name, data, everything, { device, kvType: 'f32' });
    const [cpu, gpu] = [await on('cpu'), await on('webgpu')];
    assert.deepEqual([cpu.kind, gpu.kind], ['cpu', 'webgpu']);
    assert.deepEqual(gpu.names, cpu.names);
    assert.ok(cpu.numbers.length >= data.texts.length);
    assert.equal(gpu.numbers.length, cpu.numbers.length);
    gpu.numbers.forEach((row, i) => assertNear(row, cpu.numbers[i], `${name}, row ${i}`, GPU_TOLERANCE));
    assert.deepEqual(gpu.refused, ['E_UNSUPPORTED_TASK', 'E_UNSUPPORTED_TASK', 'E_CONTEXT_OVERFLOW']);
    assert.deepEqual(gpu.refused, cpu.refused);
    assert.deepEqual(gpu.again, cases.embed ? gpu.numbers[0] : [], 'a refusal changes nothing');
  });
}
