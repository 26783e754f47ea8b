import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createConversation, restoreConversation } from '../src/conversation.js';
import { KingletError } from '../src/errors.js';
import type { ChatCompletionChunk, ChatMessage, Stream } from '../src/types.js';
import { CONTEXT, type Faults, loadFake } from './fake.js';

const code = (expected: string) => (error: unknown) => error instanceof KingletError && error.code === expected;
const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });

async function fake(faults: Faults = {}) {
  const { core, engine } = await loadFake(faults);
  return { core, engine, prompts: () => engine.requests.map(({ prompt }) => engine.detokenize(prompt)) };
}

async function read(stream: Stream<ChatCompletionChunk>, n = Infinity): Promise<string> {
  let text = '';
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    if (--n <= 0) break;
  }
  return text;
}

test('a conversation keeps what was said', async () => {
  const { core, engine, prompts } = await fake();
  const chat = createConversation(core, { messages: [{ role: 'system', content: 'S' }], max_tokens: 2, seed: 7 });
  const answer = await chat.send('ab');
  assert.equal(answer.choices[0]?.message.content, 'ba.');
  assert.deepEqual(chat.messages, [{ role: 'system', content: 'S' }, user('ab'), assistant('ba.')]);
  // Of the call alone.
  await chat.send(user('c'), { max_tokens: 1, temperature: 0 });
  await chat.send([{ role: 'tool', content: 't' }, user('d')]);
  assert.equal(prompts()[2], '<system>S<user>ab<assistant>ba.<user>c<assistant>c.<tool>t<user>d');
  assert.deepEqual(
    engine.requests.map(({ maxTokens, temperature, seed }) => [maxTokens, temperature, seed]),
    [2, 1, 2].map((n, i) => [n, i === 1 ? 0 : 0.8, 7]),
  );
  // What there is gets an answer.
  const begun = createConversation(core, { messages: [user('x')], max_tokens: 1 });
  await begun.send([]);
  assert.deepEqual(begun.messages, [user('x'), assistant('x.')]);
});

test('its messages are its own', async () => {
  const { core } = await fake();
  const given = [user('ab')];
  const chat = createConversation(core, { messages: given, max_tokens: 1 });
  given.push(user('!'));
  chat.messages.push(user('?'));
  const said: { role: 'user'; content: string } = { role: 'user', content: 'cd' };
  const answering = chat.send(said);
  said.content = 'changed';
  await answering;
  assert.deepEqual(chat.messages, [user('ab'), user('cd'), assistant('d.')]);
});

test('a stream counts when it has ended, or as far as it was read', async () => {
  const { core } = await fake();
  const chat = createConversation(core, { max_tokens: 3 });
  const stream = await chat.stream('abc', { stream_options: { include_usage: true } });
  assert.deepEqual(chat.messages, []);
  assert.equal(await read(stream), 'cba.');
  assert.deepEqual(chat.messages, [user('abc'), assistant('cba.')]);
  await read(await chat.stream('xyz'), 3);
  assert.deepEqual(chat.messages.slice(2), [user('xyz'), assistant('zy')]);
  // As a stream of objects, cancelled.
  const reader = (await chat.stream('q')).toReadableStream().getReader();
  await reader.read();
  await reader.cancel();
  assert.equal(chat.messages.length, 6);
  await chat.send('and on');
  assert.equal(chat.messages.length, 8);
});

test('what fails or is aborted was not said', async () => {
  const { core, engine } = await fake();
  const chat = createConversation(core, { max_tokens: 3 });
  await chat.send('a');
  const before = chat.messages;
  const abort = new AbortController();
  const stream = await chat.stream('b', {}, { signal: abort.signal });
  await stream.next();
  abort.abort(new Error('enough'));
  // Nobody reads on, and the conversation goes on all the same.
  assert.deepEqual(chat.messages, before);
  const answering = chat.send('c', { max_tokens: 10_000 }, { signal: AbortSignal.timeout(20) });
  await assert.rejects(answering, { name: 'TimeoutError' });
  await assert.rejects(read(stream), /enough/);
  await assert.rejects(chat.send('x'.repeat(CONTEXT)), code('E_CONTEXT_OVERFLOW'));
  await assert.rejects(chat.stream('x'.repeat(CONTEXT)), code('E_CONTEXT_OVERFLOW'));
  engine.faults.startThrows = { code: 'E_MEMORY', message: 'no', details: {} };
  await assert.rejects(chat.send('d'), code('E_MEMORY'));
  await assert.rejects(read(await chat.stream('d')), code('E_MEMORY'));
  delete engine.faults.startThrows;
  assert.deepEqual(chat.messages, before);
  await chat.send('e');
  assert.equal(chat.messages.length, 4);
});

test('one answer at a time; forks are free', async () => {
  const { core } = await fake();
  const chat = createConversation(core, { max_tokens: 2 });
  await chat.send('ab');
  const fork = chat.fork();
  const both = [chat.send('left'), fork.send('right')];
  await assert.rejects(chat.send('now'), code('E_BUSY'));
  await assert.rejects(chat.stream('now'), code('E_BUSY'));
  assert.equal(chat.fork().messages.length, 2, 'what is being answered is not said yet');
  await Promise.all(both);
  assert.deepEqual(chat.messages, [user('ab'), assistant('ba.'), user('left'), assistant('tf.')]);
  assert.deepEqual(fork.messages, [user('ab'), assistant('ba.'), user('right'), assistant('th.')]);
});

test('parameters are checked at once', async () => {
  const { core } = await fake();
  const make = (params: object) => () => createConversation(core, params);
  assert.throws(make({ temperature: -1 }), RangeError);
  assert.throws(make({ messages: [{ role: 'bot', content: 'x' }] }), RangeError);
  assert.throws(make({ messages: 'x' }), TypeError);
  assert.throws(make({ nonsense: 1 }), code('E_UNSUPPORTED_FEATURE'));
  for (const name of ['n', 'stream', 'stream_options']) assert.throws(make({ [name]: {} }), TypeError, name);
  const chat = createConversation(core);
  for (const name of ['n', 'stream', 'messages', 'stream_options'])
    await assert.rejects(chat.send('x', { [name]: {} } as object), TypeError, name);
  for (const name of ['n', 'stream', 'messages'])
    await assert.rejects(chat.stream('x', { [name]: {} } as object), TypeError, name);
  await assert.rejects(chat.send([]), RangeError);
  const noData = { role: 'user', content: 'x', name: () => {} } as unknown as ChatMessage;
  await assert.rejects(chat.send(noData), TypeError);
  assert.throws(make({ messages: [noData] }), TypeError);
  const encoder = await loadFake({ tasks: ['embed'] });
  assert.throws(() => createConversation(encoder.core), code('E_UNSUPPORTED_TASK'));
});

test('a snapshot has everything, and comes back', async () => {
  const here = await fake({ snapshotWaits: 2, readyMs: 1 });
  const chat = createConversation(here.core, { max_tokens: 2, stop: ['!'], seed: 3 });
  await chat.send('né');
  const bytes = await chat.snapshot();
  assert.deepEqual(here.engine.snapshots, Array(3).fill('<user>né<assistant>én.'), 'waited for, twice');
  const there = await fake();
  const restored = await restoreConversation(there.core, bytes);
  assert.equal(there.engine.restored, 1);
  assert.deepEqual(restored.messages, chat.messages);
  await restored.send('x');
  const request = there.engine.requests[0];
  assert.deepEqual([request?.stop, request?.seed, request?.maxTokens], [['!'], 3, 2]);
  assert.equal(there.prompts()[0], '<user>né<assistant>én.<user>x');
});

test('a snapshot ends with what was said last: the turn of the next answer is not opened', async () => {
  const template =
    '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';
  const { core, engine, prompts } = await fake({ template });
  const chat = createConversation(core, { max_tokens: 1 });
  await chat.send('a');
  await chat.snapshot();
  assert.deepEqual(prompts(), ['<user>a<assistant>']);
  assert.deepEqual(engine.snapshots, ['<user>a<assistant>>.'], 'nothing stands behind the answer');
});

test('a snapshot of what was not begun has no tokens', async () => {
  const { core, engine } = await fake();
  for (const messages of [[], [{ role: 'system' as const, content: 'S' }]]) {
    const bytes = await createConversation(core, { messages }).snapshot();
    assert.equal(engine.snapshots.at(-1), '');
    assert.deepEqual((await restoreConversation(core, bytes)).messages, messages);
  }
});

test('a snapshot has the tokens of the messages that the newest answer was given', async () => {
  const { core, engine } = await fake();
  const chat = createConversation(core, {
    max_tokens: 1,
    truncation: 'auto',
    messages: [{ role: 'system', content: 'S' }],
  });
  await chat.send('a'.repeat(CONTEXT / 2));
  const { truncated_messages } = await chat.send('b'.repeat(CONTEXT / 2));
  assert.equal(truncated_messages, 2);
  const bytes = await chat.snapshot();
  assert.match(engine.snapshots[0] ?? '', /^<system>S<user>b+<assistant>b\.$/);
  await (await restoreConversation(core, bytes)).snapshot();
  assert.equal(engine.snapshots[1], engine.snapshots[0]);
  await read(await chat.stream('c'));
  await chat.fork().snapshot();
  assert.match(engine.snapshots[2] ?? '', /^<system>S<user>b+<assistant>b\.<user>c<assistant>c\.$/);
});

test('other bytes are refused, and the engine goes on', async () => {
  const { core } = await fake();
  const restore = (bytes: unknown) => restoreConversation(core, bytes as Uint8Array);
  const note = (value: string) => Uint8Array.from([0x4b, ...new TextEncoder().encode(value)]);
  for (const bytes of [
    new Uint8Array([1, 2, 3]),
    note('{'),
    note('5'),
    note('null'),
    note('{"messages":[{"role":"bot","content":""}]}'),
    note('{"messages":[],"params":{"nonsense":1}}'),
  ])
    await assert.rejects(restore(bytes), code('E_INTEGRITY'));
  for (const wrong of ['x', new ArrayBuffer(4), null, [1]]) await assert.rejects(restore(wrong), TypeError);
  const aborted = AbortSignal.abort(new Error('no'));
  await assert.rejects(restoreConversation(core, note('{"messages":[]}'), { signal: aborted }), /^Error: no$/);
  const chat = createConversation(core, { max_tokens: 1 });
  await assert.rejects(chat.snapshot({ signal: aborted }), /^Error: no$/);
  await chat.send('still here');
});

test('a snapshot that waits can be aborted, and takes its turn', async () => {
  const { core, engine } = await fake({ snapshotWaits: Infinity, readyMs: 1 });
  const chat = createConversation(core, { max_tokens: 2 });
  const answering = chat.send('a');
  await assert.rejects(chat.snapshot({ signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
  await answering;
  await chat.send('b');
  assert.ok(engine.cancels >= 1, 'the engine was told');
});
