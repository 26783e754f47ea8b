// What a visitor waits for: the default model (or another) in a fresh Chromium, from `Kinglet.load` to ready, then the first token of a
// prompt of 20 tokens, then the next 32; a second time in the same page, when the code is compiled. On a quiet machine:
//
//     node tests/measure/cold_start.mjs [options]
//
//     --dist www/pkg/dist    built packages, separated by commas: each round takes them in turn, so that two builds can be compared
//     --model FILE   --rounds 7   --threads N (by default the package chooses)   --mib-per-second N (of the download; by default as it comes)
//     --no-isolation     a page that is not cross-origin isolated: one thread
//
// Prints medians. The clock is the page's; `prompt` is the engine's own time to the first token.
import { basename, dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from '../e2e/browser.mjs';
import { openSite, sendSlowly } from '../e2e/site.mjs';

const { values: options } = parseArgs({
  options: {
    dist: { type: 'string', default: 'www/pkg/dist' },
    model: { type: 'string', default: '.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf' },
    rounds: { type: 'string', default: '7' },
    threads: { type: 'string' },
    'mib-per-second': { type: 'string' },
    'no-isolation': { type: 'boolean', default: false },
  },
});
const dists = options.dist.split(',').map((path) => resolve(path));
const model = resolve(options.model);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Runs in the page. */
async function measure({ model, threads }) {
  const { Kinglet } = await import('/kinglet/index.js');
  const marks = [performance.now()];
  const engine = await Kinglet.load(model, { device: 'cpu', ...(threads && { threads }) });
  marks.push(performance.now());
  const found = { load: marks[1] - marks[0], ...(await generate('')), ...(await generate(' again')) };
  const { reason } = engine.info.device;
  await engine.close();
  return { found, reason };

  async function generate(name) {
    const prompt = Array.from({ length: 20 }, (_, i) => 1000 + 37 * i);
    const startMs = performance.now();
    let firstMs;
    const more = { max_tokens: 33, temperature: 0, ignore_eos: true, cache_prompt: false, stream: true };
    let timings;
    const stream = await engine.completions.create({ prompt, ...more, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
      firstMs ??= performance.now() - startMs;
      timings = chunk.timings ?? timings;
    }
    return {
      [`first${name}`]: firstMs,
      [`prompt${name}`]: timings?.prompt_ms,
      [`next 32${name}`]: timings?.predicted_ms,
    };
  }
}

async function oneStart(dist) {
  const site = await openSite({
    mounts: { '/kinglet/': `${dist}/`, '/models/': `${dirname(model)}/` },
    isolated: !options['no-isolation'],
  });
  site.answers.set('/', (response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>cold start</title>'),
  );
  const mibPerSecond = options['mib-per-second'];
  if (mibPerSecond) site.answers.set(basename(model), sendSlowly(Number(mibPerSecond)));
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.goto(`${site.url}/`);
    const threads = options.threads && Number(options.threads);
    return await page.evaluate(measure, { model: `/models/${basename(model)}`, threads });
  } finally {
    await browser.close();
    await site.close();
  }
}

const results = dists.map(() => []);
let reason;
for (let round = 0; round < Number(options.rounds); round++)
  for (const [i, dist] of dists.entries()) {
    const start = await oneStart(dist);
    results[i].push(start.found);
    ({ reason } = start);
  }
console.log(`${basename(model)}: ${reason}; medians of ${options.rounds} fresh browsers, milliseconds`);
const columns = Object.keys(results[0][0]);
const row = (starts) => columns.map((name) => [name, Number(median(starts.map((start) => start[name])).toFixed(0))]);
console.table(Object.fromEntries(dists.map((dist, i) => [dist, Object.fromEntries(row(results[i]))])));
