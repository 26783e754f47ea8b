import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, evaluate, KingletError, readBenchmark, reportFromJson, reportToJson } from '../src/eval/index.js';
import type { ItemResult, Report } from '../src/eval/index.js';
import { mcNemar } from '../src/eval/compare.js';
import { meanOf, metricsOf, resultOf } from '../src/eval/metrics.js';
import { FakeModel } from './eval-fake.js';

const near = (found: number | null | undefined, expected: number, tolerance = 1e-12) =>
  assert.ok(found != null && Math.abs(found - expected) <= tolerance, `${found} is not ${expected}`);

const ARC = readBenchmark(
  Array.from({ length: 8 }, (_, i) =>
    JSON.stringify({ query: `Question: number ${i}?`, choices: ['bbb', 'aa', 'cccc'], gold: i % 3 }),
  ).join('\n'),
);

test('accuracies: plain, by characters, by bytes; the first of equals', () => {
  const item = {
    id: '1',
    line: 1,
    text: '?',
    choices: ['ab', 'abcd', 'éééé', 'x'],
    gold: 2,
    requests: [],
  };
  const of = (...logprobs: number[]) => {
    const scores = logprobs.map((logprob) => ({
      logprob,
      token_logprobs: [logprob],
      token_ids: [1],
      is_greedy: false,
    }));
    const { choice, choice_norm, choice_bytes, correct } = resultOf(0, item, 'choices', scores);
    return [choice, choice_norm, choice_bytes, correct];
  };
  // By characters -1, -0.75, -0.7, -9; by bytes -1, -0.75, -0.35, -9.
  assert.deepEqual(of(-2, -3, -2.8, -9), [0, 2, 2, false]);
  assert.deepEqual(of(-2, -2.4, -4.7, -9), [0, 1, 2, false]);
  assert.deepEqual(of(-3, -3, -3, -3), [0, 1, 2, false]);
  assert.deepEqual(of(-5, -5, -4, -4), [2, 2, 2, true]);
});

test('standard errors are those of lm-evaluation-harness', () => {
  // sample_stddev([1, 0, 0, 1, 1]) / sqrt(5), from lm_eval.api.metrics.mean_stderr.
  near(meanOf([1, 0, 0, 1, 1]).stderr, 0.24494897427831783);
  assert.deepEqual(meanOf([1]), { value: 1, stderr: null, n: 1 });
  assert.deepEqual(metricsOf(ARC, []), {});
});

test('a report as JSON and back', async () => {
  for (const benchmark of [ARC, readBenchmark('A text of one line.'), readBenchmark('{"text": "a b"}')]) {
    const report = await evaluate(new FakeModel(), benchmark);
    assert.deepEqual(reportFromJson(reportToJson(report)), report);
  }
});

test('a broken report is refused with what is wrong; figures are counted again', async () => {
  const report = await evaluate(new FakeModel(), ARC);
  const changed = (change: (copy: Report) => void): string => {
    const copy = JSON.parse(reportToJson(report)) as Report;
    change(copy);
    return JSON.stringify(copy);
  };
  const refused = (text: string, pattern: RegExp) =>
    assert.throws(
      () => reportFromJson(text),
      (e) => e instanceof KingletError && e.code === 'E_FILE_FORMAT' && pattern.test(e.message),
    );
  const item = (copy: Report, i: number) => copy.items[i] as ItemResult;
  refused('{', /not JSON/);
  refused('[]', /it is no object/);
  refused('7', /it is no object/);
  refused(
    changed((r) => Object.assign(r, { version: 2 })),
    /version 2 is not known/,
  );
  refused(
    changed((r) => Object.assign(r, { kind: 'x' })),
    /kind x/,
  );
  refused(
    changed((r) => Object.assign(r.model, { name: 7 })),
    /model.name is no string/,
  );
  refused(
    changed((r) => Object.assign(r, { items: {} })),
    /items is no list/,
  );
  refused(
    changed((r) => Object.assign(item(r, 2), { logprob: null })),
    /items\[2\].logprob is no number/,
  );
  refused(
    changed((r) => Object.assign(item(r, 2), { gold: 1.5 })),
    /items\[2\].gold is no count/,
  );
  refused(
    changed((r) => Object.assign(item(r, 2), { choices: [7] })),
    /items\[2\].choices\[0\] is no object/,
  );
  refused(
    changed((r) => Object.assign(item(r, 2), { choice_bytes: 3 })),
    /items\[2\] speaks of a choice/,
  );
  refused(
    changed((r) => Object.assign(item(r, 1), { correct: false })),
    /items\[1\].correct/,
  );
  refused(
    changed((r) => r.items.pop()),
    /n_items/,
  );
  refused(
    changed((r) => Object.assign(item(r, 1), { id: '1' })),
    /twice/,
  );
  refused(
    changed((r) => Object.assign(r, { kind: 'perplexity' })),
    /items\[0\] does not say how long/,
  );
  const read = reportFromJson(
    changed((r) => Object.assign(r, { metrics: { accuracy: { value: 1, stderr: 0, n: 8 } } })),
  );
  assert.deepEqual(read.metrics, report.metrics);
});

/** A report with the right and wrong choices of a string of + and -. */
function reportOf(marks: string, from = 0): Report {
  const items = [...marks].map((mark, i): ItemResult => {
    const choice = mark === '+' ? 1 : mark === '-' ? 0 : 2;
    const choices = ['x', 'y', 'z'].map((text) => ({ text, logprob: -1, n_tokens: 1 }));
    const index = from + i;
    const base = { index, id: `${index}`, text: `item ${index}`, choices, gold: 1, logprob: -1, n_tokens: 1 };
    return { ...base, choice, choice_norm: choice, choice_bytes: choice, correct: mark === '+' };
  });
  const metrics = metricsOf({ name: 'copa', kind: 'choices' }, items);
  const model = { name: marks, architecture: 'x', quantization: 'x', parameters: 1, file_bytes: 1 };
  const facts = { device: 'cpu', build: 'x', too_long: [], seconds: 1, items_per_second: 1, date: '2026-01-01' };
  const counts = { n_items: items.length, n_benchmark: 20, offset: from };
  return {
    version: 1,
    benchmark: 'copa',
    form: 'x',
    conventions: 'lm-eval-0.3',
    kind: 'choices',
    model,
    metrics,
    items,
    ...counts,
    ...facts,
  };
}

test('two reports, item by item', () => {
  const found = compare(reportOf('++++--?'), reportOf('+--+-+-'));
  assert.deepEqual(
    [found.both, found.only_a, found.only_b, found.neither, found.same_choice, found.n_items],
    [2, 2, 1, 2, 3, 7],
  );
  assert.deepEqual(
    found.items.map(({ id, a, b }) => [id, a.correct, b.correct]),
    [
      ['1', true, false],
      ['2', true, false],
      ['5', false, true],
    ],
  );
  near(found.difference?.value, -1 / 7);
  // Differences 0, -1, -1, 0, 0, 1, 0.
  const squares = 4 * (1 / 7) ** 2 + 2 * (6 / 7) ** 2 + (8 / 7) ** 2;
  near(found.difference?.stderr, Math.sqrt(squares / 6 / 7));
  assert.equal(found.p_value, 1);
  near(found.metrics_a.accuracy?.value, 4 / 7);
  near(found.metrics_b.accuracy?.value, 3 / 7);
});

test('only common items count', () => {
  const found = compare(reportOf('++-+'), reportOf('-++', 2));
  assert.deepEqual([found.n_items, found.n_only_in_a, found.n_only_in_b], [2, 2, 1]);
  assert.deepEqual([found.both, found.neither, found.metrics_a.accuracy?.n], [1, 1, 2]);
});

test("McNemar's exact test", () => {
  // min(1, 2 * sum(math.comb(n, k) for k in range(min(x, y) + 1)) / 2**n), in Python's whole numbers.
  near(mcNemar(0, 0), 1);
  near(mcNemar(1, 0), 1);
  near(mcNemar(0, 5), 0.0625);
  near(mcNemar(2, 10), 0.03857421875);
  near(mcNemar(10, 2), 0.03857421875);
  near(mcNemar(12, 12), 1);
  near(mcNemar(40, 70), 0.005447429511444482);
  near(mcNemar(3000, 3200), 0.011488253770871206, 1e-9);
});

test('perplexities: the texts that differ most come first, whatever the tokens', async () => {
  const wiki = readBenchmark(' = A = \nab\n = B = \ne fgh\n');
  const a = await evaluate(new FakeModel(), wiki);
  const b = structuredClone(a);
  for (const item of b.items) item.logprob -= item.id === '2' ? 5 : 1;
  const found = compare(a, b);
  assert.deepEqual(
    found.items.map(({ id }) => id),
    ['2', '1'],
  );
  assert.deepEqual([found.difference, found.p_value, found.both], [null, null, 0]);
  assert.ok((found.metrics_b.bits_per_byte?.value ?? 0) > (found.metrics_a.bits_per_byte?.value ?? 0));
});

test('reports that have nothing to do with each other', () => {
  const other = { ...reportOf('+'), benchmark: 'wsc273' };
  assert.throws(() => compare(reportOf('+'), other), /different benchmarks, copa and wsc273/);
  const spaced = { ...reportOf('+'), conventions: 'lm-eval-0.4' };
  assert.throws(() => compare(reportOf('+'), spaced), /different conventions, lm-eval-0.3 and lm-eval-0.4/);
  assert.throws(() => compare(reportOf('+'), reportOf('+', 5)), /no item in common/);
  const changed = reportOf('+');
  (changed.items[0] as ItemResult).text = 'another';
  assert.throws(
    () => compare(reportOf('+'), changed),
    (e) => e instanceof RangeError && /another one/.test(e.message),
  );
});
