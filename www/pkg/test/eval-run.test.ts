import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluate, KingletError, readBenchmark, reportOf } from '../src/eval/index.js';
import type { EvaluateOptions, EvaluateProgress, ItemResult, ScoringEngine } from '../src/eval/index.js';
import type { Kinglet } from '../src/index.js';
import { codesOf, FakeModel } from './eval-fake.js';

/** The engine itself will do. */
const isEnough: (engine: Kinglet) => ScoringEngine = (engine) => engine;
assert.ok(isEnough);

const near = (found: number | null | undefined, expected: number) =>
  assert.ok(
    found != null && Math.abs(found - expected) <= 1e-9 * Math.max(1, Math.abs(expected)),
    `${found} is not ${expected}`,
  );

/** Questions to which the fake answers "a…" before "b…" of the same length, and the shorter before the longer. */
const arc = (n: number, gold = (i: number) => i % 2) =>
  readBenchmark(
    Array.from({ length: n }, (_, i) =>
      JSON.stringify({ query: `Question: number ${i}?`, choices: ['bbb', 'aa', 'cccc'], gold: gold(i) }),
    ).join('\n'),
    { fileName: 'arc_easy.jsonl' },
  );

test('the report of a choice benchmark', async () => {
  const model = new FakeModel();
  const benchmark = arc(5);
  const report = await evaluate(model, benchmark);
  assert.equal(report.n_items, 5);
  const { items, metrics, seconds, items_per_second, date, ...rest } = report;
  assert.deepEqual(rest, {
    version: 1,
    benchmark: 'arc_easy',
    form: 'ARC, JSON lines of llm-foundry',
    conventions: 'lm-eval-0.3',
    kind: 'choices',
    model: { name: 'Fake 1', architecture: 'fake', quantization: 'F32', parameters: 7, file_bytes: 28 },
    device: 'cpu, 2 threads',
    build: '0.0.0 fake',
    n_items: 5,
    n_benchmark: 5,
    offset: 0,
    too_long: [],
  });
  assert.deepEqual(Object.keys(metrics), ['accuracy', 'accuracy_norm', 'accuracy_bytes']);
  assert.ok(seconds > 0 && items_per_second > 0 && !Number.isNaN(Date.parse(date)));
  // "aa" is always chosen: 2 of 5 are right. Sample variance of 0, 1, 0, 1, 0: 0.3.
  near(metrics.accuracy?.value, 0.4);
  near(metrics.accuracy?.stderr, Math.sqrt(0.3 / 5));
  assert.equal(metrics.accuracy?.n, 5);
  const [item] = items;
  assert.deepEqual([item?.choice, item?.gold, item?.correct, item?.n_tokens], [1, 0, false, 4]);
  near(item?.logprob, -3 * 0.98);
  near(item?.choices[1]?.logprob, -2 * 0.97);
  // All choices of an item are one item of the engine's.
  assert.deepEqual(
    model.calls.flat(),
    benchmark.items.map((one) => one.requests),
  );
});

test('limit and offset', async () => {
  const indices = async (options: EvaluateOptions) =>
    (await evaluate(new FakeModel(), arc(9), options)).items.map(({ index }) => index);
  assert.deepEqual(await indices({ limit: 2 }), [0, 1]);
  assert.deepEqual(await indices({ offset: 7, limit: 50 }), [7, 8]);
  const { offset, n_benchmark } = await evaluate(new FakeModel(), arc(9), { offset: 7 });
  assert.deepEqual([offset, n_benchmark], [7, 9]);
});

test('progress, time left, and batches that grow to what takes a moment', async () => {
  const model = new FakeModel();
  model.msPerItem = 5;
  const told: EvaluateProgress[] = [];
  const results: ItemResult[] = [];
  const onProgress = (progress: EvaluateProgress) => void told.push(progress);
  const report = await evaluate(
    model,
    arc(200, () => 1),
    { onProgress, onItem: (result) => void results.push(result) },
  );
  assert.deepEqual(results, report.items);
  assert.deepEqual(told[0], {
    done: 0,
    total: 200,
    elapsed_ms: told[0]?.elapsed_ms,
    remaining_ms: null,
    accuracy: null,
    perplexity: null,
  });
  assert.deepEqual([told.at(-1)?.done, told.at(-1)?.remaining_ms, told.at(-1)?.accuracy], [200, 0, 1]);
  const sizes = model.calls.map((call) => call.length);
  assert.equal(sizes[0], 2);
  // 400 ms at 5 ms an item are 80; 64 is the most.
  assert.ok(Math.max(...sizes) > 20 && Math.max(...sizes) <= 64, `${sizes}`);
  const halfway = told.find(({ done }) => done >= 60) as EvaluateProgress;
  const expected = (halfway.elapsed_ms * (200 - halfway.done)) / halfway.done;
  assert.ok(Math.abs((halfway.remaining_ms as number) - expected) < 0.15 * expected, JSON.stringify(halfway));
  for (let i = 1; i < told.length; i++) assert.ok((told[i]?.done ?? 0) > (told[i - 1]?.done ?? 0));
});

test('slow items come one at a time', async () => {
  const model = new FakeModel();
  model.msPerItem = 450;
  await evaluate(model, arc(4));
  assert.deepEqual(
    model.calls.map((call) => call.length),
    [2, 1, 1],
  );
});

test("an abort rejects with the signal's reason; a report of what was done can be made", async () => {
  const model = new FakeModel();
  const benchmark = arc(50);
  const controller = new AbortController();
  const reason = new Error('enough');
  const results: ItemResult[] = [];
  const running = evaluate(model, benchmark, {
    signal: controller.signal,
    onItem: (result) => {
      results.push(result);
      if (results.length === 2) controller.abort(reason);
    },
  });
  await assert.rejects(running, (error) => error === reason);
  assert.equal(model.calls.length, 1);
  const report = reportOf(model.info, benchmark, results, { seconds: 2 });
  assert.deepEqual([report.n_items, report.n_benchmark, report.items_per_second], [2, 50, 1]);
  near(report.metrics.accuracy?.value, 0.5);
  await assert.rejects(evaluate(model, benchmark, { signal: AbortSignal.abort(reason) }), (error) => error === reason);
  assert.equal(model.calls.length, 1);
});

test('items that are too long are left out one by one and named', async () => {
  const model = new FakeModel(60);
  const long = JSON.stringify({ query: `Question: ${'why '.repeat(20)}?`, choices: ['bbb', 'aa'], gold: 1 });
  const short = JSON.stringify({ query: 'Question: why?', choices: ['bbb', 'aa'], gold: 1 });
  const report = await evaluate(model, readBenchmark([short, long, short, short].join('\n')));
  assert.deepEqual(
    report.items.map(({ index }) => index),
    [0, 2, 3],
  );
  assert.deepEqual(report.too_long, [{ index: 1, id: '2' }]);
  assert.equal(report.metrics.accuracy?.n, 3);
});

test('any other error comes through', async () => {
  const model = new FakeModel();
  const error = new KingletError('E_GPU_LOST', 'gone');
  model.rejects = { call: 1, error };
  await assert.rejects(evaluate(model, arc(50)), (thrown) => thrown === error);
});

test("an encoder-decoder reads Winograd's two contexts one by one, and shares the one of ARC's choices", async () => {
  const model = new FakeModel(1000, ['generate', 'remember']);
  const wsc = readBenchmark('The wren hid because [MASK] was small.\n[MASK]\nthe wren,the cat\nthe wren');
  const report = await evaluate(model, wsc);
  assert.deepEqual(
    report.items[0]?.choices.map(({ text }) => text),
    ['the wren', 'the cat'],
  );
  assert.deepEqual(
    model.calls.flat().map((item) => item.length),
    [1, 1],
  );
  await evaluate(model, arc(1));
  assert.equal(model.calls.at(-1)?.[0]?.length, 3);
});

test('LAMBADA: greedy words and their perplexity', async () => {
  const text = ['a b', 'a c', 'a z', 'a b'].map((line) => JSON.stringify({ text: line })).join('\n');
  const { metrics, items } = await evaluate(new FakeModel(), readBenchmark(text));
  assert.deepEqual(
    items.map(({ correct }) => correct),
    [true, true, false, true],
  );
  near(metrics.accuracy?.value, 0.75);
  const logprobs = [...'bczb'].map((c) => -c.charCodeAt(0) / 100);
  const mean = logprobs.reduce((a, b) => a + b) / 4;
  const sd = Math.sqrt(logprobs.reduce((a, b) => a + (b - mean) ** 2, 0) / 3);
  near(metrics.perplexity?.value, Math.exp(-mean));
  near(metrics.perplexity?.stderr, (Math.exp(-mean) * sd) / 2);
  assert.ok(!('accuracy_norm' in metrics));
});

test('perplexity: every token once, in windows that the context holds', async () => {
  const model = new FakeModel(11);
  const text = 'abcdefghijklmnopqrstuvwxy';
  const told: EvaluateProgress[] = [];
  const report = await evaluate(model, readBenchmark(text), { onProgress: (progress) => void told.push(progress) });
  const windows = model.calls.flat().map(([window]) => [window?.context, window?.continuation]);
  // As lm_eval.utils: make_disjoint_window of get_rolling_token_windows(tokens, prefix, max_seq_len=10, context_len=1).
  assert.deepEqual(windows, [
    [[], codesOf('abcdefghij')],
    [codesOf('j'), codesOf('klmnopqrst')],
    [codesOf('opqrst'), codesOf('uvwxy')],
  ]);
  const logprobs = codesOf(text).map((code) => -code / 100);
  const logprob = logprobs.reduce((a, b) => a + b);
  const { perplexity, word_perplexity, byte_perplexity, bits_per_byte } = report.metrics;
  near(perplexity?.value, Math.exp(-logprob / 25));
  near(byte_perplexity?.value, Math.exp(-logprob / 25));
  near(word_perplexity?.value, Math.exp(-logprob));
  near(bits_per_byte?.value, -logprob / 25 / Math.LN2);
  assert.deepEqual([word_perplexity?.stderr, word_perplexity?.n, bits_per_byte?.n, perplexity?.n], [null, 1, 25, 25]);
  const mean = logprob / 25;
  const sd = Math.sqrt(logprobs.reduce((a, b) => a + (b - mean) ** 2, 0) / 24);
  near(perplexity?.stderr, (Math.exp(-mean) * sd) / 5);
  assert.equal(report.items.length, 1);
  assert.equal(report.window_tokens, 11);
  assert.deepEqual([told.at(-1)?.done, told.at(-1)?.total], [3, 3]);
  near(told[1]?.perplexity, Math.exp(-codesOf('abcdefghij').reduce((a, b) => a - b / 100, 0) / 10));
  const narrow = new FakeModel(1000);
  await evaluate(narrow, readBenchmark(text), { windowTokens: 5 });
  assert.equal(narrow.calls.flat().length, 7);
});

test('several articles: words and bytes are weighed', async () => {
  const wiki = readBenchmark(' = A = \nab cd\n = B = \ne\n');
  const { metrics, items } = await evaluate(new FakeModel(), wiki);
  assert.equal(items.length, 2);
  const total = items.reduce((sum, { logprob }) => sum + logprob, 0);
  const [n_words, n_bytes] = [wiki.items[0], wiki.items[1]].reduce(
    (sum, item) => [sum[0] + (item?.n_words ?? 0), sum[1] + (item?.n_bytes ?? 0)] as [number, number],
    [0, 0] as [number, number],
  );
  near(metrics.word_perplexity?.value, Math.exp(-total / n_words));
  near(metrics.bits_per_byte?.value, -total / n_bytes / Math.log(2));
});

test('models that cannot, and wrong options, before any work', async () => {
  const unsupported = (pattern: RegExp) => (error: unknown) =>
    error instanceof KingletError && error.code === 'E_UNSUPPORTED_TASK' && pattern.test(error.message);
  await assert.rejects(evaluate(new FakeModel(9, ['embed']), arc(1)), unsupported(/model that writes/));
  const t5 = new FakeModel(9, ['generate', 'remember']);
  await assert.rejects(evaluate(t5, readBenchmark('text')), unsupported(/perplexity is for models/));
  const model = new FakeModel(100);
  for (const options of [
    { limit: 0 },
    { limit: 1.5 },
    { offset: -1 },
    { offset: 3 },
    { windowTokens: 1 },
    { windowTokens: 101 },
  ])
    await assert.rejects(evaluate(model, arc(3), options), RangeError);
  assert.equal(model.calls.length, 0);
});
