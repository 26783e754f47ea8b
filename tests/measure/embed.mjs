// Embeddings of 1,000 sentences by MiniLM on the CPU: kinglet and transformers.js (onnxruntime-web), in turn, each in a fresh page of one
// Chromium:
//
//     npm install --ignore-scripts @huggingface/transformers@4.3.1     (in a folder of its own)
//     node tests/measure/embed.mjs <minilm.gguf> <folder of make_embed.py> <that folder's node_modules> [options]
//
//     --sentences 1000   --rounds 5   --threads 2   --batches 1,8,32   --dtypes fp32,q8
//
// transformers.js is called with each of the sizes of batches, which kinglet chooses by itself. Prints sentences per second (medians), and
// the least and the mean cosine to the f32 embeddings of HF transformers.
import { readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { launch } from '../e2e/browser.mjs';
import { openSite } from '../e2e/site.mjs';

const LEAST_COSINE = 0.999;
const WARM_UP = 32;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: Object.fromEntries(
    Object.entries({ sentences: '1000', rounds: '5', threads: '2', batches: '1,8,32', dtypes: 'fp32,q8' }).map(
      ([name, value]) => [name, { type: 'string', default: value }],
    ),
  ),
});
const [gguf, folder, modules] = positionals.map((path) => resolve(path));
if (!modules) throw new Error('usage: embed.mjs <minilm.gguf> <folder of make_embed.py> <node_modules> [options]');
const list = (text) => text.split(',');
const { sentences, embeddings } = JSON.parse(readFileSync(join(folder, 'embed.json'), 'utf8'));
const texts = sentences.slice(0, Number(options.sentences));

const site = await openSite({
  mounts: {
    '/kinglet/': fileURLToPath(new URL('../../www/pkg/dist/', import.meta.url)),
    '/gguf/': dirname(gguf),
    '/models/': folder,
    '/transformers/': join(modules, '@huggingface/transformers/dist'),
    '/ort/': join(modules, 'onnxruntime-web/dist'),
  },
  isolated: true,
});
site.answers.set('/', (response) =>
  response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>embed</title>'),
);
const browser = await launch();

/** Runs in the page: embeddings by kinglet, and milliseconds without the warm-up. */
async function byKinglet({ model, texts, warmUp, threads }) {
  const { Kinglet } = await import('/kinglet/index.js');
  const { embed } = await import('/kinglet/tasks/index.js');
  const engine = await Kinglet.load(model, { device: 'cpu', threads });
  await embed(engine, warmUp);
  const started = performance.now();
  const vectors = await embed(engine, texts);
  const ms = performance.now() - started;
  const { reason } = engine.info.device;
  await engine.close();
  return { ms, vectors: vectors.map((vector) => [...vector]), what: `${engine.info.quantization}, ${reason}` };
}

/** The same by transformers.js. */
async function byTransformers({ texts, warmUp, threads, dtype, batch }) {
  const { env, pipeline } = await import('/transformers/transformers.min.js');
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = '/models/';
  env.useBrowserCache = false;
  env.backends.onnx.wasm.wasmPaths = '/ort/';
  env.backends.onnx.wasm.numThreads = threads;
  const extract = await pipeline('feature-extraction', 'minilm', { device: 'wasm', dtype });
  const how = { pooling: 'mean', normalize: true };
  await extract(warmUp, how);
  const started = performance.now();
  const vectors = [];
  for (let i = 0; i < texts.length; i += batch)
    vectors.push(...(await extract(texts.slice(i, i + batch), how)).tolist());
  const ms = performance.now() - started;
  await extract.dispose();
  return {
    ms,
    vectors,
    what: `${env.version ?? ''} ${dtype}, batches of ${batch}, ${env.backends.onnx.wasm.numThreads} threads`,
  };
}

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const threads = Number(options.threads);
const common = { texts, warmUp: texts.slice(0, WARM_UP), threads };
const contestants = [
  { name: 'kinglet', work: byKinglet, input: { ...common, model: `/gguf/${basename(gguf)}` } },
  ...list(options.dtypes).flatMap((dtype) =>
    list(options.batches).map((batch) => ({
      name: `transformers.js ${dtype}, ${batch} at a time`,
      work: byTransformers,
      input: { ...common, dtype, batch: Number(batch) },
    })),
  ),
];

for (let round = 0; round < Number(options.rounds); round++)
  for (const contestant of contestants) {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    page.on('pageerror', (error) => console.log(`${contestant.name}: ${error}`));
    await page.goto(`${site.url}/`);
    const { ms, vectors, what } = await page.evaluate(contestant.work, contestant.input);
    await page.close();
    (contestant.rates ??= []).push((1000 * texts.length) / ms);
    contestant.what = what;
    contestant.cosines = vectors.map((vector, i) => dot(vector, embeddings[i]) / Math.sqrt(dot(vector, vector)));
    console.log(
      `round ${round}: ${contestant.name}: ${contestant.rates.at(-1).toFixed(1)} sentences per second (${what})`,
    );
  }
await browser.close();
await site.close();

console.log(`\n${texts.length} sentences, ${options.rounds} rounds, ${threads} threads; medians (least to most)`);
for (const { name, rates, cosines } of contestants) {
  const [least, mean] = [Math.min(...cosines), cosines.reduce((a, b) => a + b, 0) / cosines.length];
  console.log(
    `${name}: ${median(rates).toFixed(1)} (${Math.min(...rates).toFixed(1)} to ${Math.max(...rates).toFixed(1)}) sentences per second, cosine at least ${least.toFixed(6)}, mean ${mean.toFixed(6)}`,
  );
}
const [ours, ...theirs] = contestants;
const best = theirs.reduce((a, b) => (median(b.rates) > median(a.rates) ? b : a));
console.log(`kinglet against ${best.name}: ${(median(ours.rates) / median(best.rates)).toFixed(2)} ×`);
process.exitCode = Math.min(...ours.cosines) >= LEAST_COSINE ? 0 : 1;
