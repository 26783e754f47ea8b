// Benchmarks through `kinglet/eval` in Chromium against HF transformers' f32 model on the same weights:
//
//     node tests/measure/benchmarks.mjs <model.gguf> <folder of the benchmarks' files> <folder of hf_*.json> [name …] [--device cpu] [--threads N]
//         [--limit N] [--reports FOLDER]
//
// with files of tests/measure/make_benchmarks.py, to which tests/measure/llama_benchmarks.py may have added llama.cpp's own figures. Fails where a text to score differs, where fewer than 98 % of the choices are the same, or where an
// accuracy differs by more than a point. Writes the reports, as the page exports them, to a folder of choice.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { openKingletPage } from '../e2e/kinglet_page.mjs';

const LEAST_SAME = 0.98;
const MOST_APART = 0.01;
const FILES = {
  arc_easy: { file: 'arc_easy.jsonl' },
  arc_challenge: { file: 'arc_challenge.jsonl' },
  wsc273: { file: 'WSCollection.xml' },
  wsc273_mask: { file: 'wsc273.txt' },
  wsc273_04: { file: 'WSCollection.xml', conventions: 'lm-eval-0.4' },
  copa: { file: 'copa-test.xml' },
  copa_04: { file: 'copa-test.xml', conventions: 'lm-eval-0.4' },
  lambada: { file: 'lambada_test.jsonl' },
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string' },
    reports: { type: 'string' },
    limit: { type: 'string' },
  },
});
const [model, files, goldens, ...names] = positionals;
if (!goldens) throw new Error('usage: benchmarks.mjs <model.gguf> <folder of files> <folder of hf_*.json> [name …]');

const { page, close } = await openKingletPage(dirname(resolve(model)));
page.setDefaultTimeout(0);
let failed = false;
try {
  const info = await page.evaluate(
    async ([url, device, threads]) => {
      globalThis.evaluation = await import('/kinglet/eval/index.js');
      globalThis.engine = await Kinglet.load(url, threads ? { device, threads } : { device });
      return engine.info;
    },
    [`/models/${basename(model)}`, values.device, Number(values.threads ?? 0)],
  );
  console.log(`${info.name} ${info.quantization}, ${info.build}; ${info.device.reason}\n`);
  console.log(
    '| benchmark | items | same choice | kinglet | HF f32 | normalised: kinglet | HF | mean, largest difference of ln P | llama.cpp: same choice, right, mean difference | items/s |',
  );
  console.log('|---|---|---|---|---|---|---|---|---|---|');
  for (const name of names.length > 0 ? names : Object.keys(FILES)) {
    const golden = join(goldens, `hf_${name}.json`);
    if (existsSync(golden))
      await measure(name, JSON.parse(readFileSync(golden, 'utf8')).items.slice(0, Number(values.limit ?? Infinity)));
    else console.log(`${name}: there is no ${golden}`);
  }
} finally {
  await close();
}
if (failed) process.exitCode = 1;

async function measure(name, expected) {
  const { file, conventions } = FILES[name];
  const { report, requests } = await page.evaluate(
    async ([base64, options, limit]) => {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const benchmark = evaluation.readBenchmark(bytes, options);
      const report = await evaluation.evaluate(engine, benchmark, { limit });
      return { report, requests: benchmark.items.slice(0, limit).map((item) => item.requests) };
    },
    [
      readFileSync(join(files, file)).toString('base64'),
      conventions ? { fileName: file, conventions } : { fileName: file },
      expected.length,
    ],
  );
  if (values.reports) {
    mkdirSync(values.reports, { recursive: true });
    writeFileSync(join(values.reports, `${name}.json`), JSON.stringify(report));
  }
  if (report.items.length !== expected.length)
    throw new Error(`${name}: ${report.items.length} of ${expected.length} items`);
  tell(name, report, expected, requests);
}

function tell(name, report, expected, requests) {
  let [n_same, n_greedy, n] = [0, 0, 0];
  let [sum, largest] = [0, 0];
  const right = [];
  const rightNorm = [];
  report.items.forEach((item, i) => {
    const theirs = distinct(expected[i]);
    if (JSON.stringify(theirs.requests) !== JSON.stringify(requests[i].map((r) => [r.context, r.continuation])))
      throw new Error(
        `${name}, item ${item.id}: ${JSON.stringify(requests[i])} instead of ${JSON.stringify(theirs.requests)}`,
      );
    const choice = argmax(theirs.logprobs);
    const isRight = report.kind === 'greedy' ? theirs.greedy[0] : choice === theirs.gold;
    n_same += report.kind === 'greedy' ? item.correct === isRight : item.choice === choice;
    right.push(isRight);
    rightNorm.push(argmax(theirs.logprobs.map((x, k) => x / [...theirs.choices[k]].length)) === theirs.gold);
    item.choices.forEach(({ logprob, n_tokens }, k) => {
      if (n_tokens !== theirs.n_tokens[k])
        throw new Error(`${name}, item ${item.id}: ${n_tokens} tokens instead of ${theirs.n_tokens[k]}`);
      const apart = Math.abs(logprob - theirs.logprobs[k]);
      [sum, largest, n] = [sum + apart, Math.max(largest, apart), n + 1];
    });
  });
  const { accuracy, accuracy_norm, perplexity } = report.metrics;
  const same = n_same / report.items.length;
  const theirs = meanOf(right);
  const cells = [
    name,
    report.items.length,
    `${(100 * same).toFixed(1)} %`,
    percent(accuracy),
    percent(theirs),
    accuracy_norm ? percent(accuracy_norm) : perplexity ? `perplexity ${perplexity.value.toFixed(3)}` : '',
    accuracy_norm
      ? percent(meanOf(rightNorm))
      : perplexity
        ? Math.exp(-mean(expected.map((e) => e.logprobs[0]))).toFixed(3)
        : '',
    `${(sum / n).toFixed(4)}, ${largest.toFixed(3)}`,
    llamaCpp(expected),
    report.items_per_second.toFixed(2),
  ];
  console.log(`| ${cells.join(' | ')} |`);
  if (same < LEAST_SAME || Math.abs(accuracy.value - theirs.value) > MOST_APART) {
    console.log(`NOT OK: ${name}`);
    failed = true;
  }
}

/** llama.cpp's own figures against the same f32 run, where they are known. */
function llamaCpp(expected) {
  if (!expected[0].llama_cpp || expected[0].choices.length === 1) return '';
  const best = expected.map((item) => [argmax(item.llama_cpp), argmax(item.logprobs), item.gold]);
  const apart = expected.flatMap((item) => item.llama_cpp.map((x, k) => Math.abs(x - item.logprobs[k])));
  const same = mean(best.map(([theirs, f32]) => theirs === f32));
  return `${(100 * same).toFixed(1)} %, ${percent(meanOf(best.map(([theirs, , gold]) => theirs === gold)))}, ${mean(apart).toFixed(4)}`;
}

/** A choice that is there twice counts once, as readBenchmark has it. */
function distinct({ choices, gold, requests, logprobs, n_tokens, greedy }) {
  const kept = choices.map((_, i) => i).filter((i) => choices.indexOf(choices[i]) === i);
  const of = (list) => kept.map((i) => list[i]);
  const first = kept.indexOf(choices.indexOf(choices[gold]));
  return {
    choices: of(choices),
    gold: first,
    requests: of(requests),
    logprobs: of(logprobs),
    n_tokens: of(n_tokens),
    greedy: of(greedy),
  };
}

function argmax(numbers) {
  return numbers.reduce((best, x, i) => (x > numbers[best] ? i : best), 0);
}

function mean(numbers) {
  return numbers.reduce((total, x) => total + Number(x), 0) / numbers.length;
}

function meanOf(numbers) {
  const value = mean(numbers);
  const squares = numbers.reduce((total, x) => total + (Number(x) - value) ** 2, 0);
  return { value, stderr: Math.sqrt(squares / (numbers.length - 1) / numbers.length) };
}

function percent({ value, stderr }) {
  return `${(100 * value).toFixed(1)} ± ${(100 * stderr).toFixed(1)} %`;
}
