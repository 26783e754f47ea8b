// Summaries and translations of 20 texts by kinglet/tasks in Chromium, with every answer of the model that they are made of, to be compared
// with HF transformers by check_summaries.py:
//
//     node tests/measure/summaries.mjs <flan_t5_small.f16.gguf> <records.json> [num_beams]
//
// The model is of tests/measure/make_flan_t5.py. Six of the texts are longer than its context of 512 tokens.
import { writeFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { openKingletPage } from '../e2e/kinglet_page.mjs';
import { TEXTS } from './summary_texts.mjs';

const [model, file, beams = '1'] = process.argv.slice(2);
if (!model || !file) throw new Error('usage: summaries.mjs <model.gguf> <records.json> [num_beams]');

const { page, close } = await openKingletPage(dirname(resolve(model)));
page.setDefaultTimeout(0);
try {
  const info = await page.evaluate(
    async ([url]) => {
      globalThis.tasks = await import('/kinglet/tasks/index.js');
      const engine = await Kinglet.load(url, { device: 'cpu' });
      // What the tasks use of an engine, with a note of each answer.
      globalThis.calls = [];
      const create = async (params, options) => {
        const answer = await engine.completions.create(params, options);
        calls.push({ ...params, tokens: answer.choices[0].token_ids, text: answer.choices[0].text });
        return answer;
      };
      globalThis.watched = {
        info: engine.info,
        tokenize: (...args) => engine.tokenize(...args),
        completions: { create },
      };
      return engine.info;
    },
    [`/models/${basename(model)}`],
  );
  console.log(`${info.name}, ${info.quantization}, context ${info.contextLength}, ${info.device.reason}`);
  const records = [];
  for (const [i, text] of TEXTS.entries())
    for (const task of ['summarize', 'translate']) {
      const record = await page.evaluate(
        async ([task, text, num_beams]) => {
          calls.length = 0;
          const how = task === 'translate' ? { from: 'English', to: 'German' } : {};
          const started = performance.now();
          const written = await tasks[task](watched, text, { ...how, ...(num_beams > 1 && { num_beams }) });
          return { ...written, seconds: (performance.now() - started) / 1000, calls: [...calls] };
        },
        [task, text, Number(beams)],
      );
      records.push({ index: i, task, ...record });
      console.log(
        `${i} ${task}: ${record.chunks} parts, ${record.calls.length} answers, ${record.seconds.toFixed(1)} s: ${record.text.slice(0, 100)}`,
      );
    }
  writeFileSync(file, JSON.stringify({ info, records }, null, 1) + '\n');
} finally {
  await close();
}
