// What guessing tokens ahead (`speculation: 'auto'`) gains or loses with the default model in Chromium on the CPU, through the public
// API: ten fixed prompts, from answers that copy most of the prompt to free ones, each with and without in turn, greedy and sampled.
//
//     node tests/measure/speculation.mjs [--threads 2] [--rounds 5] [--prompts 0,1,2] [--sampled] [--show] [--model <file.gguf>]
//
// Prints medians of tokens per second by the engine's clock (tokens after the first), their ratio, what was guessed and was right, and
// fails where a text, a token or the end differs. One page, loaded once: what it has learned from one prompt it takes to the
// next, as in use. Run it on a quiet machine.
import { basename, dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { openKingletPage } from '../e2e/kinglet_page.mjs';
import { PROMPTS } from './speculation_prompts.mjs';

const DEFAULT_MODEL = fileURLToPath(
  new URL('../../.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf', import.meta.url),
);

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    prompts: { type: 'string' },
    tokens: { type: 'string', default: '160' },
    sampled: { type: 'boolean', default: false },
    show: { type: 'boolean', default: false },
    model: { type: 'string', default: DEFAULT_MODEL },
  },
});
const chosen = options.prompts?.split(',').map(Number) ?? PROMPTS.keys();
const model = resolve(options.model);

/** In the page: one answer. */
async function answer({ prompt, max_tokens, speculation, sampled }) {
  const how = sampled ? { temperature: 0.8, seed: 7 } : { temperature: 0 };
  const { choices, timings, usage } = await globalThis.engine.chat.completions.create({
    messages: [{ role: 'user', content: prompt }],
    max_tokens,
    speculation,
    ...how,
  });
  const [{ message, token_ids, finish_reason }] = choices;
  const { completion_tokens } = usage;
  return { text: message.content, token_ids: [...token_ids], finish_reason, completion_tokens, timings };
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const speed = ({ timings }) => (1000 * timings.predicted_n) / timings.predicted_ms;

/** With and without in turn, the one first that was second before. */
async function measure(page, { name, prompt }) {
  const runs = { off: [], auto: [] };
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const speculation of round % 2 === 0 ? ['off', 'auto'] : ['auto', 'off']) {
      const asked = { prompt, max_tokens: Number(options.tokens), speculation, sampled: options.sampled };
      runs[speculation].push(await page.evaluate(answer, asked));
    }
  }
  const [first] = runs.off;
  const of = ({ text, token_ids, finish_reason }) => JSON.stringify([text, token_ids, finish_reason]);
  const isSame = [...runs.off, ...runs.auto].every((run) => of(run) === of(first));
  const [off, auto] = [runs.off, runs.auto].map((all) => median(all.map(speed)));
  const counts = runs.auto.map(({ timings }) => `${timings.draft_n_accepted ?? 0}/${timings.draft_n ?? 0}`);
  if (options.show) console.log(`--- ${name}\n${first.text}\n    guessed by round: ${counts.join(' ')}`);
  return {
    row: {
      prompt: name,
      tokens: first.completion_tokens,
      'off tok/s': Number(off.toFixed(1)),
      'auto tok/s': Number(auto.toFixed(1)),
      ratio: Number((auto / off).toFixed(3)),
      'first round': Number((speed(runs.auto[0]) / speed(runs.off[0])).toFixed(3)),
      'right/guessed': counts[counts.length >> 1],
      same: isSame ? 'yes' : 'NO',
    },
    isSame,
  };
}

const { page, close } = await openKingletPage(dirname(model));
try {
  page.setDefaultTimeout(0);
  const device = await page.evaluate(
    async ([url, threads]) => {
      globalThis.engine = await globalThis.Kinglet.load(url, { device: 'cpu', threads });
      return globalThis.engine.info.device;
    },
    [`/models/${basename(model)}`, Number(options.threads)],
  );
  console.log(
    `${basename(model)}, ${device.reason}; ${options.sampled ? 'temperature 0.8, seed 7' : 'greedy'}, ${options.rounds} rounds in turn`,
  );
  // Compiles what is to be measured; nothing is guessed, so nothing is learned.
  await page.evaluate(answer, { prompt: 'Say something.', max_tokens: 32, speculation: 'off', sampled: false });
  const results = [];
  for (const i of chosen) results.push(await measure(page, PROMPTS[i]));
  console.table(results.map(({ row }) => row));
  process.exitCode = results.every(({ isSame }) => isSame) ? 0 : 1;
} finally {
  await close();
}
