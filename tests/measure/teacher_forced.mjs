// How near the package's log-probabilities are, in Chromium, to those of HF transformers' f32 model on the continuations of
// tests/golden/teacher_forced.json, and whether it continues three prompts with the same tokens:
//
//     node tests/measure/teacher_forced.mjs <SmolLM2-135M-Instruct.Q4_1.gguf> [webgpu | cpu] [n_prompts]
//
// Fails where the mean difference is over the bound, or where another token is best, or chosen, although the reference's two best
// logits are clearly apart. tests/tools/teacher_forced.rs is the same natively.
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

const same = await greedy();
console.log(`${((performance.now() - started) / 1000).toFixed(0)} s`);
if (!(mean <= MEAN_DIFFERENCE[device] || prompts.length === 0) || judgement.wrong.length > 0 || !same) process.exitCode = 1;

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

/** Whether the first prompts go on with the reference's tokens, up to where its two best logits are not clearly apart. */
async function greedy() {
  const scorer = await openScorer(resolve(model), { device });
  let same = true;
  try {
    for (const { prompt, tokens, logits } of golden.prompts.slice(0, GREEDY_PROMPTS)) {
      const { text, ids, timings } = await scorer.complete(prompt, GREEDY_TOKENS);
      const speed = ((1000 * timings.predicted_n) / timings.predicted_ms).toFixed(2);
      console.log(`${device}: ${speed} tok/s: ${JSON.stringify(text)}`);
      const at = ids.findIndex((id, i) => id !== tokens[i]);
      if (at < 0) {
        console.log(`  all ${ids.length} tokens are the reference's`);
        continue;
      }
      const gap = logits[at][0] - logits[at][1];
      console.log(`  ${at} tokens are the reference's; at the next its two best logits are ${gap.toFixed(3)} apart`);
      same &&= gap < CLEAR_GAP;
    }
  } finally {
    await scorer.close();
  }
  return same;
}
