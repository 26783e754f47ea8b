// `kinglet/eval` as a page imports it, in Chromium on the CPU: small benchmarks of our own writing on a tiny random model, with what HF transformers
// gives (tests/golden/make_eval.py).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openKingletPage } from './kinglet_page.mjs';

const GOLDEN = fileURLToPath(new URL('../golden/', import.meta.url));
const golden = JSON.parse(readFileSync(`${GOLDEN}eval.json`, 'utf8'));
/** Relative: weights are F32 and keys and values are rounded to 16 bits. */
const TOLERANCE = 2e-3;

let opened;
before(async () => {
  opened = await openKingletPage(GOLDEN);
  await opened.page.evaluate(async () => {
    const evaluation = await import('/kinglet/eval/index.js');
    const engine = await Kinglet.load('/models/tiny_grouped.gguf', { device: 'cpu' });
    const read = async (file, options) => {
      const bytes = new Uint8Array(await (await fetch(`/models/eval/${file}`)).arrayBuffer());
      return evaluation.readBenchmark(bytes, { fileName: file, ...options });
    };
    Object.assign(globalThis, { evaluation, engine, read });
  });
});
after(() => opened?.close());

const evaluated = (file, options = {}) =>
  opened.page.evaluate(
    async ([file, options]) => {
      const benchmark = await read(file);
      return { benchmark, report: await evaluation.evaluate(engine, benchmark, options) };
    },
    [file, options],
  );

const near = (found, expected, what) =>
  assert.ok(Math.abs(found - expected) <= TOLERANCE * Math.abs(expected), `${what}: ${found}, expected ${expected}`);

for (const [name, file] of [
  ['arc_easy', 'arc_easy.jsonl'],
  ['copa', 'copa.xml'],
  ['winograd', 'winograd.xml'],
  ['lambada', 'lambada.jsonl'],
]) {
  test(`${file}: texts, probabilities and figures are those of transformers`, async () => {
    const { benchmark, report } = await evaluated(file);
    const { items, figures } = golden[name];
    assert.deepEqual(
      benchmark.items.map(({ requests }) => requests.map((r) => [r.context, r.continuation])),
      items.map(({ requests }) => requests),
    );
    assert.deepEqual(benchmark.skipped, []);
    report.items.forEach((item, i) => {
      assert.equal(item.gold, items[i].gold);
      item.choices.forEach(({ logprob, n_tokens }, k) => {
        near(logprob, items[i].logprobs[k], `${file}, item ${i}, choice ${k}`);
        assert.equal(n_tokens, items[i].n_tokens[k]);
      });
      if (name === 'lambada') assert.equal(item.correct, items[i].greedy[0], `${file}, item ${i}`);
    });
    for (const [figure, expected] of Object.entries(figures)) {
      const [value, stderr] = Array.isArray(expected) ? expected : [expected];
      // exp of the mean: what is relative in the mean is absolute in the logarithm.
      if (figure === 'perplexity') near(Math.log(report.metrics.perplexity.value), Math.log(value), figure);
      else
        assert.ok(Math.abs(report.metrics[figure].value - value) < 1e-12, `${figure}: ${report.metrics[figure].value}`);
      if (stderr !== undefined) assert.ok(Math.abs(report.metrics[figure].stderr - stderr) < 1e-12, figure);
    }
    assert.equal(report.model.name, 'tiny random llama, grouped');
  });
}

test('some of the greedy words are, and some are not', () => {
  assert.deepEqual(new Set(golden.lambada.items.map(({ greedy }) => greedy[0])), new Set([true, false]));
});

test('perplexity of a text in rolling windows', async () => {
  const { text } = golden;
  const { report } = await evaluated('text.txt', { windowTokens: text.window + 1 });
  near(report.items[0].logprob, text.logprob, 'ln P');
  near(report.metrics.bits_per_byte.value, text.bits_per_byte, 'bits per byte');
  near(Math.log(report.metrics.word_perplexity.value), Math.log(text.word_perplexity), 'word perplexity');
  near(Math.log(report.metrics.byte_perplexity.value), Math.log(text.byte_perplexity), 'byte perplexity');
  assert.ok(text.windows > 2);
});

test('progress, an abort in the middle, a report of what was done, comparison', async () => {
  const found = await opened.page.evaluate(async () => {
    const benchmark = await read('arc_easy.jsonl');
    const controller = new AbortController();
    const [told, results] = [[], []];
    const running = evaluation.evaluate(engine, benchmark, {
      signal: controller.signal,
      onProgress: (progress) => told.push(progress),
      onItem: (result) => results.push(result) === 2 && controller.abort('enough'),
    });
    const reason = await running.catch((thrown) => thrown);
    const partial = evaluation.reportOf(engine.info, benchmark, results, { seconds: 1 });
    const whole = await evaluation.evaluate(engine, benchmark);
    const read_back = evaluation.reportFromJson(evaluation.reportToJson(whole));
    const comparison = evaluation.compare(partial, read_back);
    return { reason, told, partial, whole, read_back, comparison };
  });
  assert.equal(found.reason, 'enough');
  assert.deepEqual([found.told[0].done, found.told[0].total], [0, 6]);
  assert.equal(found.partial.n_items, 2);
  assert.deepEqual(found.partial.items, found.whole.items.slice(0, 2));
  assert.deepEqual(found.read_back, found.whole);
  assert.deepEqual([found.comparison.n_items, found.comparison.same_choice, found.comparison.n_only_in_b], [2, 2, 4]);
  assert.equal(found.comparison.p_value, 1);
});

test("what it throws is a KingletError of the package's other modules", async () => {
  const found = await opened.page.evaluate(() => {
    try {
      evaluation.readBenchmark('{"x": 1}');
      return 'nothing';
    } catch (thrown) {
      return [thrown instanceof KingletError, thrown instanceof evaluation.KingletError, thrown.code];
    }
  });
  assert.deepEqual(found, [true, true, 'E_FILE_FORMAT']);
});
