// Encoder-decoders through the package in Chromium, on the processor and on WebGPU (SwiftShader): tiny T5 models answer as HF
// transformers does, greedily and by beam search; a prompt is encoded once; what such a model cannot do is said.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, NOT_LONG, SOFTWARE_GPU, visitQuietly } from './browser.mjs';
import { openSite } from './site.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const PAGE = `<!doctype html><title>T5</title><script type="module">
  import { Kinglet } from '/kinglet/index.js';
  globalThis.Kinglet = Kinglet;
</script>`;
const golden = (name) => JSON.parse(readFileSync(folder(`tests/golden/tiny_t5_${name}.json`), 'utf8'));
/** Answers of each model that are compared, and searches of each. The software GPU takes its time. */
const N_OUTPUTS = { cpu: 4, webgpu: 1 };
const N_SEARCHES = { cpu: 5, webgpu: 2 };

let browser;
let site;

before(async () => {
  site = await openSite({
    mounts: { '/kinglet/': folder('www/pkg/dist/'), '/golden/': folder('tests/golden/') },
    isolated: true,
  });
  site.answers.set('/', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE));
  browser = await launch({ args: SOFTWARE_GPU });
});

after(async () => {
  await browser?.close();
  await site?.close();
});

const visit = (work) => visitQuietly(browser, `${site.url}/`, work, { global: 'Kinglet' });
/** Loads a tiny T5 as `engine` of the page. */
const load = (page, name, device) =>
  page.evaluate(
    async ([url, device]) => {
      globalThis.engine = await Kinglet.load(url, { device, kvType: 'f32' });
      return engine.info;
    },
    [`/golden/tiny_t5_${name}.gguf`, device],
  );
const complete = (page, params) =>
  page.evaluate(async (params) => {
    const { choices, usage } = await engine.completions.create(params);
    return { tokens: choices.map((choice) => choice.token_ids), texts: choices.map((choice) => choice.text), usage };
  }, params);

for (const device of ['cpu', 'webgpu']) {
  for (const name of ['relu', 'flan', 'umt5', 'byt5']) {
    const skip = device === 'webgpu' && name !== 'flan' && NOT_LONG;
    test(`${name} on ${device}: the answers of transformers`, { skip }, () =>
      visit(async (page) => {
        const { max_new_tokens: max_tokens, outputs, cases } = golden(name);
        const info = await load(page, name, device);
        assert.deepEqual(
          [info.architecture, info.tasks, info.device.kind],
          ['t5', ['generate', 'remember'], device],
        );
        const all = device === 'cpu' ? [...cases, ...outputs] : outputs;
        for (const { source: prompt, greedy, beams } of all.slice(0, N_OUTPUTS[device])) {
          const ask = { prompt, max_tokens, temperature: 0 };
          const first = await complete(page, ask);
          assert.deepEqual(first.tokens, [greedy]);
          assert.equal(first.usage.prompt_tokens, prompt.length);
          assert.equal(first.usage.prompt_tokens_details.cached_tokens, 0);
          for (const { sequences, num_return_sequences: n = 1, ...how } of beams.slice(0, N_SEARCHES[device])) {
            const { tokens, usage } = await complete(page, { prompt, max_tokens, n, ...how });
            assert.deepEqual(tokens, sequences, JSON.stringify(how));
            assert.equal(usage.prompt_tokens_details.cached_tokens, prompt.length, 'the prompt is encoded once');
          }
        }
        await page.evaluate(() => engine.close());
      }));
  }
}

test('text in, a stream out, and what such a model cannot do', () =>
  visit(async (page) => {
    await load(page, 'flan', 'cpu');
    const whole = await complete(page, { prompt: 'the house is wonderful', max_tokens: 12, num_beams: 3 });
    const { streamed, n_chunks } = await page.evaluate(async () => {
      const ask = { prompt: 'the house is wonderful', max_tokens: 12, num_beams: 3, stream: true };
      let streamed = '';
      let n_chunks = 0;
      for await (const chunk of await engine.completions.create(ask)) {
        streamed += chunk.choices[0]?.text ?? '';
        n_chunks++;
      }
      return { streamed, n_chunks };
    });
    assert.deepEqual([streamed], whole.texts);
    assert.ok(n_chunks > 1 && !streamed.startsWith(' '), streamed);
    const codes = await page.evaluate(() => {
      const code = (call) => call.then(() => 'nothing', (error) => error.code ?? error.name);
      const user = [{ role: 'user', content: 'hello' }];
      return Promise.all([
        code(engine.chat.completions.create({ messages: user })),
        code(engine.completions.create({ prompt: 'the', echo: true })),
        code(engine.completions.create({ prompt: Array(513).fill(5) })),
        code(engine.completions.create({ prompt: 'the', num_beams: 9 })),
        code(engine.completions.create({ prompt: 'the', num_beams: 2, logprobs: 1 })),
        code(Kinglet.load('/golden/tiny_t5_flan.gguf', { contextLength: 2 ** 30 })),
      ]);
    });
    assert.deepEqual(codes, [
      'E_UNSUPPORTED_TASK',
      'E_UNSUPPORTED_TASK',
      'E_CONTEXT_OVERFLOW',
      'RangeError',
      'E_UNSUPPORTED_FEATURE',
      'RangeError',
    ]);
    await page.evaluate(() => engine.close());
  }));
