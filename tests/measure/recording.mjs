// What a token of the GPU costs the worker before the GPU has anything to do with it: from the beginning of a list of commands to the end of
// its submission, in Chromium on SwiftShader through the built package, and how many dispatches that records. Nothing that is waited for
// is in it. On a quiet machine:
//
//     node tests/measure/recording.mjs [--model FILE.gguf] [--tokens 48] [--rounds 3]
//
// `cargo run --release --example record` measures the same natively.
import { basename, dirname } from 'node:path';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openKingletPage } from '../e2e/kinglet_page.mjs';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    tokens: { type: 'string', default: '48' },
    rounds: { type: 'string', default: '3' },
  },
});
const models = process.env.KINGLET_MODELS ?? fileURLToPath(new URL('../../.cache/models', import.meta.url));
const model = options.model ?? `${models}/SmolLM2-135M-Instruct.Q4_1.gguf`;
const CAPABILITIES = JSON.parse(readFileSync(fileURLToPath(new URL('../../webdriver.json', import.meta.url)), 'utf8'));

/** In front of the worker's script: notes for each submission how long it took to record and how many dispatches it has. */
const WATCH = `
globalThis.recorded = [];
{
  let since, dispatches = 0;
  const around = (type, name, before, after) => {
    const plain = type.prototype[name];
    type.prototype[name] = function (...given) {
      before?.();
      const result = plain.apply(this, given);
      after?.();
      return result;
    };
  };
  around(GPUDevice, 'createCommandEncoder', () => {
    since = performance.now();
    dispatches = 0;
  });
  around(GPUComputePassEncoder, 'dispatchWorkgroups', () => dispatches++);
  // Submissions of nothing, which make a browser look at the GPU, record nothing.
  around(GPUQueue, 'submit', undefined, () => {
    if (since !== undefined) globalThis.recorded.push([performance.now() - since, dispatches]);
    since = undefined;
  });
}
`;

/** In the page: how many tokens each call gave. */
async function generate({ url, tokens, rounds }) {
  globalThis.engine ??= await Kinglet.load(url, { device: 'webgpu', speculation: 'off' });
  const prompt = Array.from({ length: 8 }, (_, i) => (10 + 37 * i) % engine.info.vocabularySize);
  for (let round = 0; round < rounds; round++) {
    await engine.completions.create({ prompt, max_tokens: tokens, temperature: 0, ignore_eos: true, cache_prompt: false });
  }
  return engine.info.device.adapter;
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const flags = CAPABILITIES['goog:chromeOptions'].args.filter((flag) => /webgpu|Vulkan/.test(flag));
const { page, close } = await openKingletPage(dirname(model), { args: flags });
try {
  await page.route(/worker[^/]*\.js$/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: WATCH + (await response.text()) });
  });
  const call = { url: `/models/${basename(model)}`, tokens: Number(options.tokens), rounds: 1 };
  const adapter = await page.evaluate(generate, call);
  const ofWorkers = (what) => Promise.all(page.workers().map((worker) => worker.evaluate(what)));
  await ofWorkers(() => {
    globalThis.recorded.length = 0;
  });
  await page.evaluate(generate, { ...call, rounds: Number(options.rounds) });
  const recorded = (await ofWorkers(() => globalThis.recorded)).flat();
  // A step of one token is the most frequent length, and a run of steps a multiple of it: nearly, for the first looks its token up.
  const step = median(recorded.map(([, n]) => n).filter((n) => n > 0));
  const tokens = recorded.filter(([, n]) => n >= step).map(([ms, n]) => ms / Math.round(n / step));
  console.log(`${basename(model)}, ${adapter}: ${recorded.length} submissions, ${step} dispatches in most`);
  console.table([{ 'ms per token recorded and submitted, median': Number(median(tokens).toFixed(3)), longest: Number(Math.max(...tokens).toFixed(3)) }]);
} finally {
  await close();
}
