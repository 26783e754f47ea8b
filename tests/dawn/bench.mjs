// Measures a model on a GPU without a browser: the built npm package in Node.js, WebGPU by Dawn on whatever Vulkan finds
// (VK_DRIVER_FILES names a driver). Speeds are by the engine's own clock, as in the browser's bench. Run by
// `./build.sh bench --dawn [--model FILE.gguf] [--prompt TOKENS] [--decode TOKENS] [--runs N] [--json]`, on a quiet machine.
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { likeABrowser } from './scope.mjs';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    prompt: { type: 'string', default: '132' },
    decode: { type: 'string', default: '64' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});
const number = (name) => {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`--${name} ${values[name]}: a whole number from 1 on`);
  return value;
};
const [promptTokens, decodeTokens, runs] = ['prompt', 'decode', 'runs'].map(number);
const models = process.env.KINGLET_MODELS ?? fileURLToPath(new URL('../../.cache/models', import.meta.url));
const model = values.model ?? `${models}/SmolLM2-135M-Instruct.Q4_1.gguf`;

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const perSecond = (n, ms) => Number(((1000 * n) / ms).toFixed(2));

/** One load, then the same call `runs` times after one that warms up. */
async function measure() {
  const { Kinglet } = await import('../../www/pkg/dist/index.js');
  const started = performance.now();
  const engine = await Kinglet.load(pathToFileURL(model), { device: 'webgpu' });
  const loadMs = Math.round(performance.now() - started);
  const { device, name, quantization, vocabularySize } = engine.info;
  const prompt = Array.from({ length: promptTokens }, (_, i) => (1000 + 37 * i) % vocabularySize);
  const request = { prompt, max_tokens: decodeTokens, temperature: 0, ignore_eos: true, cache_prompt: false };
  const timings = [];
  for (let run = 0; run <= runs; run++) {
    const answer = await engine.completions.create(request);
    if (run > 0) timings.push(answer.timings);
  }
  await engine.debug.profile(true);
  await engine.completions.create(request);
  const profile = await engine.debug.profile(false);
  await engine.close();
  return {
    model: `${name} ${quantization}`,
    adapter: device.adapter,
    device: device.reason,
    node: process.version,
    promptTokens,
    decodeTokens,
    runs,
    loadMs,
    prefillPerSecond: median(timings.map((t) => perSecond(t.prompt_n, t.prompt_ms))),
    decodePerSecond: median(timings.map((t) => perSecond(t.predicted_n, t.predicted_ms))),
    profile,
  };
}

/** What kinds of dispatches take, most first: of reading the prompt and of all tokens together. */
function printProfile(profile) {
  if (profile === undefined) return console.log('this GPU has no timestamps');
  const { kinds, stepsMs, steps } = profile;
  const row = ({ kind, count, ms }) => ({ kind, dispatches: count, ms: Number(ms.toFixed(2)), 'µs each': Number(((1000 * ms) / count).toFixed(2)) });
  const between = stepsMs - kinds.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`where the GPU's time goes in ${steps} steps, by its timestamps; between dispatches, each in a pass of its own: ${between.toFixed(1)} ms`);
  console.table(kinds.map(row));
}

likeABrowser();
const result = await measure();
if (values.json) {
  console.log(JSON.stringify(result));
} else {
  console.log(`${result.model} on ${result.device}; Node.js ${result.node}, Dawn`);
  console.log(`${promptTokens} prompt tokens, ${decodeTokens} generated; medians of ${runs} calls after one that warms up`);
  const { loadMs, prefillPerSecond, decodePerSecond } = result;
  console.table([{ 'load ms': loadMs, 'prefill tok/s': prefillPerSecond, 'decode tok/s': decodePerSecond }]);
  printProfile(result.profile);
}
// Dawn keeps looking for finished work, so that Node.js would not end by itself.
process.exit();
