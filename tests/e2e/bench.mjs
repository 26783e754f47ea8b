// Measures the default model in headless Chromium, through the public API: time to load, prefill and decode speed by the
// engine's own clock, for each number of threads. Prints a table of medians. Run by `./build.sh bench`, on a quiet machine.
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { launch } from './browser.mjs';

const RUNS = 5;
const PROMPT_TOKENS = 132;
const DECODE_TOKENS = 64;

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** In the page: one load, then the same call RUNS times after one that warms up. */
async function measure({ threads, runs, promptTokens, decodeTokens }) {
  const { Kinglet } = await import('./kinglet/index.js');
  const started = performance.now();
  const engine = await Kinglet.load('models/SmolLM2-135M-Instruct.Q4_1.gguf', { threads, device: 'cpu' });
  const loadMs = performance.now() - started;
  const prompt = Array.from({ length: promptTokens }, (_, i) => 1000 + 37 * i);
  const timings = [];
  for (let run = 0; run <= runs; run++) {
    const answer = await engine.completions.create({
      prompt,
      max_tokens: decodeTokens,
      temperature: 0,
      ignore_eos: true,
      cache_prompt: false,
    });
    if (run > 0) timings.push(answer.timings);
  }
  const { device } = engine.info;
  await engine.close();
  return { loadMs, device, timings };
}

async function row(page, threads) {
  const options = { threads, runs: RUNS, promptTokens: PROMPT_TOKENS, decodeTokens: DECODE_TOKENS };
  const { loadMs, device, timings } = await page.evaluate(measure, options);
  return {
    threads: device.threads,
    simd: device.simd,
    'load ms': Math.round(loadMs),
    'prefill tok/s': Number(median(timings.map((t) => (1000 * t.prompt_n) / t.prompt_ms)).toFixed(1)),
    'decode tok/s': Number(median(timings.map((t) => (1000 * t.predicted_n) / t.predicted_ms)).toFixed(1)),
  };
}

const models = process.env.KINGLET_MODELS ?? folder('.cache/models');
const site = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': models }, port: 0 });
const browser = await launch();
try {
  const page = await browser.newPage();
  await page.goto(site.url);
  const rows = [];
  for (const threads of [1, 2, 4, 8].filter((n) => n <= availableParallelism())) rows.push(await row(page, threads));
  console.log(
    `Chromium ${browser.version()}, ${cpus()[0]?.model}; ${PROMPT_TOKENS} prompt tokens, ${DECODE_TOKENS} generated`,
  );
  console.log(`medians of ${RUNS} calls after one that warms up`);
  console.table(rows);
} finally {
  await browser.close();
  await site.close();
}
