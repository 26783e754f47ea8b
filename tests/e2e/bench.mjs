// Measures a model in headless Chromium, through the public API: time to load, prefill and decode speed by the engine's own clock,
// for each number of threads. Prints a table of medians. Run by `./build.sh bench`, on a quiet machine.
//
//     bench.mjs [--model FILE] [--threads 1,2] [--prompt 132,512] [--depth 132,2000] [--decode 64] [--runs 5]
//               [--wasm simd | relaxed] [--kv f16 | q8_0 | f32] [--json]
//
// --prompt: tokens of the prompts whose prefill is timed; --depth: tokens behind which --decode tokens are decoded. Each run does
// all of them in turn, after one that warms up. Speculation is off. Then it says where the time of a decoded token goes, with most
// threads. --json prints every value instead.
import { availableParallelism, cpus } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { serve } from '../../www/demo/serve.mjs';
import { launch } from './browser.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const defaultModel = () => `${process.env.KINGLET_MODELS ?? folder('.cache/models')}/SmolLM2-135M-Instruct.Q4_1.gguf`;
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const numbers = (text) => text.split(',').map(Number);

/** In the page: one load, then all cases in turn, `runs` times after one that warms up. */
async function measure({ model, threads, wasmUrl, kvType, cases, runs }) {
  const { Kinglet } = await import('./kinglet/index.js');
  const contextLength = Math.max(...cases.map(({ promptTokens, decodeTokens }) => promptTokens + decodeTokens + 1));
  const started = performance.now();
  const engine = await Kinglet.load(model, { threads, device: 'cpu', kvType, contextLength, wasmUrl, speculation: 'off' });
  const loadMs = performance.now() - started;
  const complete = async ({ promptTokens, decodeTokens }) => {
    const answer = await engine.completions.create({
      prompt: Array.from({ length: promptTokens }, (_, t) => 1000 + ((37 * t) % 20_000)),
      max_tokens: decodeTokens + 1,
      temperature: 0,
      ignore_eos: true,
      cache_prompt: false,
    });
    return answer.timings;
  };
  const timings = cases.map(() => []);
  for (let run = 0; run <= runs; run++) {
    for (const [i, one] of cases.entries()) {
      const timing = await complete(one);
      if (run > 0) timings[i].push(timing);
    }
  }
  await engine.debug.profile(true);
  const decodeTokens = Math.min(64, contextLength - 2);
  await complete({ promptTokens: 1, decodeTokens });
  const profile = await engine.debug.profile(false);
  const { device, memory } = engine.info;
  await engine.close();
  return { loadMs, device, memory, timings, profile };
}

/** What to time: prefill alone where nothing is decoded. */
function casesOf({ prompt, depth, decode }) {
  const depths = numbers(depth);
  const prefills = numbers(prompt).filter((n) => !depths.includes(n));
  const cases = prefills.map((n) => ({ name: `prefill ${n}`, promptTokens: n, decodeTokens: 0 }));
  for (const n of depths) cases.push({ name: `decode at ${n}`, promptTokens: n, decodeTokens: Number(decode) });
  return cases;
}

/** Speeds of a case in tokens per second, of every run. */
function speeds({ name, promptTokens, decodeTokens }, timings, wanted) {
  const decode = timings.map((t) => (1000 * t.predicted_n) / t.predicted_ms);
  const prefill = timings.map((t) => (1000 * t.prompt_n) / t.prompt_ms);
  const found = {};
  if (decodeTokens > 0) found[name] = decode;
  if (wanted.includes(promptTokens)) found[`prefill ${promptTokens}`] = prefill;
  return found;
}

/** Where the time of a step goes, most first. */
function printProfile({ wallMs, stepsMs, steps, kinds, barriers, barrierWaitMs, othersWaitMs, threads, flavour }) {
  const row = (what, ms, count) => ({
    what,
    'µs a token': Number(((1000 * ms) / steps).toFixed(1)),
    share: `${((100 * ms) / wallMs).toFixed(1)} %`,
    'times a token': Number((count / steps).toFixed(1)),
  });
  const rows = kinds.map(({ kind, ms, count }) => row(kind, ms, count));
  rows.push(row('waiting at barriers, thread 0', barrierWaitMs, barriers));
  rows.push(row('sampling, text, JavaScript', wallMs - stepsMs, steps));
  console.log(`where a token's time goes: ${threads} threads, kernels ${flavour}, others wait ${othersWaitMs.toFixed(1)} ms in all`);
  console.table(rows);
}

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: defaultModel() },
    threads: { type: 'string', default: [1, 2, 4, 8].filter((n) => n <= availableParallelism()).join(',') },
    prompt: { type: 'string', default: '132,512' },
    depth: { type: 'string', default: '132,2000' },
    decode: { type: 'string', default: '64' },
    runs: { type: 'string', default: '5' },
    wasm: { type: 'string' },
    kv: { type: 'string', default: 'f16' },
    json: { type: 'boolean', default: false },
  },
});

const model = resolve(options.model);
const cases = casesOf(options);
const site = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': dirname(model) }, port: 0 });
const browser = await launch();
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(site.url);
  const about = `Chromium ${browser.version()}, ${cpus()[0]?.model}, ${basename(model)}, kvType ${options.kv}`;
  if (!options.json) console.log(`${about}; medians of ${options.runs} runs in tok/s after one that warms up`);
  const rows = [];
  let last;
  for (const threads of numbers(options.threads)) {
    const wasmUrl = options.wasm && new URL(`kinglet/kinglet_${options.wasm}.wasm`, site.url).href;
    const call = { model: `models/${basename(model)}`, threads, wasmUrl, kvType: options.kv, cases, runs: Number(options.runs) };
    const { loadMs, device, memory, timings, profile } = await page.evaluate(measure, call);
    last = profile;
    const found = Object.assign({}, ...cases.map((one, i) => speeds(one, timings[i], numbers(options.prompt))));
    if (options.json) console.log(JSON.stringify({ about, threads, device, memory, loadMs, ...found, profile }));
    const medians = Object.entries(found).map(([name, values]) => [name, Number(median(values).toFixed(1))]);
    rows.push({ threads: device.threads, simd: device.simd, 'load ms': Math.round(loadMs), ...Object.fromEntries(medians) });
  }
  if (!options.json) console.table(rows);
  if (!options.json) printProfile(last);
} finally {
  await browser.close();
  await site.close();
}
