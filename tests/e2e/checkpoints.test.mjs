// Checkpoints as published, through the package and the demo page in Chromium: from the URL of a folder, as files, by name, dropped and
// picked; what they compute is what transformers computes (tests/golden/make_tiny_checkpoints.py); what is wrong with one is said.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { launch, SOFTWARE_GPU, visitQuietly } from './browser.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const CHECKPOINTS = folder('tests/golden/checkpoints');
const filesOf = (name) =>
  readdirSync(`${CHECKPOINTS}/${name}`).filter((file) => !['expected.json', 'header.bin'].includes(file));
const FILES = Object.fromEntries(readdirSync(CHECKPOINTS).map((name) => [name, filesOf(name)]));
const expectedOf = (name) => JSON.parse(readFileSync(`${CHECKPOINTS}/${name}/expected.json`, 'utf8'));
/** The import map of the page is an inline script. */
const POLICY = "default-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:";
/** Files that need not be there are asked for. */
const ABSENT = [/Failed to load resource: the server responded with a status of 404/];

let browser;
let site;
let demo;

before(async () => {
  const mounts = {
    '/': folder('tests/e2e/apps/plain'),
    '/node_modules/kinglet/dist': folder('www/pkg/dist'),
    '/checkpoints': CHECKPOINTS,
  };
  site = await serve({ mounts, port: 0, policy: POLICY });
  demo = await serve({ mounts: { '/': folder('www/demo/dist'), '/checkpoints': CHECKPOINTS }, port: 0 });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
  await demo?.close();
});

/** Runs `work(argument)` in a page that has the package and helpers. */
const inPage = (work, argument, { of = browser, expected = [] } = {}) =>
  visitQuietly(of, site.url, (page) => page.evaluate(work, argument), {
    expected: [...ABSENT, ...expected],
    prepare,
    global: 'kinglet',
  });

function prepare() {
  /** What a source makes of a prompt, and how it was loaded. */
  globalThis.answer = async (source, prompt, options = {}) => {
    const events = [];
    const engine = await kinglet.Kinglet.load(source, {
      device: 'cpu',
      kvType: 'f32',
      ...options,
      onProgress: (e) => events.push(e),
    });
    try {
      const { choices } = await engine.completions.create({ prompt, max_tokens: 1, temperature: 0, logprobs: 5 });
      const { token_ids, logprobs } = choices[0];
      return { id: token_ids[0], logprob: logprobs.token_logprobs[0], info: engine.info, events };
    } finally {
      await engine.close();
    }
  };
  globalThis.refusal = async (source, options) => {
    try {
      return { id: (await answer(source, [5], options)).id };
    } catch (error) {
      const { name, code, message } = error;
      return { name, code, message };
    }
  };
  globalThis.fileOf = async (path) => new File([await (await fetch(`/checkpoints/${path}`)).blob()], path.split('/')[1]);
  globalThis.filesOf = (name, names) => Promise.all(names.map((file) => fileOf(`${name}/${file}`)));
}

/** What transformers gives behind the whole prompt: the best token and its log-probability. */
function best(name) {
  const { tokens, vocabulary, logits } = expectedOf(name);
  const bytes = Buffer.from(logits, 'hex');
  const all = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
  const row = all.slice(-vocabulary);
  const top = Math.max(...row);
  const sum = row.reduce((s, x) => s + Math.exp(x - top), 0);
  return { tokens, id: row.indexOf(top), logprob: -Math.log(sum) };
}

test('transformers’ own next token, whatever way the checkpoint comes', async () => {
  for (const name of ['llama', 'llama-sharded', 'llama-f16']) {
    const { tokens, id, logprob } = best(name);
    const got = await inPage(
      async ([name, names, tokens]) => {
        const url = (file) => `/checkpoints/${name}/${file}`;
        const files = await filesOf(name, names);
        const record = (of) => ({ files: Object.fromEntries(names.map((file, i) => [file, of(i)]).reverse()) });
        const sources = {
          folder: url('?key=1'),
          'config.json': url('config.json'),
          files,
          URLs: record((i) => url(names[i])),
          blobs: record((i) => new Blob([files[i]])),
          streams: record((i) => files[i].stream()),
        };
        const answers = {};
        for (const [kind, source] of Object.entries(sources)) answers[kind] = await answer(source, tokens);
        return answers;
      },
      [name, FILES[name], tokens],
    );
    const weights = FILES[name].filter((file) => file.endsWith('.safetensors'));
    const total = weights.reduce((sum, file) => sum + readFileSync(`${CHECKPOINTS}/${name}/${file}`).length, 0);
    for (const [kind, { id: found, logprob: p, info, events }] of Object.entries(got)) {
      assert.equal(found, id, `${name}, ${kind}`);
      assert.ok(Math.abs(p - logprob) < 1e-3, `${name}, ${kind}: ${p} and ${logprob}`);
      assert.deepEqual([info.architecture, info.fileBytes], ['llama', total], kind);
      assert.deepEqual([events.at(-1).loadedBytes, events.at(-1).totalBytes], [total, total], kind);
      assert.equal(events.at(-1).file.count, weights.length, kind);
    }
  }
});

test('weights as stored, or quantized while they arrive', async () => {
  const { tokens, id, logprob } = best('llama');
  const got = await inPage(async (tokens) => {
    const answers = {};
    for (const quantize of [undefined, 'f16', 'q8_0', 'q4_0'])
      answers[quantize] = await answer('/checkpoints/llama/', tokens, quantize ? { quantize } : {});
    return answers;
  }, tokens);
  const formats = Object.values(got).map(({ info }) => info.quantization);
  assert.deepEqual(formats, ['F32', 'F16', 'Q8_0', 'Q4_0']);
  for (const [quantize, allowed] of [['undefined', 1e-3], ['f16', 0.02], ['q8_0', 0.2]]) {
    assert.equal(got[quantize].id, id, quantize);
    assert.ok(Math.abs(got[quantize].logprob - logprob) < allowed, `${quantize}: ${got[quantize].logprob}, ${logprob}`);
  }
  assert.ok(got.q4_0.info.memory.weightsBytes < got.f16.info.memory.weightsBytes);
});

test('on the GPU: checked before the weights come, which it then holds', async () => {
  const { tokens, id, logprob } = best('llama-sharded');
  const gpuBrowser = await launch({ args: SOFTWARE_GPU });
  try {
    const load = (tokens) => answer('/checkpoints/llama-sharded/', tokens, { device: 'webgpu' });
    const got = await inPage(load, tokens, { of: gpuBrowser, expected: [/software|fallback|powerPreference|WebGPU/i] });
    assert.equal(got.id, id);
    assert.ok(Math.abs(got.logprob - logprob) < 1e-3, `${got.logprob} and ${logprob}`);
    assert.deepEqual([got.info.device.kind, got.info.quantization], ['webgpu', 'BF16']);
    const phases = got.events.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1]);
    assert.deepEqual(phases, ['start', 'download', 'check', 'download', 'finish', 'ready']);
  } finally {
    await gpuBrowser.close();
  }
});

test('what is wrong with a checkpoint is said at once, and the next one loads', async () => {
  const got = await inPage(async (names) => {
    const files = await filesOf('llama', names);
    const given = (change) => ({ files: change(Object.fromEntries(files.map((file) => [file.name, file]))) });
    const config = JSON.parse(await files.find((file) => file.name === 'config.json').text());
    const withConfig = (more) =>
      given((all) => ({ ...all, 'config.json': new Blob([JSON.stringify({ ...config, ...more })]) }));
    const without = (name, more = {}) => given(({ [name]: _, ...all }) => ({ ...all, ...more }));
    const weights = files.find((file) => file.name === 'model.safetensors');
    const withWeights = (blob) => given((all) => ({ ...all, 'model.safetensors': blob }));
    return {
      architecture: await refusal(withConfig({ model_type: 'mamba' })),
      gptq: await refusal(withConfig({ quantization_config: { quant_method: 'gptq' } })),
      shape: await refusal(withConfig({ intermediate_size: 48 })),
      layers: await refusal(withConfig({ num_hidden_layers: 3 })),
      pickle: await refusal(without('model.safetensors', { 'pytorch_model.bin': new Blob(['x']) })),
      nothing: await refusal(without('tokenizer.json')),
      short: await refusal(withWeights(weights.slice(0, -1))),
      long: await refusal(withWeights(new Blob([weights, 'x']))),
      page: await refusal(withWeights(new Blob(['<!doctype html>']))),
      folder: await refusal('/checkpoints/nothing/'),
      gguf: await refusal('/checkpoints/any.gguf', { quantize: 'q8_0' }),
      sum: await refusal('/checkpoints/llama/', { sha256: { 'model.safetensors': 'f'.repeat(64) } }),
      good: await refusal(given((all) => all)),
    };
  }, FILES.llama);
  const says = (key, code, pattern) => {
    assert.equal(got[key].code ?? got[key].name, code, `${key}: ${got[key].message}`);
    assert.match(got[key].message, pattern);
  };
  says('architecture', 'E_UNSUPPORTED_ARCH', /"mamba" are not supported/);
  says('gptq', 'E_UNSUPPORTED_QUANT', /quantized by gptq/);
  says('shape', 'E_FILE_FORMAT', /ffn_/);
  says('layers', 'E_FILE_FORMAT', /blk\.2\./);
  says('pickle', 'E_FILE_FORMAT', /pytorch_model\.bin/);
  says('nothing', 'E_FILE_FORMAT', /no tokenizer\.json/);
  says('short', 'E_FILE_FORMAT', /model\.safetensors: the file ends too early/);
  says('long', 'E_FILE_FORMAT', /model\.safetensors: the file goes on behind/);
  says('page', 'E_FILE_FORMAT', /no safetensors file/);
  says('folder', 'E_NETWORK', /nothing\/config\.json.*404/);
  says('gguf', 'TypeError', /quantize is for checkpoints/);
  says('sum', 'E_INTEGRITY', /model\.safetensors: its SHA-256/);
  assert.equal(typeof got.good.id, 'number');
});

// The demo page.

const visiting = (visit) =>
  visitQuietly(browser, demo.url, visit, { viewport: { width: 1280, height: 800 }, expected: ABSENT });
const loaded = (page, name) =>
  page.waitForFunction((n) => document.getElementById('loaded-name').textContent.startsWith(`${n} ·`), name);

test('the demo page takes a checkpoint by address, picked and dropped', () =>
  visiting(async (page) => {
    const back = async () => {
      await page.click('#change-model');
      await page.waitForSelector('body[data-state=empty]');
    };
    await page.click('#other-models summary');
    await page.fill('#model-url', `${demo.url}/checkpoints/llama-sharded/`);
    await page.press('#model-url', 'Enter');
    await loaded(page, 'llama-sharded');
    await back();
    await page.setInputFiles(
      '#model-file',
      FILES['llama-sharded'].map((file) => `${CHECKPOINTS}/llama-sharded/${file}`),
    );
    await loaded(page, 'a checkpoint');
    assert.match(await page.innerText('#loaded-name'), /BF16/);
    await back();
    await page.evaluate(async (names) => {
      const dataTransfer = new DataTransfer();
      for (const name of names.toReversed())
        dataTransfer.items.add(new File([await (await fetch(`checkpoints/llama/${name}`)).blob()], name));
      document.dispatchEvent(new DragEvent('dragover', { dataTransfer, cancelable: true }));
      document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
    }, FILES.llama);
    await loaded(page, 'a checkpoint');
    await page.fill('#sampling-max_tokens', '5');
    await page.fill('#message', 'Hello');
    await page.press('#message', 'Enter');
    await page.waitForSelector('.answer:not([aria-busy]) .figures');
    await back();
    await page.setInputFiles('#model-file', [`${CHECKPOINTS}/llama/config.json`, `${CHECKPOINTS}/llama/tokenizer.json`]);
    await page.waitForFunction(() => /model\.safetensors/.test(document.getElementById('load-error').innerText));
  }));

test('a dropped folder is a checkpoint with its name', () =>
  visiting(async (page) => {
    const session = await page.context().newCDPSession(page);
    const drag = (type) =>
      session.send('Input.dispatchDragEvent', {
        type,
        x: 400,
        y: 300,
        data: { items: [], files: [`${CHECKPOINTS}/llama`], dragOperationsMask: 1 },
      });
    for (const type of ['dragEnter', 'dragOver', 'drop']) await drag(type);
    await loaded(page, 'llama');
  }));
