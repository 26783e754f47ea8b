import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChat } from '../src/chat.js';
import { createCompletion } from '../src/completions.js';
import { KingletError } from '../src/errors.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  Completion,
  CompletionChunk,
  Stream,
  Timings,
} from '../src/types.js';
import { CONTEXT, loadFake } from './fake.js';

const user = (content: string) => [{ role: 'user' as const, content }];
const code =
  (expected: string, pattern = /./) =>
  (error: unknown) =>
    error instanceof KingletError && error.code === expected && pattern.test(error.message);
const pause = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));

test('a completion in its whole shape', async () => {
  const { core } = await loadFake();
  const answer = (await createCompletion(core, { prompt: 'abc', max_tokens: 4, seed: 7 })) as Completion;
  assert.match(answer.id, /^cmpl-/);
  assert.equal(answer.object, 'text_completion');
  assert.deepEqual(answer.choices, [
    { index: 0, text: 'cbac.', finish_reason: 'length', logprobs: null, token_ids: [99, 98, 97, 99] },
  ]);
  assert.deepEqual(answer.usage, {
    prompt_tokens: 3,
    completion_tokens: 4,
    total_tokens: 7,
    prompt_tokens_details: { cached_tokens: 0 },
  });
  assert.equal(answer.timings.prompt_n, 3);
  assert.equal(answer.timings.predicted_n, 3);
  assert.ok(answer.timings.prompt_ms >= 0 && answer.timings.predicted_ms >= 0);
});

test('speculation is as the call says, or else as the model was loaded', async () => {
  for (const loaded of [true, false]) {
    const { core, engine } = await loadFake({}, 'cpu', loaded);
    for (const asked of [{}, { speculation: null }, { speculation: 'auto' }, { speculation: 'off' }] as const) {
      const expected = 'speculation' in asked && asked.speculation ? asked.speculation === 'auto' : loaded;
      await createCompletion(core, { prompt: 'abc', max_tokens: 1, ...asked });
      assert.equal(engine.requests.at(-1)?.speculates, expected);
      await createChat(core, { messages: user('hi'), max_tokens: 1, ...asked });
      assert.equal(engine.requests.at(-1)?.speculates, expected);
    }
  }
});

test('timings say how many tokens were guessed, where any were', async () => {
  for (const [guessed, expected] of [
    [undefined, {}],
    [{ draftedTokens: 0, acceptedTokens: 0 }, {}],
    [{ draftedTokens: 7, acceptedTokens: 0 }, { draft_n: 7, draft_n_accepted: 0 }],
    [{ draftedTokens: 7, acceptedTokens: 5 }, { draft_n: 7, draft_n_accepted: 5 }],
  ] as const) {
    const { core } = await loadFake(guessed && { guessed });
    const counts = ({ timings }: { timings?: Timings }) =>
      Object.fromEntries(Object.entries(timings ?? {}).filter(([name]) => name.startsWith('draft')));
    const params = { messages: user('hi'), max_tokens: 2 };
    assert.deepEqual(counts((await createChat(core, params)) as ChatCompletion), expected);
    assert.deepEqual(counts((await createCompletion(core, { prompt: 'x', max_tokens: 2 })) as Completion), expected);
    let last: ChatCompletionChunk | undefined;
    const stream = (await createChat(core, { ...params, stream: true })) as Stream<ChatCompletionChunk>;
    for await (const chunk of stream) last = chunk;
    assert.deepEqual(counts(last ?? {}), expected);
  }
});

test('echo, scores and offsets in the legacy form', async () => {
  const { core } = await loadFake();
  const {
    choices: [choice],
  } = (await createCompletion(core, { prompt: 'ab', max_tokens: 1, echo: true, logprobs: 1 })) as Completion;
  assert.equal(choice?.text, 'abb.');
  assert.deepEqual(choice?.logprobs, {
    tokens: ['a', 'b', 'b'],
    token_logprobs: [null, -1, -0.5],
    top_logprobs: [null, null, { b: -0.5 }],
    top_token_ids: [null, null, { b: 98 }],
    text_offset: [0, 1, 2],
  });
  assert.deepEqual(choice?.token_ids, [98]);
  const scored = (await createCompletion(core, { prompt: 'ab', max_tokens: 0, echo: true, logprobs: 0 })) as Completion;
  assert.deepEqual(scored.choices[0]?.logprobs?.token_logprobs, [null, -1]);
});

test('a chat answer with logprobs and two choices', async () => {
  const { core, engine } = await loadFake();
  const answer = (await createChat(core, {
    messages: user('hé'),
    max_tokens: 1,
    n: 2,
    logprobs: true,
    top_logprobs: 1,
  })) as ChatCompletion;
  assert.equal(engine.detokenize(engine.requests[0]?.prompt ?? new Uint32Array()), '<user>hé');
  assert.equal(answer.choices.length, 2);
  const token = { id: 233, token: 'é', logprob: -0.5, bytes: [0xc3, 0xa9] };
  for (const [index, choice] of answer.choices.entries()) {
    assert.deepEqual(choice, {
      index,
      message: { role: 'assistant', content: 'é.', refusal: null },
      finish_reason: 'length',
      logprobs: { content: [{ ...token, top_logprobs: [token] }], refusal: null },
      token_ids: [233],
    });
  }
});

test('a stream: role first, a chunk per token, timings last, usage where asked for', async () => {
  const { core } = await loadFake();
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of (await createChat(core, {
    messages: user('ab'),
    max_tokens: 2,
    stream: true,
    stream_options: { include_usage: true },
  })) as Stream<ChatCompletionChunk>)
    chunks.push(chunk);
  assert.deepEqual(
    chunks.map((chunk) => chunk.choices[0]?.delta),
    [{ role: 'assistant', content: '' }, { content: 'b' }, { content: 'a' }, { content: '.' }, undefined],
  );
  assert.deepEqual(
    chunks.map((chunk) => chunk.choices[0]?.finish_reason),
    [null, null, null, 'length', undefined],
  );
  assert.deepEqual(
    chunks.map((chunk) => chunk.choices[0]?.token_ids),
    [[], [98], [97], [], undefined],
  );
  assert.deepEqual(
    chunks.map((chunk) => chunk.usage?.completion_tokens),
    [undefined, undefined, undefined, undefined, 2],
  );
  assert.equal(chunks[3]?.timings?.predicted_n, 1);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
});

test('a completion stream adds up to the whole answer, as a ReadableStream too', async () => {
  const { core } = await loadFake();
  const params = { prompt: 'abc', max_tokens: 5, echo: true, logprobs: 0 };
  const whole = (await createCompletion(core, params)) as Completion;
  const stream = (await createCompletion(core, { ...params, stream: true })) as Stream<CompletionChunk>;
  let text = '';
  const tokens: string[] = [];
  const reader = stream.toReadableStream().getReader();
  for (let step = await reader.read(); !step.done; step = await reader.read()) {
    text += step.value.choices[0]?.text;
    tokens.push(...(step.value.choices[0]?.logprobs?.tokens ?? []));
  }
  assert.equal(text, whole.choices[0]?.text);
  assert.deepEqual(tokens, whole.choices[0]?.logprobs?.tokens);
});

test('twenty calls at once run one after the other, in order', async () => {
  const { core, engine } = await loadFake();
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      await (i % 2
        ? createChat(core, { messages: user(`${i}`), max_tokens: 2 })
        : createCompletion(core, { prompt: `${i}`, max_tokens: 2 }));
      order.push(i);
    }),
  );
  assert.deepEqual(
    order,
    Array.from({ length: 20 }, (_, i) => i),
  );
  assert.equal(engine.requests.length, 20);
});

test('abort: before, in the queue, while running, after the end, twice', async () => {
  const { core, engine } = await loadFake();
  const why = new Error('changed my mind');
  await assert.rejects(createCompletion(core, { prompt: 'a' }, { signal: AbortSignal.abort(why) }), why);
  assert.equal(engine.requests.length, 0);

  const running = new AbortController();
  const queued = new AbortController();
  const first = createCompletion(core, { prompt: 'first', max_tokens: 19_000 }, { signal: running.signal });
  const second = createCompletion(core, { prompt: 'second', max_tokens: 3 }, { signal: queued.signal });
  const third = createCompletion(core, { prompt: 'third', max_tokens: 3 });
  first.catch(() => {});
  while (engine.requests.length === 0) await pause();
  queued.abort(why);
  await assert.rejects(second, why);
  running.abort();
  running.abort();
  await assert.rejects(first, (error: unknown) => error instanceof DOMException && error.name === 'AbortError');
  assert.equal(((await third) as Completion).choices[0]?.text, 'dri.');
  assert.equal(engine.cancels, 1);
  assert.equal(engine.requests.length, 2);

  const late = new AbortController();
  const done = (await createCompletion(core, { prompt: 'ab', max_tokens: 2 }, { signal: late.signal })) as Completion;
  late.abort();
  assert.equal(done.choices[0]?.text, 'ba.');
  assert.equal(engine.cancels, 1);
});

test('a stream that is not read stops the engine; leaving it frees the engine', async () => {
  const { core, engine } = await loadFake();
  const stream = (await createCompletion(core, {
    prompt: 'abc',
    max_tokens: 19_000,
    stream: true,
  })) as Stream<CompletionChunk>;
  await pause(100);
  const n_ahead = engine.advances;
  await pause(100);
  assert.equal(engine.advances, n_ahead);
  assert.ok(n_ahead >= 32 && n_ahead < 50, `${n_ahead}`);
  let n_read = 0;
  for await (const _ of stream) if (++n_read === 10) break;
  const next = (await createCompletion(core, { prompt: 'xy', max_tokens: 2 })) as Completion;
  assert.equal(next.choices[0]?.text, 'yx.');
  assert.equal(engine.cancels, 1);
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test('an abort reaches a waiting reader with its reason', async () => {
  const { core } = await loadFake();
  const controller = new AbortController();
  const stream = (await createCompletion(
    core,
    { prompt: 'abc', max_tokens: 19_000, stream: true },
    { signal: controller.signal },
  )) as Stream<CompletionChunk>;
  const why = new Error('enough');
  setTimeout(() => controller.abort(why), 30);
  await assert.rejects(async () => {
    for await (const _ of stream) await pause(1);
  }, why);
});

test('typed errors of the engine come through, and the next call works', async () => {
  const { core, engine } = await loadFake();
  engine.faults.startThrows = { code: 'E_MEMORY', message: 'too much', details: { neededBytes: 5 } };
  await assert.rejects(
    createCompletion(core, { prompt: 'a' }),
    (error: unknown) => code('E_MEMORY')(error) && (error as KingletError).details['neededBytes'] === 5,
  );
  engine.faults.startThrows = { code: 'RangeError', message: 'no such value', details: {} };
  await assert.rejects(createCompletion(core, { prompt: 'a' }), RangeError);
  delete engine.faults.startThrows;
  await assert.rejects(
    createCompletion(core, { prompt: 'a'.repeat(CONTEXT + 1) }),
    (error: unknown) =>
      code('E_CONTEXT_OVERFLOW')(error) && (error as KingletError).details['requestedTokens'] === CONTEXT + 1,
  );
  await assert.rejects(createCompletion(core, { prompt: '' }), RangeError);
  await assert.rejects(createChat(core, { messages: user('loop') }), code('E_TEMPLATE', /^no loops$/));
  assert.equal(((await createCompletion(core, { prompt: 'ok', max_tokens: 2 })) as Completion).choices[0]?.text, 'ko.');
});

test('a trap ends the worker: this call and later ones are E_INTERNAL', async () => {
  const { core, engine, workers } = await loadFake();
  engine.faults.trapAtToken = 3;
  const queued = createCompletion(core, { prompt: 'b', max_tokens: 2 });
  queued.catch(() => {});
  const results = await Promise.allSettled([
    createCompletion(core, { prompt: 'abc', max_tokens: 9 }),
    core.tokenize('x', { addSpecial: true, parseSpecial: false }),
  ]);
  assert.equal(results[0]?.status, 'rejected');
  await assert.rejects(createCompletion(core, { prompt: 'abc' }), code('E_INTERNAL', /unreachable/));
  assert.ok(workers[0]?.terminated);
});

test('close in the middle: pending calls reject, workers end, later calls say so', async () => {
  const { core, engine, workers } = await loadFake();
  const calls = Array.from({ length: 3 }, () => createCompletion(core, { prompt: 'abc', max_tokens: 19_000 }));
  const settled = Promise.allSettled(calls);
  while (engine.requests.length === 0) await pause();
  core.close();
  core.close();
  for (const result of await settled)
    assert.ok(
      result.status === 'rejected' &&
        result.reason instanceof DOMException &&
        result.reason.name === 'AbortError' &&
        /closed/.test(result.reason.message),
    );
  assert.ok(workers.every((worker) => worker.terminated));
  await assert.rejects(
    createCompletion(core, { prompt: 'a' }),
    (error: unknown) => error instanceof DOMException && error.name === 'InvalidStateError',
  );
});

test('a template that never ends is ended, and the next one runs in a new worker', async () => {
  const { core, n_templates } = await loadFake({ deafTemplates: true });
  const before = performance.now();
  await assert.rejects(createChat(core, { messages: user('a') }), code('E_TEMPLATE', /250 ms/));
  assert.ok(performance.now() - before < 1000);
  const answer = (await createChat(core, { messages: user('ab'), max_tokens: 2 })) as ChatCompletion;
  assert.equal(answer.choices[0]?.message.content, 'ba.');
  assert.equal(n_templates(), 2);
});

test('chat_template_kwargs reach the template, as data', async () => {
  const { core, engine } = await loadFake();
  const variables = { suffix: '<system>' };
  const call = createChat(core, { messages: user('x'), max_tokens: 1, chat_template_kwargs: variables });
  variables.suffix = 'changed';
  await call;
  assert.equal(engine.detokenize(engine.requests[0]?.prompt ?? new Uint32Array()), '<user>x<system>');
  const { text, joiner } = await core.render(user('x'), { variables: { suffix: '<system>' } });
  assert.equal(text, `<user>x<${joiner}system>`);
});

test('a transcript ends where the model would begin another turn of the user', async () => {
  const { core, engine } = await loadFake();
  await createChat(core, { messages: user('x'), max_tokens: 1, stop: 'a' });
  core.info.chatTemplate = 'plain';
  await createChat(core, { messages: user('x'), max_tokens: 1, stop: 'a' });
  assert.deepEqual(
    engine.requests.map(({ stop }) => stop),
    [['a'], ['a', '\nUser:']],
  );
});

test('messages count as they were at the call', async () => {
  const { core, engine } = await loadFake();
  const messages = user('before');
  const call = createChat(core, { messages, max_tokens: 1 });
  messages[0] = { role: 'user', content: 'after' };
  await call;
  assert.equal(engine.detokenize(engine.requests[0]?.prompt ?? new Uint32Array()), '<user>before');
});

test('what is not plain data is a TypeError, and the engine goes on', async () => {
  const { core, n_templates } = await loadFake();
  const messages = [{ role: 'user' as const, content: 'x', tool_calls: [(() => 1) as never] }];
  await assert.rejects(createChat(core, { messages }), TypeError);
  await assert.rejects(core.render(messages, {}), TypeError);
  const answer = (await createChat(core, { messages: user('ab'), max_tokens: 1 })) as ChatCompletion;
  assert.equal(answer.choices[0]?.message.content, 'b.');
  assert.equal(n_templates(), 1);
});

test('on the GPU: every wait is helped along, the text is the same, close gives the memory back', async () => {
  const { core, engine, workers } = await loadFake({ readyMs: 20 }, 'webgpu');
  const answer = (await createCompletion(core, { prompt: 'abc', max_tokens: 4 })) as Completion;
  assert.equal(answer.choices[0]?.text, 'cbac.');
  // A wait of 20 ms: some 18 nudges, few where timers are late; 5 waits.
  assert.ok(engine.nudges >= 5 * 3, `${engine.nudges} nudges`);
  await core.close();
  assert.equal(engine.isFree, true);
  assert.ok(workers.every((worker) => worker.terminated));
});

test('on the GPU: short waits are not disturbed', async () => {
  const { core, engine } = await loadFake({ readyMs: 0 }, 'webgpu');
  await createCompletion(core, { prompt: 'abc', max_tokens: 50 });
  assert.ok(engine.nudges < 25, `${engine.nudges} nudges in 51 waits`);
});

test('on the GPU: an abort and a close are heard during a long wait', async () => {
  const { core, engine, workers } = await loadFake({ readyMs: 60_000 }, 'webgpu');
  const controller = new AbortController();
  const call = createCompletion(core, { prompt: 'abc', max_tokens: 4 }, { signal: controller.signal });
  call.catch(() => {});
  while (engine.advances === 0) await pause();
  controller.abort();
  const aborted = performance.now();
  await assert.rejects(call, { name: 'AbortError' });
  while (engine.cancels === 0) await pause();
  assert.ok(performance.now() - aborted < 100, `${performance.now() - aborted} ms`);

  const next = createCompletion(core, { prompt: 'abc', max_tokens: 4 });
  const rejected = assert.rejects(next, { name: 'AbortError' });
  while (engine.advances === 1) await pause();
  const closing = performance.now();
  await core.close();
  assert.ok(performance.now() - closing < 100, `${performance.now() - closing} ms`);
  await rejected;
  assert.deepEqual([engine.cancels, engine.isFree], [2, true]);
  assert.ok(workers.every((worker) => worker.terminated));
});

test('a lost GPU: the call in flight and every later one reject at once, until close', async () => {
  const error = { code: 'E_GPU_LOST', message: 'the device is gone', details: {} };
  const { core, engine } = await loadFake({ readyRejects: { atToken: 2, error } }, 'webgpu');
  const first = createCompletion(core, { prompt: 'abc', max_tokens: 9 });
  const queued = createCompletion(core, { prompt: 'abc', max_tokens: 9 });
  await assert.rejects(first, code('E_GPU_LOST', /the device is gone/));
  await assert.rejects(queued, code('E_GPU_LOST'));
  await assert.rejects(createChat(core, { messages: user('ab') }), code('E_GPU_LOST'));
  await assert.rejects(core.detokenize(Uint32Array.of(65)), code('E_GPU_LOST'));
  assert.equal(engine.requests.length, 1);
  assert.equal(engine.cancels, 0);
  await core.close();
  await assert.rejects(createCompletion(core, { prompt: 'a' }), { name: 'InvalidStateError' });
});

test('an encoder-decoder completes, searches, and does not chat without a template', async () => {
  const { core, engine } = await loadFake({ tasks: ['generate', 'remember'], noTemplate: true });
  assert.deepEqual(core.info.tasks, ['generate', 'remember']);
  await assert.rejects(createChat(core, { messages: user('ab') }), code('E_UNSUPPORTED_TASK', /completions\.create/));
  await assert.rejects(createCompletion(core, { prompt: 'ab', echo: true }), code('E_UNSUPPORTED_TASK', /echo/));
  assert.equal(engine.requests.length, 0);
  const answer = (await createCompletion(core, { prompt: 'ab', max_tokens: 2, num_beams: 3, n: 2 })) as Completion;
  assert.equal(answer.choices.length, 2);
  assert.deepEqual(engine.requests[0]?.beams, { width: 3, lengthPenalty: 1, earlyStopping: 'no' });
  const { core: decoder } = await loadFake();
  await createChat(decoder, { messages: user('ab'), max_tokens: 1 });
});
