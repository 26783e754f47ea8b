// Two published encoders through the public API in Chromium against HF transformers on the same weights in f32:
//
//     node tests/measure/encoders.mjs <folder of make_encoder_models.py's output> [cpu | webgpu]
//
// MiniLM: the least cosine of 100 embeddings. The tagger: how many labels of tokens differ, and by how much the label of
// transformers was ahead there; labels that were nearly as likely may.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { SOFTWARE_GPU } from '../e2e/browser.mjs';
import { openKingletPage } from '../e2e/kinglet_page.mjs';

const LEAST_COSINE = 0.9999;
/** Logits this near count as equal: 16-bit keys and values and other orders of summation move them by less. */
const NEAR_TIE = 0.02;

const [folder, device = 'cpu'] = process.argv.slice(2);
if (!folder) throw new Error('usage: encoders.mjs <folder> [cpu | webgpu]');
const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));

const { page, close } = await openKingletPage(resolve(folder), { args: device === 'webgpu' ? SOFTWARE_GPU : [] });
page.setDefaultTimeout(0);

/** Runs `work(engine, data)` in the page on a model. */
const onModel = (name, data, work) =>
  page.evaluate(
    async ([url, device, data, work]) => {
      const engine = await Kinglet.load(url, { device });
      const started = performance.now();
      const result = await new Function(`return (${work})`)()(engine, data);
      const ms = performance.now() - started;
      const { info } = engine;
      await engine.close();
      return { result, ms, info };
    },
    [`/models/${name}`, device, data, work.toString()],
  );

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
let failed = false;
const verdict = (good, text) => {
  console.log(`${good ? 'ok' : 'NOT OK'}: ${text}`);
  failed ||= !good;
};

{
  const cases = read('minilm.json');
  const { result, ms, info } = await onModel(
    'minilm.gguf',
    cases.map(({ text }) => text),
    async (engine, input) => {
      const { data } = await engine.embeddings.create({ input });
      return {
        embeddings: data.map(({ embedding }) => embedding),
        ids: await Promise.all(input.map((t) => engine.tokenize(t))),
      };
    },
  );
  const cosines = cases.map(
    ({ embedding }, i) => dot(embedding, result.embeddings[i]) / Math.sqrt(dot(embedding, embedding)),
  );
  const least = Math.min(...cosines);
  const odd = cases.filter(({ ids }, i) => JSON.stringify(ids) !== JSON.stringify(result.ids[i]));
  verdict(
    odd.length === 0,
    `MiniLM on ${info.device.kind}: the tokens of ${cases.length - odd.length} of ${cases.length} texts`,
  );
  verdict(
    least >= LEAST_COSINE,
    `least cosine of ${cases.length} embeddings ${least.toFixed(9)} (${ms.toFixed(0)} ms)`,
  );
}
{
  const cases = read('tagger.json');
  const { result, ms } = await onModel(
    'tagger.gguf',
    cases.map(({ text }) => text),
    async (engine, texts) => (await engine.label(texts)).map((tokens) => tokens.map(({ label }) => label)),
  );
  let [n, n_near, n_wrong] = [0, 0, 0];
  cases.forEach(({ labels, margins }, i) => {
    if (labels.length !== result[i].length)
      throw new Error(`text ${i} has ${result[i].length} tokens, not ${labels.length}`);
    labels.forEach((label, j) => {
      n += 1;
      if (label === result[i][j]) return;
      if (margins[j] < NEAR_TIE) n_near += 1;
      else n_wrong += 1;
    });
  });
  const kinds = new Set(cases.flatMap(({ labels }) => labels)).size;
  verdict(
    n_wrong === 0,
    `tagger, ${cases.length} texts: of ${n} labels (${kinds} kinds) ${n_wrong} differ, and ${n_near} that were within ${NEAR_TIE} (${ms.toFixed(0)} ms)`,
  );
}
await close();
process.exitCode = failed ? 1 : 0;
