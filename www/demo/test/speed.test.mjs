// The speed benchmark's cases, figures and words.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CASES, fits, measureCase, promptOf } from '../dist/benchmarks/measure.js';
import * as reports from '../dist/benchmarks/speed-report.js';

const DECODER = { tasks: ['generate'], contextLength: 512 };

test('the middle of the values', () => {
  assert.deepEqual([[3], [5, 1], [9, 1, 4], [4, 1, 2, 9]].map(reports.median), [3, 3, 4, 3]);
});

test('what fits a context: the tokens, those before them and one more', () => {
  const holds = (info) => CASES.map((one) => fits(one, info));
  assert.deepEqual(holds(DECODER), [true, false, true, false]);
  assert.deepEqual(holds({ ...DECODER, contextLength: 513 }), [true, true, true, false]);
  assert.deepEqual(holds({ ...DECODER, contextLength: 2065 }), [true, true, true, true]);
  assert.deepEqual(holds({ tasks: ['generate', 'remember'], contextLength: 133 }), [true, false, true, false]);
});

test('prompts are the same everywhere, in range, and one begins another', () => {
  for (const size of [3, 288, 49_152]) {
    const ids = promptOf(2000, size);
    assert.ok(
      ids.every((id) => Number.isInteger(id) && id >= 0 && id < size),
      String(size),
    );
    assert.deepEqual(promptOf(132, size), ids.slice(0, 132));
  }
  assert.deepEqual(promptOf(3, 49_152), [1000, 1037, 1074]);
});

/** An engine that notes what it is asked. */
function engineOf(asked) {
  const create = async (params) => {
    asked.push(params);
    return {
      timings: { prompt_n: params.prompt.length, prompt_ms: 10, predicted_n: params.max_tokens - 1, predicted_ms: 5 },
    };
  };
  return { info: { vocabularySize: 49_152 }, completions: { create } };
}

test('a run warms up, and reading is not helped by what was read before', async () => {
  const asked = [];
  let n_done = 0;
  const options = { runs: 2, signal: new AbortController().signal, onRun: () => n_done++ };
  assert.deepEqual(await measureCase(engineOf(asked), CASES[0], options), Array(2).fill({ tokens: 132, ms: 10 }));
  assert.deepEqual(await measureCase(engineOf(asked), CASES[2], options), Array(2).fill({ tokens: 64, ms: 5 }));
  assert.equal(n_done, 6);
  assert.deepEqual(
    asked.map(({ prompt, max_tokens, cache_prompt }) => [prompt.length, max_tokens, cache_prompt]),
    [...Array(3).fill([132, 1, false]), ...Array(3).fill([132, 65, true])],
  );
  assert.ok(asked.every(({ speculation, ignore_eos }) => speculation === 'off' && ignore_eos));
});

test('browsers by the names that people know', () => {
  const chrome =
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36';
  const cases = [
    [chrome, 'Chrome 156, Linux x86_64'],
    [`${chrome} Edg/156.0.0.0`, 'Edge 156, Linux x86_64'],
    [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:153.0) Gecko/20100101 Firefox/153.0',
      'Firefox 153, Windows NT 10.0',
    ],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1',
      'Safari 18.5, iPhone',
    ],
    [
      'Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 Chrome/156.0.0.0 Mobile Safari/537.36',
      'Chrome 156, Android 16',
    ],
    ['something else', 'something else'],
  ];
  for (const [userAgent, name] of cases) assert.equal(reports.browserName(userAgent), name);
});

test('a report in words', () => {
  const info = {
    ...DECODER,
    architecture: 'llama',
    parameters: 1,
    quantization: 'Q4_1',
    fileBytes: 2,
    build: '0.1.0 relaxed',
    device: { kind: 'cpu', threads: 8, simd: 'relaxed', reason: 'because' },
  };
  const browser = { user_agent: 'x', logical_cores: 8, memory_gb: null, cross_origin_isolated: true };
  const loading = {
    from: 'address',
    device: 'auto',
    phases: [
      { phase: 'start', afterMs: 1 },
      { phase: 'ready', afterMs: 560 },
    ],
  };
  const about = { name: 'A/B', info, browser, loading, runs: 2, date: new Date(0) };
  const runs = [
    { tokens: 132, ms: 1000 },
    { tokens: 132, ms: 500 },
  ];
  const cases = [
    reports.caseReport(CASES[0], runs, info),
    reports.caseReport(CASES[1], [], info),
    reports.caseReport(CASES[2], [], info),
  ];
  const report = reports.reportOf(about, cases, { stopped: true, wasHidden: false });
  assert.deepEqual(cases[0].tokens_per_second, { median: 198, min: 132, max: 264 });
  assert.equal(
    reports.textOf(report),
    `kinglet, 1970-01-01, medians of 2 runs, stopped

* Model: A/B (llama, Q4_1)
* Device: CPU
* Threads: up to 8
* Why: because
* Browser: x
* Machine: 8 logical cores
* Engine: 0.1.0 relaxed
* Loading: 560 ms, the transfer included

| | median | lowest to highest |
|---|---|---|
| Reading 132 tokens | 198 tok/s | 132 to 264 tok/s |
| Reading 512 tokens | does not fit: the context is 512 tokens |  |
| Writing 64 tokens behind 132 | stopped before |  |`,
  );
  assert.equal(reports.speedFileName(report), 'kinglet-speed A_B Q4_1 cpu.json');
  assert.deepEqual([9.34, 99.94, 100.4, 1234.5].map(reports.speedOf), [
    '9.3 tok/s',
    '99.9 tok/s',
    '100 tok/s',
    '1,235 tok/s',
  ]);
});
