// The package on WebGPU in Chromium (SwiftShader), with the committed small model: the same answers as on the CPU, everything
// that calls can ask for, nothing made per token, nothing complained of, everything given back. An absent adapter fails.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, NOT_LONG, SOFTWARE_GPU } from './browser.mjs';
import { openGpuSite, seen, visiting, workerOf } from './gpu/page.mjs';

const PROMPTS = ['Once upon a time', 'Lily went to the park with her', 'The big red dog'];
const ABORT_LIMIT_MS = 100;
/** Most that a log-probability of the GPU may differ from the CPU's: both compute with f32, in another order. */
const LOGPROB_TOLERANCE = 0.02;

let browser;
let site;

before(async () => {
  site = await openGpuSite();
  browser = await launch({ args: SOFTWARE_GPU });
});

after(async () => {
  await browser?.close();
  await site?.close();
});

const visit = (work, options) => visiting(browser, site, work, options);

/** What is asked of one engine, in this order: a load takes ten seconds. */
const ON_ONE_ENGINE = {};

ON_ONE_ENGINE['info says what runs: the adapter, that it is software, its kernels, no threads'] = async (page) => {
  const { info, events } = await page.evaluate(async () => {
    const events = [];
    globalThis.engine = await load('webgpu', '', { onProgress: (event) => events.push(event.phase) });
    return { info: engine.info, events };
  });
  assert.deepEqual([info.device.kind, info.device.threads, info.device.software], ['webgpu', 0, true]);
  assert.match(info.device.adapter, /swiftshader/i);
  assert.match(info.device.reason, /as asked: .*swiftshader, a software adapter/i);
  assert.ok(info.device.features.length > 0, 'the kernel variants are named');
  assert.ok(info.memory.weightsBytes > 0);
  assert.ok(events.includes('check') && events.at(-1) === 'ready', events.join());
  const features = await workerOf(page).evaluate(() => gpuWatch.devices.map((one) => one.features));
  assert.equal(features.length, 1);
  assert.ok(features[0].includes('subgroups'), 'the device was asked for with subgroups');
  const addresses = page.workers().map((worker) => worker.url());
  assert.equal(addresses.length, 2, `the engine's and the templates', and no thread: ${addresses}`);
};

ON_ONE_ENGINE['the same greedy texts as on the CPU, with nearly the same log-probabilities'] = async (page) => {
  const texts = await page.evaluate(async (prompts) => {
    const answersOf = async (engine) => {
      const answers = [];
      for (const prompt of prompts)
        answers.push(
          (await engine.completions.create({ prompt, max_tokens: 48, temperature: 0, logprobs: 2 })).choices[0],
        );
      return answers;
    };
    const onCpu = await kinglet.Kinglet.load('/model.gguf', { device: 'cpu' });
    const all = { cpu: await answersOf(onCpu), webgpu: await answersOf(engine) };
    await onCpu.close();
    return all;
  }, PROMPTS);
  for (const [i, gpu] of texts.webgpu.entries()) {
    const cpu = texts.cpu[i];
    assert.equal(gpu.text, cpu.text, PROMPTS[i]);
    assert.deepEqual(gpu.token_ids, cpu.token_ids);
    assert.ok(gpu.token_ids.length > 40 && new Set(gpu.token_ids).size > 10, 'a text, not a stutter');
    const differences = gpu.logprobs.token_logprobs.map((p, n) => Math.abs(p - cpu.logprobs.token_logprobs[n]));
    const largest = Math.max(...differences);
    assert.ok(largest < LOGPROB_TOLERANCE, `log-probabilities differ by ${largest}`);
    assert.equal(Object.keys(gpu.logprobs.top_logprobs[0]).length, 2);
  }
};

ON_ONE_ENGINE['everything that a call can ask for'] = async (page) => {
  const got = await page.evaluate(async () => {
    const complete = async (params) =>
      (await engine.completions.create({ prompt: 'Once upon a time', max_tokens: 24, ...params })).choices;
    const greedy = { temperature: 0 };
    const [whole] = await complete(greedy);
    const pieces = [];
    for await (const chunk of await engine.completions.create({
      prompt: 'Once upon a time',
      max_tokens: 24,
      ...greedy,
      stream: true,
    }))
      pieces.push(chunk.choices[0]?.text ?? '');
    const chat = await engine.chat.completions.create({
      messages: [{ role: 'user', content: 'Tell me of a bird.' }],
      max_tokens: 12,
      logprobs: true,
      top_logprobs: 3,
      seed: 4,
    });
    return {
      whole: whole.text,
      streamed: pieces.join(''),
      stopped: await complete({ ...greedy, stop: whole.text.slice(10, 14) }),
      two: await complete({ n: 2, seed: 3, temperature: 1 }),
      again: await complete({ n: 2, seed: 3, temperature: 1 }),
      penalised: await complete({ ...greedy, prompt: 'ha ha ha ha ha', repeat_penalty: 5, frequency_penalty: 2 }),
      plain: await complete({ ...greedy, prompt: 'ha ha ha ha ha' }),
      biased: await complete({ ...greedy, logit_bias: { [whole.token_ids[0]]: -100 }, max_tokens: 1 }),
      scored: await complete({ ...greedy, echo: true, max_tokens: 0, logprobs: 1 }),
      continued: await engine.score([
        [whole.token_ids, [5, 6]].map((continuation) => ({ context: 'Once upon a time', continuation })),
      ]),
      chat: chat.choices[0],
      usage: chat.usage,
      timings: chat.timings,
    };
  });
  assert.ok(got.whole.length > 20, got.whole);
  assert.equal(got.streamed, got.whole);
  assert.deepEqual([got.stopped[0].text, got.stopped[0].finish_reason], [got.whole.slice(0, 10), 'stop']);
  assert.notEqual(got.two[0].text, got.two[1].text);
  assert.deepEqual(got.again, got.two, 'the same seed gives the same answers');
  assert.notEqual(got.penalised[0].text, got.plain[0].text);
  assert.notEqual(got.biased[0].text, got.whole.slice(0, got.biased[0].text.length));
  const { token_logprobs: scores } = got.scored[0].logprobs;
  assert.ok(scores.length > 3 && scores[0] === null && scores.slice(1).every((p) => p < 0), String(scores));
  const [[written, other]] = got.continued;
  assert.deepEqual([written.is_greedy, other.is_greedy], [true, false]);
  assert.ok(written.logprob > -60 && other.logprob < -5, `${written.logprob} and ${other.logprob}`);
  assert.equal(got.chat.logprobs.content.length, 12);
  assert.ok(got.chat.logprobs.content.every((one) => one.top_logprobs.length === 3));
  assert.equal(got.usage.completion_tokens, 12);
  assert.ok(got.timings.prompt_ms > 0 && got.timings.predicted_ms > 0);
};

ON_ONE_ENGINE['an abort in prefill or decode takes effect at once, and the next call is right'] = async (page) => {
  const got = await page.evaluate(async () => {
    const greedy = (params) =>
      engine.completions.create({ prompt: 'Once upon a time', max_tokens: 8, temperature: 0, ...params });
    const right = (await greedy()).choices[0].text;
    const aborted = [];
    for (const ms of [0, 1, 5, 20, 60, 120]) {
      const controller = new AbortController();
      const call = engine.completions.create(
        { prompt: 'the bird '.repeat(60), max_tokens: 200, ignore_eos: true, cache_prompt: false },
        { signal: controller.signal },
      );
      let at = 0;
      setTimeout(() => {
        at = performance.now();
        controller.abort();
      }, ms);
      const name = await call.then(
        () => 'ended',
        (error) => error.name,
      );
      const tokenised = performance.now();
      await engine.tokenize('x'); // answered by the worker, in its turn
      aborted.push({ name, heardMs: tokenised - at, workerMs: performance.now() - at });
      if ((await greedy()).choices[0].text !== right) aborted.push({ name: 'another answer', heardMs: 0, workerMs: 0 });
    }
    return aborted;
  });
  for (const { name, heardMs, workerMs } of got) {
    assert.equal(name, 'AbortError');
    assert.ok(
      heardMs < ABORT_LIMIT_MS && workerMs < ABORT_LIMIT_MS,
      `heard after ${heardMs} ms, worker ${workerMs} ms`,
    );
  }
};

ON_ONE_ENGINE['a conversation is forked, put aside and taken up'] = async (page) => {
  const { first, answers, wrong } = await page.evaluate(async () => {
    const chat = engine.conversation({ temperature: 0, max_tokens: 8 });
    const first = await chat.send('Tell me about a bird and a dog.');
    const fork = chat.fork();
    const bytes = await chat.snapshot();
    const wrong = await engine.restore(bytes.subarray(1)).catch((error) => error.code);
    const answers = [];
    for (const one of [chat, fork, await engine.restore(bytes)]) answers.push(await one.send('And a cat.'));
    return { first, answers, wrong };
  });
  assert.equal(wrong, 'E_INTEGRITY');
  for (const { choices, usage } of answers) {
    assert.equal(choices[0].message.content, answers[0].choices[0].message.content);
    assert.ok(usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1, 'what was said is not read again');
  }
};

// In the first round the cache grows to its size; each plan is bound to it once more when it is next used.
ON_ONE_ENGINE['many generations: nothing is made after the first two of a kind, nothing is complained of'] = async (
  page,
) => {
  const round = (from, to) =>
    page.evaluate(
      async ([from, to]) => {
        const kinds = [
          { temperature: 0, max_tokens: 24 },
          { seed: 1, top_k: 5, max_tokens: 9 },
          { n: 2, seed: 2, max_tokens: 6 },
          { temperature: 0, logprobs: 5, max_tokens: 6 },
          { prompt: 'the bird and the dog '.repeat(30), temperature: 0, max_tokens: 4 },
        ];
        for (let i = from; i < to; i++)
          await engine.completions.create({
            prompt: 'Once upon a time',
            ignore_eos: true,
            ...kinds[i % kinds.length],
          });
      },
      [from, to],
    );
  await round(0, 10);
  const first = await seen(page);
  assert.ok(first.made.createBuffer > 0 && first.made.createBindGroup > 0 && first.made.createComputePipeline > 0);
  await round(10, NOT_LONG ? 20 : 50);
  const last = await seen(page);
  assert.deepEqual(last.made, first.made);
  assert.ok(last.dispatches > first.dispatches);
  assert.deepEqual(last.problems, []);
};

/** Holds that `close()` gives back what the engine in the page has, with the call that runs, if there is one. */
async function closes(page, busy) {
  const got = await page.evaluate(async (busy) => {
    const params = { prompt: 'Once upon a time', max_tokens: busy ? 400 : 8, ignore_eos: true };
    const call = engine.completions.create(params).then(
      () => 'ended',
      (error) => error.name,
    );
    if (busy) await new Promise((resolve) => setTimeout(resolve, 50));
    else await call;
    const before = { ...globalThis.buffers };
    await engine.close();
    await new Promise((resolve) => setTimeout(resolve, 100)); // the channel is another way than the worker's answer
    return { before, after: globalThis.buffers, call: await call };
  }, busy);
  assert.equal(got.call, busy ? 'AbortError' : 'ended');
  assert.ok(got.before.live > 5, `${got.before.live} buffers live`);
  assert.equal(got.after.live, 0, `${got.after.live} of ${got.after.made} buffers live after close`);
}

ON_ONE_ENGINE['close gives every buffer back'] = (page) => closes(page, false);

test('on one engine', (t) =>
  visit(async (page) => {
    for (const [name, work] of Object.entries(ON_ONE_ENGINE)) await t.test(name, () => work(page));
  }));

test('close in the middle of a call gives every buffer back', () =>
  visit(async (page) => {
    await page.evaluate(async () => {
      globalThis.engine = await load('webgpu');
    });
    await closes(page, true);
  }));
