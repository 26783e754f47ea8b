// Whether the package answers in Chromium with a real T5 as HF transformers does with the same weights:
//
//     node tests/measure/answers.mjs <flan_t5_small.f32.gguf> <flan_t5_small.json> [cpu | webgpu] [n_answers]
//
// with files of tests/measure/make_flan_t5.py. Fails where a greedy answer differs although the two best logits of transformers'
// f32 model are clearly apart at that place, or where a text has other tokens. tests/tools/answers.rs is the same natively.
import { readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, SOFTWARE_GPU, visitQuietly } from '../e2e/browser.mjs';
import { openSite } from '../e2e/site.mjs';

/** Two best logits that are further apart decide, by how the weights are stored. */
const CLEAR_GAP = { F32: 0.01, F16: 0.05, Q8_0: 0.5 };
const DIST = fileURLToPath(new URL('../../www/pkg/dist/', import.meta.url));
const PAGE = `<!doctype html><title>answers</title><script type="module">
  import { Kinglet } from '/kinglet/index.js';
  globalThis.Kinglet = Kinglet;
</script>`;

const [model, file, device = 'cpu', count = '50'] = process.argv.slice(2);
if (!model || !file || !['cpu', 'webgpu'].includes(device))
  throw new Error('usage: answers.mjs <model.gguf> <golden.json> [cpu | webgpu] [n_answers]');
const { answers, max_new_tokens: max_tokens } = JSON.parse(readFileSync(file));

const site = await openSite({ mounts: { '/kinglet/': DIST, '/models/': dirname(resolve(model)) }, isolated: true });
site.answers.set('/', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE));
const browser = await launch({ args: device === 'webgpu' ? SOFTWARE_GPU : [] });
try {
  await visitQuietly(browser, `${site.url}/`, compare, { global: 'Kinglet' });
} finally {
  await browser.close();
  await site.close();
}

async function compare(page) {
  page.setDefaultTimeout(0);
  const started = performance.now();
  const info = await page.evaluate(
    async ([url, device]) => {
      globalThis.engine = await Kinglet.load(url, { device });
      return engine.info;
    },
    [`/models/${basename(model)}`, device],
  );
  console.log(info.name, info.quantization, info.device.reason);
  const clear = CLEAR_GAP[info.quantization];
  let same = 0;
  let sameBeams = 0;
  const wrong = [];
  for (const { text, source, tokens, gaps, beams } of answers.slice(0, Number(count))) {
    const answer = await page.evaluate(
      async ([text, prompt, max_tokens]) => {
        const ids = [...(await engine.tokenize(text, { parseSpecial: true }))];
        const greedy = (await engine.completions.create({ prompt, max_tokens, temperature: 0 })).choices[0];
        const searched = await engine.completions.create({ prompt, max_tokens, num_beams: 4 });
        return { ids, text: greedy.text, tokens: greedy.token_ids, beams: searched.choices[0].token_ids };
      },
      [text, source, max_tokens],
    );
    if (String(answer.ids) !== String(source)) wrong.push(`${text}: tokens ${answer.ids}, expected ${source}`);
    const at = tokens.findIndex((token, i) => token !== answer.tokens[i]);
    if (at < 0 && answer.tokens.length === tokens.length) same += 1;
    else if (at >= 0 && gaps[at] <= clear) console.log(`near tie, ${gaps[at]} apart: ${text}: ${answer.text}`);
    else wrong.push(`${text}: ${answer.text}: token ${at} differs, ${gaps[at]} apart`);
    sameBeams += String(answer.beams) === String(beams);
    if (text.endsWith('German: The house is wonderful.')) console.log(`${text} ${answer.text}`);
  }
  await page.evaluate(() => engine.close());
  console.log(`${device}: ${same} of ${count} greedy answers and ${sameBeams} of four beams are those of transformers`);
  console.log(`${((performance.now() - started) / 1000).toFixed(0)} s`);
  for (const line of wrong) console.log(line);
  if (wrong.length > 0) process.exitCode = 1;
}
