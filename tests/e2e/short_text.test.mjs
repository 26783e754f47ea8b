// The default model through the public API on a page of text: its perplexity is that of HF transformers' f32 model with the same
// weights (tests/golden/make_teacher_forced.py), and its ids are those of `tokenizers` and llama.cpp.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openScorer, perplexity } from '../measure/scoring.mjs';

const TOLERANCE = 0.01;
const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const TEXT = readFileSync(folder('tests/golden/short_text.txt'), 'utf8');
const GOLDEN = JSON.parse(readFileSync(folder('tests/golden/short_text.json'), 'utf8'));
const MODEL = join(process.env.KINGLET_MODELS ?? folder('.cache/models'), 'SmolLM2-135M-Instruct.Q4_1.gguf');

let scorer;
before(async () => {
  assert.ok(existsSync(MODEL), `${MODEL} is not there: ./build.sh test fetches it`);
  scorer = await openScorer(MODEL);
});
after(() => scorer?.close());

async function off(ids) {
  const logprobs = await scorer.score(ids);
  assert.equal(logprobs[0], null, 'nothing stands before the first token');
  return Math.abs(perplexity(logprobs.slice(1)) / GOLDEN.perplexity - 1);
}

test('ids of the short text', async () => {
  assert.deepEqual([...(await scorer.tokenize(TEXT))], GOLDEN.ids);
});

test('perplexity of the short text is that of the f32 model', async () => {
  const error = await off(GOLDEN.ids);
  assert.ok(error <= TOLERANCE, `${(100 * error).toFixed(2)} % from ${GOLDEN.perplexity}`);
});

test('a text with two sentences swapped is noticed', async () => {
  const ids = [...GOLDEN.ids.slice(200, 300), ...GOLDEN.ids.slice(0, 200), ...GOLDEN.ids.slice(300)];
  assert.ok((await off(ids)) > TOLERANCE);
});
