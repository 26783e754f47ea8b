import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { checkChat, checkCompletion, checkEmbeddings, checkLoad, checkTemplate } from '../src/params.js';
import type { ChatParams, CompletionParams, EmbeddingParams, LoadOptions, TemplateOptions } from '../src/types.js';

const VOCABULARY = 100;
const INFO = { vocabularySize: VOCABULARY, embeddingLength: 4 };
const messages = [{ role: 'user', content: 'hello' }];
const chat = (more: Record<string, unknown>) => checkChat({ messages, ...more } as unknown as ChatParams, VOCABULARY);
const completion = (more: Record<string, unknown>) =>
  checkCompletion({ prompt: 'x', ...more } as unknown as CompletionParams, VOCABULARY);
const unsupported = (error: unknown) => error instanceof KingletError && error.code === 'E_UNSUPPORTED_FEATURE';

test('the defaults are the documented ones', () => {
  const { request, stream } = chat({});
  const { seed, ...rest } = request;
  assert.ok(Number.isSafeInteger(seed) && seed >= 0);
  assert.equal(stream, false);
  assert.deepEqual(rest, {
    stop: [],
    n: 1,
    temperature: 0.8,
    topK: 40,
    topP: 0.95,
    minP: 0.05,
    repeatPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
    logitBias: [],
    echo: false,
    ignoreEos: false,
    cachePrompt: true,
  });
  assert.equal(completion({}).request.maxTokens, 16);
  assert.equal(chat({ max_completion_tokens: 7 }).request.maxTokens, 7);
});

test('two calls without a seed draw two seeds', () => {
  assert.notEqual(chat({}).request.seed, chat({}).request.seed);
});

const outOfRange: Record<string, unknown>[] = [
  { temperature: NaN },
  { temperature: -1 },
  { temperature: 1e30 },
  { temperature: Infinity },
  { top_k: 0 },
  { top_k: -5 },
  { top_k: 2 ** 31 },
  { top_k: 1.5 },
  { top_p: -0.1 },
  { top_p: 1.1 },
  { min_p: 2 },
  { repeat_penalty: 0 },
  { frequency_penalty: -3 },
  { presence_penalty: 3 },
  { stop: '' },
  { stop: ['a', ''] },
  { stop: Array(17).fill('a') },
  { max_tokens: 0 },
  { max_tokens: -1 },
  { max_tokens: 2.5 },
  { max_tokens: 3, max_completion_tokens: 4 },
  { n: 0 },
  { n: 129 },
  { seed: -1 },
  { seed: 0.5 },
  { seed: 2 ** 60 },
  { logit_bias: { 100: 1 } },
  { logit_bias: { '-1': 1 } },
  { logit_bias: { 5: 101 } },
  { logit_bias: { x: 1 } },
  { stream_options: { include_usage: true } },
  { num_beams: 0 },
  { num_beams: 9 },
  { num_beams: 2.5 },
  { num_beams: 2, n: 3 },
  { num_beams: 2, temperature: 0.5 },
  { num_beams: 2, length_penalty: 101 },
  { num_beams: 2, length_penalty: NaN },
  { length_penalty: 1 },
  { speculation: 'on' },
  { num_beams: 1, early_stopping: true },
];
for (const params of outOfRange) {
  test(`RangeError: ${JSON.stringify(params)} ${String(Object.values(params)[0])}`, () => {
    assert.throws(() => chat(params), RangeError);
    assert.throws(() => completion(params), RangeError);
  });
}

const wrongType: Record<string, unknown>[] = [
  { temperature: '1' },
  { top_k: true },
  { stop: 5 },
  { stop: [5] },
  { max_tokens: '4' },
  { n: [1] },
  { seed: 1n },
  { logit_bias: [1] },
  { logit_bias: { 5: 'x' } },
  { stream: 'yes' },
  { ignore_eos: 1 },
  { cache_prompt: 'no' },
  { num_beams: '4' },
  { num_beams: 4, length_penalty: '1' },
  { num_beams: 4, early_stopping: 'always' },
];
for (const params of wrongType) {
  test(`TypeError: ${Object.keys(params)[0]} ${String(Object.values(params)[0])}`, () => {
    assert.throws(() => chat(params), TypeError);
    assert.throws(() => completion(params), TypeError);
  });
}

test('what is unknown or not built throws, and null is absent', () => {
  for (const params of [
    { nonsense: 1 },
    { tools: [{}] },
    { tool_choice: 'auto' },
    { response_format: { type: 'json_object' } },
    { echo: true },
    { suffix: 'x' },
  ]) {
    assert.throws(() => chat(params), unsupported, JSON.stringify(params));
  }
  for (const params of [{ messages }, { best_of: 2 }, { suffix: 'x' }, { prompt: ['a', 'b'] }, { prompt: [[1]] }])
    assert.throws(() => completion(params), unsupported, JSON.stringify(params));
  chat({
    tools: [],
    tool_choice: 'none',
    response_format: { type: 'text' },
    temperature: null,
    stop: null,
    nonsense: undefined,
  });
});

test('a beam search: its parameters, and what does not go with it', () => {
  const { request } = completion({ num_beams: 4 });
  assert.deepEqual(request.beams, { width: 4, lengthPenalty: 1, earlyStopping: 'no' });
  assert.equal(request.temperature, 0);
  const all = { num_beams: 8, n: 8, temperature: 0, top_k: 5, length_penalty: -0.5 };
  assert.deepEqual(chat({ ...all, early_stopping: 'never' }).request.beams, {
    width: 8,
    lengthPenalty: -0.5,
    earlyStopping: 'never',
  });
  assert.equal(completion({ ...all, early_stopping: true }).request.beams?.earlyStopping, 'yes');
  for (const one of [{}, { num_beams: 1 }, { num_beams: null, length_penalty: null, early_stopping: null }]) {
    assert.equal(completion(one).request.beams, undefined);
    assert.equal(completion(one).request.temperature, 0.8);
  }
  for (const more of [
    { repeat_penalty: 1.1 },
    { frequency_penalty: 1 },
    { presence_penalty: 1 },
    { logit_bias: { 5: 1 } },
  ])
    assert.throws(() => completion({ num_beams: 2, ...more }), unsupported, JSON.stringify(more));
  assert.throws(() => completion({ num_beams: 2, logprobs: 0 }), unsupported);
  assert.throws(() => chat({ num_beams: 2, logprobs: true }), unsupported);
});

test('messages are checked', () => {
  for (const bad of [
    undefined,
    'x',
    [1],
    [{ content: 'x' }],
    [{ role: 'user' }],
    [{ role: 'user', content: 5 }],
    [{ role: 'user', content: [{ text: 'x' }] }],
  ]) {
    assert.throws(() => chat({ messages: bad }), TypeError, JSON.stringify(bad));
  }
  for (const bad of [[], [{ role: 'root', content: 'x' }], [{ role: 'system<|im_end|>', content: 'x' }]])
    assert.throws(() => chat({ messages: bad }), RangeError);
  assert.throws(
    () => chat({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: 'x' }] }] }),
    unsupported,
  );
  chat({
    messages: [
      { role: 'developer', content: [{ type: 'text', text: 'x' }] },
      { role: 'assistant', content: null, tool_calls: [] },
    ],
  });
});

test('what belongs to tools and reasoning is checked', () => {
  const good = {
    role: 'assistant',
    content: null,
    tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }],
    reasoning_content: 'hm',
  };
  chat({ messages: [good, { role: 'tool', content: 'x', tool_call_id: 'a', name: 'f' }] });
  for (const wrong of [
    { tool_calls: {} },
    { reasoning_content: 5 },
    { thinking: [] },
    { name: {} },
    { tool_call_id: 1 },
  ])
    assert.throws(() => chat({ messages: [{ ...good, ...wrong }] }), TypeError, JSON.stringify(wrong));
});

test('variables of the template are checked', () => {
  chat({ chat_template_kwargs: { enable_thinking: false } });
  chat({ chat_template_kwargs: null });
  checkTemplate({ tools: [], addGenerationPrompt: false, variables: { documents: [] } });
  const template = (options: Record<string, unknown>) => () => checkTemplate(options as TemplateOptions);
  for (const wrong of [5, 'x', []]) {
    assert.throws(() => chat({ chat_template_kwargs: wrong }), TypeError);
    assert.throws(template({ variables: wrong }), TypeError);
  }
  for (const name of ['messages', 'tools', 'add_generation_prompt']) {
    assert.throws(() => chat({ chat_template_kwargs: { [name]: true } }), RangeError);
    assert.throws(template({ variables: { [name]: true } }), RangeError);
  }
  assert.throws(template({ tools: {} }), TypeError);
  assert.throws(template({ addGenerationPrompt: 1 }), TypeError);
  assert.throws(template({ tokenize: true }), unsupported);
});

test('a model may be named, and nothing else', () => {
  for (const model of ['x', '', null]) {
    assert.ok(!('model' in chat({ model }).request));
    completion({ model });
    checkEmbeddings({ input: 'x', model }, INFO);
  }
  for (const model of [5, {}, ['x']]) {
    for (const check of [chat, completion]) assert.throws(() => check({ model }), TypeError);
    assert.throws(() => checkEmbeddings({ input: 'x', model } as unknown as EmbeddingParams, INFO), TypeError);
  }
});

test('truncation is for chats', () => {
  assert.equal(chat({}).truncates, false);
  assert.equal(chat({ truncation: 'auto' }).truncates, true);
  assert.equal(chat({ truncation: 'disabled' }).truncates, false);
  assert.throws(() => chat({ truncation: 'oldest' }), RangeError);
  assert.throws(() => chat({ truncation: true }), TypeError);
  assert.throws(() => completion({ truncation: 'auto' }), unsupported);
});

test('prompts are checked', () => {
  for (const bad of [undefined, 5, {}]) assert.throws(() => completion({ prompt: bad }), TypeError);
  for (const bad of [[100], [-1], [0.5], [NaN]]) assert.throws(() => completion({ prompt: bad }), RangeError);
  completion({ prompt: [0, 99] });
  completion({ prompt: new Uint32Array([5]) });
});

test('logprobs and echo', () => {
  assert.equal(chat({}).request.logprobs, undefined);
  assert.equal(chat({ logprobs: true }).request.logprobs, 0);
  assert.equal(chat({ logprobs: true, top_logprobs: 20 }).request.logprobs, 20);
  assert.throws(() => chat({ top_logprobs: 1 }), RangeError);
  assert.throws(() => chat({ logprobs: true, top_logprobs: 21 }), RangeError);
  assert.equal(completion({ logprobs: 0 }).request.logprobs, 0);
  assert.throws(() => completion({ logprobs: 21 }), RangeError);
  assert.equal(completion({ echo: true, max_tokens: 0 }).request.maxTokens, 0);
});

test('speculation goes along where it is said', () => {
  assert.equal(chat({ speculation: 'off' }).request.speculates, false);
  assert.equal(completion({ speculation: 'auto' }).request.speculates, true);
  assert.ok(!('speculates' in chat({ speculation: null }).request));
});

test('load options are checked', () => {
  const load = (options: Record<string, unknown>) => checkLoad(options as LoadOptions);
  load({
    device: 'cpu',
    threads: 2,
    contextLength: 2048,
    cache: false,
    kvType: 'f32',
    speculation: 'off',
    sha256: 'A'.repeat(64),
  });
  for (const bad of [
    { threads: 0 },
    { threads: 65 },
    { contextLength: 0 },
    { contextLength: 1.5 },
    { kvType: 'f64' },
    { device: 'tpu' },
  ])
    assert.throws(() => load(bad), RangeError);
  for (const bad of [{ threads: '2' }, { cache: 'yes' }, { sha256: 'abc' }, { signal: {} }, { onProgress: 1 }])
    assert.throws(() => load(bad), TypeError);
  assert.throws(() => load({ unknown: 1 }), unsupported);
  for (const device of ['auto', 'webgpu', 'cpu']) load({ device });
  for (const kvType of ['f16', 'q8_0', 'f32']) load({ kvType });
  load({ kvType: 'q8_0', device: 'webgpu' });
});
