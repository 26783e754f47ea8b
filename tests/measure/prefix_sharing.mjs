// What sharing the common beginning of an item's choices saves, in Chromium through the public API: items per second of ARC-Easy
//
//     node tests/measure/prefix_sharing.mjs <model.gguf> <arc_easy.jsonl> [n_items = 100] [rounds = 3] [--device cpu] [--threads N]
//
// by `engine.score` with the choices of an item together (as kinglet/eval does), by `engine.score` with one call for each choice, and by `completions`
// with `echo` and no new tokens, which is how a prompt was scored before. In turn, medians of the rounds. Fails where one call for each
// choice chooses otherwise than together; `echo` may, in near ties: on the CPU its activations are coarser.
import { readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { openKingletPage } from '../e2e/kinglet_page.mjs';

const GOAL = 2.5;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { device: { type: 'string', default: 'cpu' }, threads: { type: 'string' } },
});
const [model, file, n_items = '100', rounds = '3'] = positionals;
if (!file) throw new Error('usage: prefix_sharing.mjs <model.gguf> <arc_easy.jsonl> [n_items] [rounds]');

const { page, close } = await openKingletPage(dirname(resolve(model)));
page.setDefaultTimeout(0);
try {
  const info = await page.evaluate(load, [
    `/models/${basename(model)}`,
    values.device,
    Number(values.threads ?? 0),
    readFileSync(file, 'utf8'),
    Number(n_items),
  ]);
  console.log(`${info.name} ${info.quantization}, ${info.build}; ${info.device.reason}`);
  const seconds = { together: [], alone: [], echo: [] };
  let first;
  for (let round = 0; round < Number(rounds); round++) {
    for (const way of Object.keys(seconds)) {
      const { choices, ms } = await page.evaluate(run, way);
      seconds[way].push(ms / 1000);
      first ??= choices;
      const n_other = choices.filter((choice, i) => choice !== first[i]).length;
      console.log(`round ${round + 1}, ${way}: ${(ms / 1000).toFixed(2)} s, ${n_other} other choices`);
      if (n_other > 0 && way !== 'echo') process.exitCode = 1;
    }
  }
  const speed = (way) => Number(n_items) / median(seconds[way]);
  console.log(`\n| ${n_items} items | items/s | together is faster |\n|---|---|---|`);
  for (const way of Object.keys(seconds))
    console.log(`| ${way} | ${speed(way).toFixed(2)} | ${(speed('together') / speed(way)).toFixed(2)} × |`);
  const gain = speed('together') / Math.max(speed('alone'), speed('echo'));
  console.log(`against the faster of the ways without it: ${gain.toFixed(2)} × (goal ${GOAL} ×)`);
} finally {
  await close();
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** In the page. */
async function load([url, device, threads, text, limit]) {
  const { readBenchmark } = await import('/kinglet/eval/index.js');
  globalThis.engine = await Kinglet.load(url, threads ? { device, threads } : { device });
  globalThis.items = readBenchmark(text, { name: 'arc_easy' })
    .items.slice(0, limit)
    .map(({ requests }) => requests);
  // How many tokens of an echoed prompt are the continuation's.
  globalThis.counts = (await engine.score(items)).map((scores) => scores.map(({ token_ids }) => token_ids.length));
  return engine.info;
}

/** In the page. */
async function run(way) {
  const argmax = (numbers) => numbers.reduce((best, x, i) => (x > numbers[best] ? i : best), 0);
  const ways = {
    async together() {
      const scores = await engine.score(items);
      return scores.map((item) => item.map(({ logprob }) => logprob));
    },
    async alone() {
      const all = [];
      for (const item of items) {
        const logprobs = [];
        for (const request of item) logprobs.push((await engine.score([[request]]))[0][0].logprob);
        all.push(logprobs);
      }
      return all;
    },
    async echo() {
      const all = [];
      for (const [i, item] of items.entries()) {
        const logprobs = [];
        for (const [k, { context, continuation }] of item.entries()) {
          const prompt = context + continuation;
          const call = { prompt, echo: true, max_tokens: 0, logprobs: 0, cache_prompt: false };
          const { choices } = await engine.completions.create(call);
          const tokens = choices[0].logprobs.token_logprobs.slice(-counts[i][k]);
          logprobs.push(tokens.reduce((sum, x) => sum + x, 0));
        }
        all.push(logprobs);
      }
      return all;
    },
  };
  const started = performance.now();
  const logprobs = await ways[way]();
  return { ms: performance.now() - started, choices: logprobs.map(argmax) };
}
