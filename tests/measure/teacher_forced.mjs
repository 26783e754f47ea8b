// How near the package's log-probabilities are, in Chromium, to those of HF transformers' f32 model on the continuations of
// tests/golden/teacher_forced.json, and whether it continues three prompts as on the CPU:
//
//     node tests/measure/teacher_forced.mjs <SmolLM2-135M-Instruct.Q4_1.gguf> [webgpu | cpu] [n_prompts]
//
// Fails where the mean difference is over the bound, or where another token is best although the reference's two best logits are
// clearly apart. tests/tools/teacher_forced.rs is the same natively.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { openScorer } from './scoring.mjs';

/** The GPU keeps f32 activations; the CPU rounds them to int8. */
const MEAN_DIFFERENCE = { webgpu: 0.03, cpu: 0.05 };
const CLEAR_GAP = 0.3;
const GREEDY_PROMPTS = 3;
const GREEDY_TOKENS = 32;

const [model, device = 'webgpu', count = '24'] = process.argv.slice(2);
if (!model || !(device in MEAN_DIFFERENCE))
  throw new Error('usage: teacher_forced.mjs <model.gguf> [webgpu | cpu] [n_prompts]');
const golden = JSON.parse(readFileSync(new URL('../golden/teacher_forced.json', import.meta.url)));
const prompts = golden.prompts.slice(0, Number(count));

const started = performance.now();
const scorer = await openScorer(resolve(model), { device });
const judgement = { positions: 0, clear: 0, sum: 0, largest: 0, otherBest: 0, wrong: [] };
try {
  console.log(scorer.info.name, scorer.info.quantization, scorer.info.device);
  for (const [index, prompt] of prompts.entries()) await follow(index, prompt);
} finally {
  await scorer.close();
}
const mean = judgement.sum / judgement.positions;
console.log(
  `${device}: mean |Δ log p| ${mean.toFixed(5)}, largest ${judgement.largest.toFixed(4)}, of ${judgement.positions} positions`,
);
console.log(
  `  another best token at ${judgement.otherBest} positions, at ${judgement.wrong.length} of the ${judgement.clear} clear ones`,
);
for (const wrong of judgement.wrong) console.log(`  ${wrong}`);

const texts = {};
for (const where of new Set([device, 'cpu'])) texts[where] = await greedy(where);
let same = true;
for (const [i, text] of texts[device].entries()) {
  if (text === texts.cpu[i]) continue;
  same = false;
  console.log(`prompt ${i}: ${JSON.stringify(text)}\n      cpu: ${JSON.stringify(texts.cpu[i])}`);
}
console.log(same ? `${GREEDY_PROMPTS} greedy texts as on the CPU` : 'greedy texts differ');
console.log(`${((performance.now() - started) / 1000).toFixed(0)} s`);
if (!(mean <= MEAN_DIFFERENCE[device]) || judgement.wrong.length > 0 || !same) process.exitCode = 1;

async function follow(index, { prompt, tokens, logprob, best, logits }) {
  const scored = await scorer.scoreWithBest([...prompt, ...tokens]);
  const names = await scorer.texts(best.map(([first]) => first));
  for (let i = 0; i < tokens.length; i++) {
    const at = prompt.length + i;
    const difference = Math.abs(logprob[i] - scored.logprobs[at]);
    const [ours] = Object.entries(scored.best[at]).sort(([, a], [, b]) => b - a)[0];
    const gap = logits[i][0] - logits[i][1];
    judgement.positions += 1;
    judgement.sum += difference;
    judgement.largest = Math.max(judgement.largest, difference);
    judgement.clear += gap >= CLEAR_GAP;
    if (ours === names[i]) continue;
    judgement.otherBest += 1;
    if (gap >= CLEAR_GAP) judgement.wrong.push(`prompt ${index}, token ${i}: the two best logits are ${gap.toFixed(3)} apart`);
  }
}

/** The continuations of the first prompts. */
async function greedy(where) {
  const scorer = await openScorer(resolve(model), { device: where });
  try {
    const texts = [];
    for (const { prompt } of golden.prompts.slice(0, GREEDY_PROMPTS)) {
      const { text, timings } = await scorer.complete(prompt, GREEDY_TOKENS);
      console.log(`${where}: ${((1000 * timings.predicted_n) / timings.predicted_ms).toFixed(2)} tok/s: ${JSON.stringify(text)}`);
      texts.push(text);
    }
    return texts;
  } finally {
    await scorer.close();
  }
}
