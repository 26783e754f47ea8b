import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChat } from '../src/chat.js';
import { createCompletion } from '../src/completions.js';
import { classify, createEmbeddings, fillMask, label } from '../src/encoders.js';
import { KingletError } from '../src/errors.js';
import type { EmbeddingParams, EncoderInput, Task } from '../src/types.js';
import { loadFake } from './fake.js';

const ALL: Task[] = ['embed', 'classify', 'label', 'fill-mask'];
const code =
  (expected: string, pattern = /./) =>
  (error: unknown) =>
    error instanceof KingletError && error.code === expected && pattern.test(error.message);

test('embeddings in their whole shape', async () => {
  const { core, engine } = await loadFake({ tasks: ALL });
  const { timings, ...answer } = await createEmbeddings(core, { input: ['abc', 'b'] });
  assert.deepEqual(answer, {
    object: 'list',
    data: [
      { object: 'embedding', index: 0, embedding: [3, 97, 0, 0] },
      { object: 'embedding', index: 1, embedding: [1, 98, 0, 0] },
    ],
    model: 'fake',
    usage: { prompt_tokens: 4, total_tokens: 4 },
  });
  assert.equal(timings.prompt_n, 4);
  assert.ok(timings.prompt_ms >= 0 && timings.predicted_n === 0 && timings.predicted_ms === 0);
  assert.deepEqual(engine.encodings[0]?.inputs, [{ text: 'abc' }, { text: 'b' }]);
});

test('a text, tokens, several of each, fewer dimensions', async () => {
  const { core, engine } = await loadFake({ tasks: ALL });
  const embed = async (params: EmbeddingParams) => (await createEmbeddings(core, params)).data.map((d) => d.embedding);
  assert.deepEqual(await embed({ input: 'ab' }), [[2, 97, 0, 0]]);
  assert.deepEqual(await embed({ input: [7, 8, 9] }), [[3, 7, 0, 0]]);
  assert.deepEqual(await embed({ input: [[5], [6, 7]] }), [
    [1, 5, 0, 0],
    [2, 6, 0, 0],
  ]);
  assert.deepEqual(await embed({ input: 'ab', dimensions: 2 }), [[2, 97]]);
  assert.equal(engine.encodings.at(-1)?.dimensions, 2);
});

test('base64 is little-endian f32', async () => {
  const { core } = await loadFake({ tasks: ALL });
  const { data } = await createEmbeddings(core, { input: 'a', encoding_format: 'base64' });
  const bytes = Buffer.from(data[0]?.embedding as string, 'base64');
  assert.deepEqual(
    Array.from({ length: 4 }, (_, i) => bytes.readFloatLE(4 * i)),
    [1, 97, 0, 0],
  );
});

test('labels of a text, the most likely first, and of a pair', async () => {
  const { core, engine } = await loadFake({ tasks: ALL });
  const [one, pair] = await classify(core, ['a', { text: 'a', text_pair: 'b' }]);
  assert.deepEqual(
    one?.map((c) => [c.label, c.logit]),
    [
      ['x', 1],
      ['y', 0],
      ['z', -1],
    ],
  );
  const sum = Math.E + 1 + 1 / Math.E;
  one?.forEach(({ score, logit }) => assert.ok(Math.abs(score - Math.exp(logit) / sum) < 1e-12));
  assert.equal(pair?.[0]?.logit, 2);
  assert.deepEqual(engine.encodings[0]?.inputs, [{ text: 'a' }, { text: 'a', pair: 'b' }]);
});

test('each token with its label and its place', async () => {
  const { core } = await loadFake({ tasks: ALL });
  const [tokens, bare] = await label(core, ['ab', [98]]);
  const score = Math.exp(2) / (Math.exp(2) + 2);
  assert.deepEqual(
    tokens?.map(({ logits, score: s, ...rest }) => ({
      ...rest,
      logits: [...logits],
      near: Math.abs(s - score) < 1e-12,
    })),
    [
      { token: 97, start: 0, end: 1, label: 'y', logits: [0, 2, 0], near: true },
      { token: 98, start: 1, end: 2, label: 'z', logits: [0, 0, 2], near: true },
    ],
  );
  assert.deepEqual([bare?.[0]?.start, bare?.[0]?.end, bare?.[0]?.label], [null, null, 'z']);
});

test('masks are filled in', async () => {
  const { core, engine } = await loadFake({ tasks: ALL });
  const [two] = await fillMask(core, ['_b_'], { top: 2 });
  assert.equal(two?.length, 2);
  assert.deepEqual(two?.[1], [
    { token: 97, text: 'a', score: Math.exp(-1), logprob: -1 },
    { token: 98, text: 'b', score: Math.exp(-2), logprob: -2 },
  ]);
  await fillMask(core, ['_']);
  assert.equal(engine.encodings.at(-1)?.candidates, 5);
  const [only] = await fillMask(core, ['_'], { only: [99, 97, 98] });
  assert.deepEqual(
    only?.[0]?.map(({ token, logprob }) => [token, logprob]),
    [
      [97, -1],
      [98, -2],
      [99, -3],
    ],
  );
  assert.deepEqual(engine.encodings.at(-1)?.only, [99, 97, 98]);
});

test('what is wrong is said before any work', async () => {
  const { core, engine } = await loadFake({ tasks: ALL });
  const embed = (params: unknown) => createEmbeddings(core, params as EmbeddingParams);
  const texts = (value: unknown) => classify(core, value as EncoderInput[]);
  for (const [call, name, pattern] of [
    [() => embed({}), 'TypeError', /texts must be a list/],
    [() => embed({ input: 7 }), 'TypeError', /list/],
    [() => embed({ input: [] }), 'RangeError', /0 texts/],
    [() => embed({ input: Array(2049).fill('a') }), 'RangeError', /2049 texts/],
    [() => embed({ input: ['a', 7] }), 'TypeError', /input must be/],
    [() => embed({ input: [1, 'a'] }), 'RangeError', /input\[1\] is a/],
    [() => embed({ input: [[1], [70_000]] }), 'RangeError', /input\[1\]\[0\] is 70000/],
    [() => embed({ input: [[1], []] }), 'RangeError', /input\[1\] has no tokens/],
    [() => embed({ input: 'a', dimensions: 0 }), 'RangeError', /dimensions/],
    [() => embed({ input: 'a', dimensions: 5 }), 'RangeError', /dimensions/],
    [() => embed({ input: 'a', dimensions: '2' }), 'TypeError', /dimensions/],
    [() => embed({ input: 'a', encoding_format: 'int8' }), 'RangeError', /encoding_format/],
    [() => texts('a'), 'TypeError', /texts must be a list/],
    [() => texts([{ text: 'a' }]), 'TypeError', /texts\[0\]/],
    [() => texts([null]), 'TypeError', /texts\[0\]/],
    [() => fillMask(core, ['_'], { top: 0 }), 'RangeError', /top/],
    [() => fillMask(core, ['_'], { top: 1001 }), 'RangeError', /top/],
    [() => fillMask(core, ['_'], { only: [] }), 'RangeError', /only has 0/],
    [() => fillMask(core, ['_'], { only: [70_000] }), 'RangeError', /only\[0\] is 70000/],
    [() => fillMask(core, ['_'], { only: 'a' as unknown as number[] }), 'TypeError', /only/],
    [() => fillMask(core, ['_'], { only: [97], top: 2 }), 'RangeError', /top and only/],
  ] as const)
    await assert.rejects(call, (error: Error) => error.name === name && pattern.test(error.message), String(pattern));
  await assert.rejects(embed({ input: 'a', user: 'me' }), code('E_UNSUPPORTED_FEATURE', /"user"/));
  await assert.rejects(texts([{ text: 'a', text_pair: 'b', more: 1 }]), code('E_UNSUPPORTED_FEATURE', /"more"/));
  assert.deepEqual(engine.encodings, []);
});

test('a call that the model is not made for names both', async () => {
  const encoder = await loadFake({ tasks: ['embed', 'classify'] });
  const both = code('E_UNSUPPORTED_TASK', /^\S+ with a model of fake, which can embed, classify$/);
  await assert.rejects(createChat(encoder.core, { messages: [{ role: 'user', content: 'a' }] }), both);
  await assert.rejects(createCompletion(encoder.core, { prompt: 'a' }), both);
  await assert.rejects(label(encoder.core, ['a']), both);
  await assert.rejects(fillMask(encoder.core, ['a']), both);
  const decoder = await loadFake();
  await assert.rejects(
    createEmbeddings(decoder.core, { input: 'a' }),
    code('E_UNSUPPORTED_TASK', /embeddings\.create.*generate/),
  );
  await assert.rejects(classify(decoder.core, ['a']), code('E_UNSUPPORTED_TASK'));
  assert.equal(encoder.engine.requests.length + decoder.engine.encodings.length, 0);
});

test('an abort ends a call, in the queue and at work, and the next one works', async () => {
  const { core, engine } = await loadFake({ tasks: ALL, readyMs: 1 });
  const reason = new Error('enough');
  const many = { input: Array<string>(500).fill('ab') };
  const atWork = new AbortController();
  const first = createEmbeddings(core, many, { signal: atWork.signal });
  const queued = new AbortController();
  const second = createEmbeddings(core, many, { signal: queued.signal });
  const third = createEmbeddings(core, { input: 'c' });
  queued.abort(reason);
  await assert.rejects(second, reason);
  while (engine.advances < 5) await new Promise((resolve) => setTimeout(resolve));
  atWork.abort(reason);
  await assert.rejects(first, reason);
  assert.deepEqual((await third).data[0]?.embedding, [1, 99, 0, 0]);
  assert.equal(engine.cancels, 1);
  assert.equal(engine.encodings.length, 2, 'what was aborted in the queue never ran');
  assert.ok(engine.advances < 400);
  await assert.rejects(createEmbeddings(core, { input: 'a' }, { signal: AbortSignal.abort(reason) }), reason);
});

test("the engine's own errors arrive with their code", async () => {
  const details = { requestedTokens: 600, availableTokens: 512 };
  const startThrows = { code: 'E_CONTEXT_OVERFLOW', message: '600 tokens do not fit the context of 512', details };
  const { core } = await loadFake({ tasks: ALL, startThrows });
  await assert.rejects(
    createEmbeddings(core, { input: 'a' }),
    (error) =>
      error instanceof KingletError && error.code === 'E_CONTEXT_OVERFLOW' && error.details['requestedTokens'] === 600,
  );
});

test('after close nothing runs', async () => {
  const { core } = await loadFake({ tasks: ALL });
  const pending = createEmbeddings(core, { input: 'a' });
  const ended = assert.rejects(pending, { name: 'AbortError' });
  await core.close();
  await ended;
  await assert.rejects(createEmbeddings(core, { input: 'a' }), { name: 'InvalidStateError' });
});
