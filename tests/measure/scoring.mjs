// Scores token ids through the package's public API in Chromium: `completions` with `echo`, no new tokens and log-probabilities.
// Used by perplexity.mjs, teacher_forced.mjs and by the end-to-end test of the short text.
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, SOFTWARE_GPU } from '../e2e/browser.mjs';
import { openSite } from '../e2e/site.mjs';

const DIST = fileURLToPath(new URL('../../www/pkg/dist/', import.meta.url));
const PAGE = `<!doctype html><title>scoring</title><script type="module">
  import { Kinglet } from '/kinglet/index.js';
  globalThis.Kinglet = Kinglet;
</script>`;

/**
 * Opens the built package on a model. `device: 'webgpu'` runs on SwiftShader.
 * Resolves to `{ info, tokenize(text), texts(ids), score(ids), scoreWithBest(ids), complete(prompt, n), close() }`.
 */
export async function openScorer(model, { contextLength = 1024, dist = DIST, device = 'cpu', kvType = 'f16' } = {}) {
  const site = await openSite({ mounts: { '/kinglet/': dist, '/models/': dirname(model) }, isolated: true });
  site.answers.set('/', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE));
  const browser = await launch({ args: device === 'webgpu' ? SOFTWARE_GPU : [] });
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(`${site.url}/`);
  await page.waitForFunction('globalThis.Kinglet');
  const info = await page.evaluate(
    async ([url, options]) => {
      globalThis.engine = await Kinglet.load(url, options);
      return globalThis.engine.info;
    },
    [`/models/${basename(model)}`, { device, contextLength, kvType }],
  );
  return {
    info,
    tokenize: (text) => page.evaluate((t) => engine.tokenize(t, { addSpecial: true }), text),
    /** The text of each token by itself. */
    texts: (ids) => page.evaluate((all) => Promise.all(all.map((id) => engine.detokenize([id]))), ids),
    /** The natural log-probability of each token, given those before it; null for the first. */
    score: (ids) =>
      page.evaluate(async (prompt) => {
        const request = { prompt, max_tokens: 0, echo: true, logprobs: 0, cache_prompt: false };
        return (await engine.completions.create(request)).choices[0].logprobs.token_logprobs;
      }, ids),
    /** The same, with the best token of each position: `{ logprobs, best }`. */
    scoreWithBest: (ids) =>
      page.evaluate(async (prompt) => {
        const request = { prompt, max_tokens: 0, echo: true, logprobs: 1, cache_prompt: false };
        const { logprobs } = (await engine.completions.create(request)).choices[0];
        return { logprobs: logprobs.token_logprobs, best: logprobs.top_logprobs };
      }, ids),
    /** The next `n` tokens, greedily: `{ text, ids, timings }`. */
    complete: (prompt, n) =>
      page.evaluate(
        async ([prompt, max_tokens]) => {
          const { choices, timings } = await engine.completions.create({ prompt, max_tokens, temperature: 0 });
          return { text: choices[0].text, ids: choices[0].token_ids, timings };
        },
        [prompt, n],
      ),
    close: async () => {
      await page.evaluate(() => engine.close());
      await browser.close();
      await site.close();
    },
  };
}

/** e to the mean of −log p. */
export function perplexity(logprobs) {
  return Math.exp(-logprobs.reduce((sum, x) => sum + x, 0) / logprobs.length);
}
