// A long random use of one engine, through the public API: answers that are stopped at any moment, plain ones, ones that
// share a beginning, texts too long, wrong parameters. After every step a question with a known answer is asked again: the
// ids must be those of the first time. Then engines are opened and closed. Run by `./build.sh soak`.
//
//   node soak.mjs [STEPS] [SEED]
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { serve } from '../../www/demo/serve.mjs';
import { launch } from './browser.mjs';

const steps = Number(process.argv[2] ?? 300);
const seed = Number(process.argv[3] ?? 1);
const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const MODEL = 'models/SmolLM2-135M-Instruct.Q4_1.gguf';

/** In the page. Returns what went wrong, with the step; an empty list is what is wanted. */
async function soak({ model, steps, seed }) {
  const { Kinglet } = await import('./kinglet/index.js');
  let state = seed;
  const random = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const engine = await Kinglet.load(model);
  const known = () =>
    engine.completions
      .create({ prompt: 'The capital of France is', max_tokens: 12, temperature: 0 })
      .then((a) => a.choices[0].token_ids.join());
  const first = await known();
  const words = (n) =>
    Array.from({ length: n }, () => ['bird', 'sings', 'small', 'king', 'the', 'of'][random(6)]).join(' ');
  const stopped = async () => {
    const abort = new AbortController();
    const ended = engine.completions.create(
      { prompt: words(1 + random(400)), max_tokens: 200 },
      { signal: abort.signal },
    );
    setTimeout(() => abort.abort(), random(400));
    await ended.catch((error) => error.name === 'AbortError' || Promise.reject(error));
  };
  const left = async () => {
    const stream = await engine.completions.create({ prompt: words(20), max_tokens: 100, stream: true });
    let chunks = random(20);
    for await (const _ of stream) if (chunks-- <= 0) break;
  };
  const refused = async (params, code) => {
    const error = await engine.completions.create({ prompt: 'x', ...params }).catch((thrown) => thrown);
    if ((error.code ?? error.name) !== code) throw new Error(`expected ${code}, got ${error}`);
  };
  const actions = [
    stopped,
    left,
    () =>
      engine.completions.create({
        prompt: `The capital of ${words(3)}`,
        max_tokens: 1 + random(40),
        seed: random(1e6),
        n: 1 + random(3),
      }),
    () => refused({ prompt: words(9000) }, 'E_CONTEXT_OVERFLOW'),
    () => refused({ temperature: -1 }, 'RangeError'),
  ];
  const problems = [];
  for (let step = 0; step < steps && problems.length < 5; step++) {
    const which = random(actions.length);
    try {
      await actions[which]();
      if ((await known()) !== first) problems.push(`step ${step}, action ${which}: another answer`);
    } catch (error) {
      problems.push(`step ${step}, action ${which}: ${error}`);
    }
  }
  await engine.close();
  for (let i = 0; i < 30; i++) await (await Kinglet.load(model)).close();
  return problems;
}

const models = process.env.KINGLET_MODELS ?? folder('.cache/models');
const site = await serve({ mounts: { '/': folder('www/demo/dist'), '/models': models }, port: 0 });
const browser = await launch();
try {
  const page = await browser.newPage();
  await page.goto(site.url);
  const problems = await page.evaluate(soak, { model: MODEL, steps, seed });
  assert.deepEqual(problems, [], `seed ${seed}`);
  console.log(`${steps} steps and 30 engines opened and closed, seed ${seed}: nothing went wrong`);
} finally {
  await browser.close();
  await site.close();
}
