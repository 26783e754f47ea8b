// The words and figures of the tasks and benchmark pages, and the items that the page brings itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readBenchmark } from '../../pkg/dist/eval/index.js';
import { scaleOf } from '../dist/benchmarks/chart.js';
import { SAMPLES } from '../dist/benchmarks/samples.js';
import * as benchmarks from '../dist/benchmarks/words.js';
import { areModel } from '../dist/frame.js';
import * as tasks from '../dist/tasks/words.js';
import { parseAddress } from '../dist/views.js';

test('addresses of views', () => {
  assert.deepEqual(parseAddress(''), { name: 'chat', path: '' });
  assert.deepEqual(parseAddress('#message'), { name: 'chat', path: '' });
  assert.deepEqual(parseAddress('#chat/0f'), { name: 'chat', path: '0f' });
  assert.deepEqual(parseAddress('#compare'), { name: 'compare', path: '' });
  assert.deepEqual(parseAddress('#tasks'), { name: 'tasks', path: '' });
  assert.deepEqual(parseAddress('#tasks/translate'), { name: 'tasks', path: 'translate' });
  assert.deepEqual(parseAddress('#benchmarks'), { name: 'benchmarks', path: '' });
});

test('files of models are told from others by their names', () => {
  for (const names of [['a.gguf'], ['model.safetensors', 'x'], ['x/config.json'], ['tokenizer.json']])
    assert.ok(areModel(names), names.join());
  for (const names of [[], ['arc_easy.jsonl'], ['report.json'], ['my config.json.txt'], ['notes.md']])
    assert.ok(!areModel(names), names.join());
});

test('lists and notes as they are typed', () => {
  assert.deepEqual(tasks.listOf(' sport, politics ,, sport\nscience,'), ['sport', 'politics', 'science']);
  assert.deepEqual(tasks.listOf(' , '), []);
  const [first, second] = tasks.notesOf(`one\nmore of it\n \n\n  ${'a long line '.repeat(10)}\n\n`);
  assert.deepEqual(first, { title: 'one', text: 'one\nmore of it' });
  assert.equal(second.title, 'a long line a long line a long line a long line a long line…');
  assert.deepEqual(tasks.notesOf(' \n\n '), []);
});

test('figures of what was written', () => {
  const written = {
    usage: { prompt_tokens: 220, completion_tokens: 58, total_tokens: 278 },
    timings: { prompt_n: 220, prompt_ms: 180, predicted_n: 57, predicted_ms: 1000 },
    chunks: 3,
    finish_reason: 'length',
  };
  assert.equal(
    tasks.writtenFigures(written),
    '58 tokens · 57.0 tok/s · 220 read in 180 ms · 3 parts · cut at the limit',
  );
  const one = {
    usage: { completion_tokens: 1 },
    timings: { prompt_n: 0, prompt_ms: 0, predicted_n: 0, predicted_ms: 0 },
    chunks: 1,
    finish_reason: 'stop',
  };
  assert.equal(tasks.writtenFigures(one), '1 token');
  assert.deepEqual([0, 0.001, 0.934, 1].map(tasks.percent), ['0 %', '< 1 %', '93 %', '100 %']);
});

test('errors of tasks say what to do, in the words of the engine where these are for a page', () => {
  const error = (code, message) => Object.assign(new Error(message), { code });
  assert.match(tasks.taskError(error('E_CONTEXT_OVERFLOW', 'x')).text, /longer than the model can hold/);
  assert.equal(tasks.taskError(error('E_UNSUPPORTED_TASK', 'x is y')).text, 'X is y.');
  assert.equal(tasks.taskError(new RangeError('text has no mask')).text, 'Text has no mask.');
  assert.equal(tasks.supportLine({ by: null, reason: 'x is an encoder' }), 'x is an encoder.');
});

test('figures of benchmarks', () => {
  assert.equal(benchmarks.accuracyText({ value: 0.4321, stderr: 0.0221, n: 500 }), '43.2 ± 2.2 %');
  assert.equal(benchmarks.accuracyText({ value: 1, stderr: null, n: 1 }), '100.0 %');
  assert.equal(benchmarks.figureText({ value: 28.757, stderr: 0.312, n: 9 }), '28.76 ± 0.31');
  assert.deepEqual([400, 12_000, 200_000, 7_500_000].map(benchmarks.timeLeft), [
    '1 s',
    '12 s',
    '3 min 20 s',
    '2 h 5 min',
  ]);
  assert.deepEqual([0.123, 1.23, 12.3].map(benchmarks.speedText), ['0.12', '1.2', '12']);
  const items = [{ choices: [1, 2] }, { choices: [1, 2, 3, 4] }];
  assert.equal(benchmarks.chance({ kind: 'choices', items }), 0.375);
  assert.equal(benchmarks.chance({ kind: 'greedy', items }), undefined);
  assert.equal(benchmarks.chance({ kind: 'choices', items: [] }), undefined);
  const report = { benchmark: 'arc_easy', model: { name: 'A/B: c', architecture: 'llama', quantization: 'Q4_1' } };
  assert.equal(benchmarks.reportFileName(report), 'arc_easy A_B_ c Q4_1.json');
});

test('what a comparison says', () => {
  const of = (only_a, only_b, p_value) =>
    benchmarks.verdict({ only_a, only_b, p_value, difference: { value: 0, stderr: 0 } });
  assert.match(of(0, 0, 1), /the same items right/);
  assert.match(of(20, 3, 0.0004), /^A is better.*p < 0\.001/);
  assert.match(of(3, 14, 0.0127), /^B is better.*p = 0\.013/);
  assert.match(of(4, 6, 0.754), /^No difference is shown.*p = 0\.754/);
  assert.equal(benchmarks.verdict({ only_a: 0, only_b: 0, p_value: null, difference: null }), '');
});

test('the axis of a chart ends at a round number', () => {
  assert.deepEqual(
    [0.7, 3.2, 28.9, 41, 60, 1000].map((most) => scaleOf(most).max),
    [1, 4, 40, 50, 100, 1000],
  );
  assert.deepEqual(scaleOf(28.9).ticks.map(scaleOf(28.9).name), ['0', '10', '20', '30', '40']);
});

test('the items that the page brings are read as what they are, all of them', () => {
  const read = SAMPLES.map(({ text, fileName }) => readBenchmark(text, { fileName }));
  assert.deepEqual(
    read.map(({ name, items, skipped }) => [name, items.length, skipped.length]),
    [
      ['arc', 12, 0],
      ['copa', 8, 0],
      ['perplexity', 1, 0],
    ],
  );
  const golds = read[0].items.map(({ gold }) => gold);
  assert.deepEqual(
    [0, 1, 2, 3].map((n) => golds.filter((gold) => gold === n).length),
    [3, 3, 3, 3],
    'no place is favoured',
  );
});
