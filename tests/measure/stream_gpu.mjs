// How evenly and how fast tokens come from the GPU in a browser, with runs of steps that the device takes by itself and without (a bias
// of one token, which the CPU has to add, makes every token waited for). On a quiet machine:
//
//     node tests/measure/stream_gpu.mjs --model FILE.gguf [--browser firefox | chromium] [--tokens 64] [--rounds 5]
//
// Prints for each way the medians of tokens per second by the page's clock, and of the longest time between two tokens; and what the kernels of
// a step take by themselves (in one more answer, whose dispatches are measured one by one). Firefox runs on
// the Vulkan driver that VK_DRIVER_FILES names, Chromium on SwiftShader.
import { readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openKingletPage, openKingletSite } from '../e2e/kinglet_page.mjs';
import { openBrowser } from '../e2e/webdriver.mjs';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    browser: { type: 'string', default: 'firefox' },
    tokens: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '5' },
  },
});
const model = resolve(options.model);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const CAPABILITIES = JSON.parse(readFileSync(fileURLToPath(new URL('../../webdriver.json', import.meta.url)), 'utf8'));

/** In the page: times at which tokens came, of each round of each way. */
async function measure({ url, tokens, rounds }) {
  const engine = await Kinglet.load(url, { device: 'webgpu' });
  const prompt = Array.from({ length: 8 }, (_, i) => (10 + 37 * i) % engine.info.vocabularySize);
  const ways = { 'runs of steps': {}, 'token by token': { logit_bias: { 5: -1 } } };
  const found = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, params] of Object.entries(ways)) {
      const times = [];
      const call = { prompt, max_tokens: tokens, temperature: 0, ignore_eos: true, cache_prompt: false, stream: true };
      for await (const chunk of await engine.completions.create({ ...call, ...params })) {
        const n = chunk.choices[0]?.token_ids?.length ?? 0;
        for (let i = 0; i < n; i++) times.push(performance.now());
      }
      if (round > 0) found[name].push(times);
    }
  }
  // What the kernels of a token take by themselves, where the device has timestamps.
  await engine.debug.profile(true);
  await engine.completions.create({ prompt, max_tokens: tokens, temperature: 0, ignore_eos: true, cache_prompt: false });
  const profile = await engine.debug.profile(false);
  const { device } = engine.info;
  await engine.close();
  return { found, profile, adapter: device.adapter, features: device.features };
}

const call = { url: `/models/${basename(model)}`, tokens: Number(options.tokens), rounds: Number(options.rounds) };
let result;
if (options.browser === 'firefox') {
  const site = await openKingletSite(dirname(model));
  const session = await openBrowser('firefox', { preferences: CAPABILITIES['moz:firefoxOptions'].prefs });
  try {
    await session.goTo(`${site.url}/`, 'Kinglet');
    result = await session.run(measure, call);
  } finally {
    await session.close();
    await site.close();
  }
} else {
  const flags = CAPABILITIES['goog:chromeOptions'].args.filter((flag) => /webgpu|Vulkan/.test(flag));
  const { page, close } = await openKingletPage(dirname(model), { args: flags });
  try {
    result = await page.evaluate(measure, call);
  } finally {
    await close();
  }
}
console.log(`${basename(model)}, ${options.browser}: ${result.adapter}; ${result.features?.join(', ')}`);
console.table(
  Object.entries(result.found).map(([way, rounds]) => ({
    way,
    'tokens per second': Number(median(rounds.map((t) => (1000 * (t.length - 1)) / (t.at(-1) - t[0]))).toFixed(1)),
    'ms per token': Number(median(rounds.map((t) => (t.at(-1) - t[0]) / (t.length - 1))).toFixed(2)),
    'longest gap, ms': Math.round(median(rounds.map((t) => Math.max(...t.slice(1).map((time, i) => time - t[i]))))),
  })),
);
const { kinds = [], steps = 0 } = result.profile ?? {};
const kernelsMs = kinds.reduce((sum, { ms }) => sum + ms, 0) / steps;
console.log(steps > 0 ? `kernels alone, by timestamps: ${kernelsMs.toFixed(2)} ms a step` : 'no timestamps');
