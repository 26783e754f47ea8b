// Loads models and decodes some tokens in Chromium: how long it takes, and how much memory at most, by kind of process.
//
//     node tests/measure/shapes.mjs <folder> <cpu | webgpu> <name.gguf> [n_tokens] [context_tokens]
//
// With models of published shapes and random weights (random_models.py). On the CPU the weights are in the renderer, once; with
// WebGPU they are in the GPU's process, and the renderer has none of them.
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { SOFTWARE_GPU } from '../e2e/browser.mjs';
import { openKingletPage } from '../e2e/kinglet_page.mjs';
import { peakOf } from '../e2e/memory.mjs';

const [folder, device, name, n = '16', contextLength = '2048'] = process.argv.slice(2);
if (!name) throw new Error('usage: shapes.mjs <folder> <cpu | webgpu> <name.gguf> [n_tokens] [context_tokens]');

const PROMPT = 'A small bird sings at the edge of the wood, and nobody knows why it is so loud.';
const opened = await openKingletPage(resolve(folder), { args: device === 'webgpu' ? SOFTWARE_GPU : [] });
try {
  const { value, peak } = await peakOf(() =>
    opened.page.evaluate(
      async ([url, device, prompt, n, contextLength]) => {
        const startMs = performance.now();
        const engine = await Kinglet.load(url, { device, contextLength });
        const loadMs = performance.now() - startMs;
        const params = { prompt, max_tokens: n, temperature: 0, ignore_eos: true };
        const { choices, timings } = await engine.completions.create(params);
        return { loadMs, token_ids: choices[0].token_ids, timings, info: engine.info };
      },
      [`/models/${name}`, device, PROMPT, Number(n), Number(contextLength)],
    ),
  );
  const { info, timings } = value;
  const fileMib = statSync(resolve(folder, name)).size / 2 ** 20;
  const mib = (bytes) => (bytes / 2 ** 20).toFixed(0);
  console.log(
    `${name}: ${fileMib.toFixed(0)} MiB, ${info.architecture}, ${info.parameters} weights, ${info.quantization}, ${info.device.kind}`,
  );
  console.log(
    `  loaded in ${(value.loadMs / 1000).toFixed(1)} s; ${timings.prompt_n} tokens of prompt at ${((1000 * timings.prompt_n) / timings.prompt_ms).toFixed(1)} tok/s, ${timings.predicted_n} decoded at ${((1000 * timings.predicted_n) / timings.predicted_ms).toFixed(2)} tok/s`,
  );
  console.log(
    `  said by info.memory: ${Object.entries(info.memory)
      .map(([key, bytes]) => `${key} ${mib(bytes)} MiB`)
      .join(', ')}`,
  );
  console.log(
    `  most memory beyond the empty page: ${Object.entries(peak)
      .filter(([, m]) => m > 5)
      .map(([kind, m]) => `${kind} ${m.toFixed(0)} MiB`)
      .join(', ')}`,
  );
  console.log(`  tokens ${value.token_ids.join(' ')}`);
} finally {
  await opened.close();
}
