import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChat } from '../src/chat.js';
import { createCompletion } from '../src/completions.js';
import { createConversation, restoreConversation } from '../src/conversation.js';
import type { Core } from '../src/core.js';
import { createEmbeddings, fillMask } from '../src/encoders.js';
import { KingletError } from '../src/errors.js';
import { score } from '../src/score.js';
import type { CallOptions, Completion, CompletionChunk, Stream } from '../src/types.js';
import { loadFake } from './fake.js';

const pause = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));
const busy = (calls: number) => (error: unknown) =>
  error instanceof KingletError && error.code === 'E_BUSY' && error.details['calls'] === calls;
const LONG = { prompt: 'abc', max_tokens: 19_000 };
const FAIL: CallOptions = { whenBusy: 'fail' };

const complete = async (core: Core, prompt: string, options?: CallOptions): Promise<string | undefined> =>
  ((await createCompletion(core, { prompt, max_tokens: 2 }, options)) as Completion).choices[0]?.text;
const stream = async (core: Core, max_tokens: number): Promise<Stream<CompletionChunk>> =>
  (await createCompletion(core, { prompt: 'abc', max_tokens, stream: true })) as Stream<CompletionChunk>;

test('a call that does not want to wait is E_BUSY at once, and the engine goes on', async () => {
  const { core, engine } = await loadFake();
  const abort = new AbortController();
  const running = createCompletion(core, LONG, abort);
  running.catch(() => {});
  while (engine.requests.length === 0) await pause();
  const chat = createConversation(core, { max_tokens: 1 });
  for (const call of [
    complete(core, 'x', FAIL),
    createChat(core, { messages: [{ role: 'user', content: 'x' }] }, FAIL),
    score(core, [[{ context: 'a', continuation: 'b' }]], FAIL),
    chat.send('x', {}, FAIL),
    chat.fork().stream('x', {}, FAIL),
    chat.snapshot(FAIL),
    restoreConversation(core, Uint8Array.of(0x4b), FAIL),
  ])
    await assert.rejects(call, busy(1));
  const waiting = complete(core, 'xy');
  await assert.rejects(complete(core, 'x', FAIL), busy(2));
  abort.abort();
  await assert.rejects(running, { name: 'AbortError' });
  assert.equal(await waiting, 'yx.');
  assert.equal(await complete(core, 'ab', FAIL), 'ba.');
  assert.equal((await chat.send('x', {}, FAIL)).choices[0]?.message.content, 'x.');
  assert.equal(engine.requests.length, 4);
});

test('encoders know it too', async () => {
  const { core } = await loadFake({ tasks: ['embed', 'fill-mask'], readyMs: 30 });
  const running = createEmbeddings(core, { input: 'a' });
  await assert.rejects(createEmbeddings(core, { input: 'b' }, FAIL), busy(1));
  await assert.rejects(fillMask(core, ['a_'], FAIL), busy(1));
  await running;
  assert.equal((await fillMask(core, ['a_'], FAIL)).length, 1);
});

test('a call that nobody waits for keeps nobody busy', async () => {
  const { core, engine } = await loadFake({ readyMs: 30 });
  const [running, queued] = [new AbortController(), new AbortController()];
  const first = createCompletion(core, LONG, running);
  const second = createCompletion(core, LONG, queued);
  for (const call of [first, second]) call.catch(() => {});
  while (engine.requests.length === 0) await pause();
  queued.abort();
  await assert.rejects(second, { name: 'AbortError' });
  await assert.rejects(complete(core, 'x', FAIL), busy(1));
  running.abort();
  // The worker hears of it a moment later; so long this one waits.
  assert.equal(await complete(core, 'xy', FAIL), 'yx.');
  // What has failed before its turn.
  await assert.rejects(complete(core, ''), RangeError);
  await assert.rejects(restoreConversation(core, Uint8Array.of(1)), KingletError);
  // A stream that was left, and one that has been computed but not read.
  const left = await stream(core, 19_000);
  await left.next();
  await left.return?.();
  const before = engine.advances;
  const unread = await stream(core, 3);
  while (engine.advances < before + 5) await pause();
  await core.tokenize('x', { addSpecial: false, parseSpecial: false }); // what the worker has said before has arrived
  assert.equal(await complete(core, 'cd', FAIL), 'dc.');
  let text = '';
  for await (const chunk of unread) text += chunk.choices[0]?.text ?? '';
  assert.equal(text, 'cba.');
});

test('no call waits for the reader of a stream, who loses nothing', async () => {
  const { core, engine } = await loadFake();
  const readers = [await stream(core, 1000), await stream(core, 200)];
  await readers[0]?.next();
  assert.equal(await complete(core, 'xy'), 'yx.');
  assert.equal(engine.cancels, 0);
  const lengths = [];
  for (const reader of readers) {
    let text = '';
    for await (const chunk of reader) text += chunk.choices[0]?.text ?? '';
    lengths.push(text.length);
  }
  assert.deepEqual(lengths, [1000, 201]);
  // The last one is followed by nobody.
  const advances = engine.advances;
  await stream(core, 1000);
  await pause(100);
  const ahead = engine.advances - advances;
  assert.ok(ahead >= 32 && ahead < 50, `${ahead}`);
  // One that does not want to wait is not waiting.
  await assert.rejects(complete(core, 'x', FAIL), busy(1));
  await pause(50);
  assert.equal(engine.advances - advances, ahead);
});

test('a snapshot has its place from the call on', async () => {
  const { core, engine } = await loadFake();
  const chat = createConversation(core, { max_tokens: 1 });
  await chat.send('a');
  const order: string[] = [];
  const saved = chat.snapshot().then(() => order.push('snapshot'));
  await Promise.all([saved, complete(core, 'x').then(() => order.push('completion'))]);
  assert.deepEqual(order, ['snapshot', 'completion']);
  assert.equal(engine.snapshots.length, 1);
});

test('whenBusy is wait or fail', async () => {
  const { core } = await loadFake();
  const wrong = (whenBusy: unknown) => complete(core, 'x', { whenBusy } as CallOptions);
  await assert.rejects(wrong('perhaps'), RangeError);
  await assert.rejects(wrong(1), TypeError);
  assert.equal(await complete(core, 'xy', { whenBusy: 'wait' }), 'yx.');
});
