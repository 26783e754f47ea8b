// Threads in Chromium: how many are best is found out while the engine works, changes no token, and is remembered; the profile says where
// the time goes.
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openKingletPage } from './kinglet_page.mjs';

const MODEL = '/models/SmolLM2-135M-Instruct.Q4_1.gguf';
const MODELS = process.env.KINGLET_MODELS ?? fileURLToPath(new URL('../../.cache/models/', import.meta.url));

let site;
before(async () => {
  site = await openKingletPage(MODELS);
});
after(() => site?.close());

/** In the page: loads, generates, and closes. */
async function run({ model, options, maxTokens, profiled }) {
  // Every token is a step of one row: what is tuned and counted here.
  const engine = await Kinglet.load(model, { device: 'cpu', speculation: 'off', ...options });
  const prompt = Array.from({ length: 40 }, (_, i) => 1000 + 37 * i);
  const params = { prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true, cache_prompt: false };
  const before = profiled && (await engine.debug.profile(true));
  const answer = await engine.completions.create(params);
  const profile = profiled && (await engine.debug.profile(false));
  const after = profiled && (await engine.debug.profile(false));
  const { device } = engine.info;
  await engine.close();
  return { tokens: answer.choices[0].token_ids, timings: answer.timings, device, before, profile, after };
}

test('threads that are tuned change no token, and what was found is kept', async () => {
  const { page } = site;
  const stored = () => page.evaluate(() => localStorage.getItem('kinglet.threads'));
  const one = await page.evaluate(run, { model: MODEL, options: { threads: 1 }, maxTokens: 48 });
  assert.equal(await stored(), null, 'a number that is given is kept to');
  const tuned = await page.evaluate(run, { model: MODEL, options: {}, maxTokens: 48 });
  assert.deepEqual(tuned.tokens, one.tokens);
  assert.equal(tuned.device.threads, Math.min(8, availableParallelism()));
  if (tuned.device.threads === 1) return;

  const { machine, known } = JSON.parse(await stored());
  assert.match(machine, new RegExp(`^${availableParallelism()} \\S+ (relaxed|simd)$`));
  const [[size, found]] = Object.entries(known);
  assert.equal(size, '13', '98 MB are in 64…256 MiB');
  assert.ok(found[0] >= 1 && found.every((n) => n >= 0 && n <= tuned.device.threads), String(found));

  // Something else that was found, or written by somebody: the tokens are the same.
  await page.evaluate(
    ([machine, size]) => {
      localStorage.setItem('kinglet.threads', JSON.stringify({ machine, known: { [size]: [1, 1] } }));
    },
    [machine, size],
  );
  const again = await page.evaluate(run, { model: MODEL, options: {}, maxTokens: 48 });
  assert.deepEqual(again.tokens, one.tokens);
});

test('the profile accounts for the time of a request', async () => {
  for (const threads of [1, 2]) {
    const options = { model: MODEL, options: { threads }, maxTokens: 32, profiled: true };
    const { before, profile, after, timings } = await site.page.evaluate(run, options);
    assert.equal(before, undefined);
    assert.equal(after, undefined);
    // 40 rows at once and 31 steps of one.
    assert.equal(profile.steps, 32);
    assert.equal(profile.rows, 40 + 31);
    assert.equal(profile.threads, threads);
    const requestMs = timings.prompt_ms + timings.predicted_ms;
    assert.ok(Math.abs(profile.wallMs - requestMs) < 0.1 * requestMs + 10, `${profile.wallMs} of ${requestMs} ms`);
    assert.ok(profile.stepsMs > 0.5 * profile.wallMs && profile.stepsMs <= profile.wallMs, JSON.stringify(profile));
    const kindsMs = profile.kinds.reduce((sum, { ms }) => sum + ms, 0);
    const accountedMs = kindsMs + profile.barrierWaitMs;
    assert.ok(accountedMs > 0.8 * profile.stepsMs && accountedMs < 1.02 * profile.stepsMs, JSON.stringify(profile));
    const attention = profile.kinds.find(({ kind }) => kind === 'Attention');
    assert.equal(attention.count, 30 * 32);
    const head = profile.kinds.find(({ kind }) => kind.startsWith('MatMul token_embd '));
    assert.ok(head.count === 32 && head.ms > 0, JSON.stringify(profile.kinds));
    assert.equal(profile.othersWaitMs > 0, threads > 1);
  }
});
