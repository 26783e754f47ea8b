import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChat } from '../src/chat.js';
import { KingletError } from '../src/errors.js';
import { fit, newest } from '../src/truncation.js';
import type { ChatCompletion, ChatCompletionChunk, ChatMessage, ChatParams, Stream } from '../src/types.js';
import { CONTEXT, loadFake } from './fake.js';

/** One message for each letter: system, developer, user, assistant, tool; `n` tokens each. */
const messagesOf = (letters: string, n = 1): ChatMessage[] =>
  Array.from(letters, (letter, i) => {
    const role = { s: 'system', d: 'developer', u: 'user', a: 'assistant', t: 'tool' }[letter];
    return { role, content: String.fromCharCode(97 + i).repeat(n) } as ChatMessage;
  });
const contents = (messages: ChatMessage[]): string => messages.map(({ content }) => content).join('');

/** A message is a token; which ones are in the prompt, and how many renderings that took. */
async function fitted(letters: string, limit: number) {
  let n = 0;
  const { prompt, truncated } = await fit(
    messagesOf(letters),
    async (messages) => {
      n += 1;
      return Uint32Array.from(contents(messages), (letter) => letter.charCodeAt(0));
    },
    limit,
  );
  return { text: String.fromCharCode(...prompt), truncated, n };
}

test('the oldest turns go, whole, until the rest fits', async () => {
  for (const [letters, limit, text, truncated] of [
    ['suaua', 5, 'abcde', 0],
    ['suaua', 4, 'ade', 2],
    ['suaua', 3, 'ade', 2],
    ['suaua', 2, 'ade', 2], // the newest turn stays whatever its length
    ['sduau', 4, 'abe', 2],
    ['uauau', 4, 'cde', 2],
    ['uauau', 1, 'e', 4],
    ['suatatauau', 6, 'ahij', 6], // what a tool said stays with who asked for it
    ['auau', 3, 'bcd', 1], // a greeting is older than the first turn
    ['suusau', 4, 'af', 4], // another system message belongs to its turn
    ['sss', 1, 'abc', 0],
    ['u', 0, 'a', 0],
  ] as const)
    assert.deepEqual(
      await fitted(letters, limit).then(({ text, truncated }) => [text, truncated]),
      [text, truncated],
      letters + limit,
    );
});

test('few renderings find the place', async () => {
  const letters = 's' + 'ua'.repeat(100) + 'u';
  for (let limit = 1; limit <= letters.length; limit += 7) {
    const { text, truncated, n } = await fitted(letters, limit);
    assert.ok(n <= 2 + 7, `${n} renderings`);
    assert.equal(text.length, letters.length - truncated);
    if (limit >= 2) assert.ok(text.length <= limit && text.length > limit - 2, `${text.length} of ${limit}`);
  }
});

test('what was left out of a prompt is left out by its number', () => {
  assert.equal(contents(newest(messagesOf('sduaua'), 2)), 'abef');
  assert.equal(contents(newest(messagesOf('ua'), 0)), 'ab');
});

test('a chat that is too long fails, or goes on with its newest turns and says so', async () => {
  const { core, engine } = await loadFake();
  // Each message of a third of the context; `<user>` and the like come with them.
  const messages = messagesOf('suaua', CONTEXT / 4);
  messages[0] = { role: 'system', content: 'sys' };
  const params: ChatParams = { messages, max_tokens: 2 };
  for (const truncation of [null, 'disabled'] as const)
    await assert.rejects(
      async () => createChat(core, { ...params, truncation }),
      (error) => error instanceof KingletError && error.code === 'E_CONTEXT_OVERFLOW',
    );
  const answer = (await createChat(core, { ...params, truncation: 'auto' })) as ChatCompletion;
  assert.equal(answer.truncated_messages, 2);
  const prompt = String.fromCharCode(...(engine.requests.at(-1)?.prompt ?? []));
  assert.match(prompt, /^<system>sys<user>d+<assistant>e+$/);
  const whole = (await createChat(core, {
    messages: messages.slice(0, 2),
    truncation: 'auto',
    max_tokens: 1,
  })) as ChatCompletion;
  assert.equal(whole.truncated_messages, 0);
  assert.ok(!('truncated_messages' in (await createChat(core, { messages: messages.slice(0, 2), max_tokens: 1 }))));

  const told: (number | undefined)[] = [];
  const stream = await createChat(core, { ...params, n: 2, truncation: 'auto', stream: true });
  for await (const chunk of stream as Stream<ChatCompletionChunk>) told.push(chunk.truncated_messages);
  assert.deepEqual([told[0], told.slice(1).filter((n) => n !== undefined)], [2, []]);
});

test('there is room for the answer: what it may be long, at most a quarter of the context', async () => {
  const { core } = await loadFake();
  const truncated = async (lengths: number[], max_tokens?: number) => {
    const messages = lengths.map((n) => ({ role: 'user' as const, content: 'x'.repeat(n - '<user>'.length) }));
    const signal = AbortSignal.timeout(5000);
    const stream = (await createChat(
      core,
      { messages, truncation: 'auto', stream: true, ...(max_tokens && { max_tokens }) },
      { signal },
    )) as Stream<ChatCompletionChunk>;
    const { value } = await stream.next();
    await stream.return?.();
    return value?.truncated_messages;
  };
  assert.equal(await truncated([100, CONTEXT - 110], 10), 0);
  assert.equal(await truncated([100, CONTEXT - 109], 10), 1);
  assert.equal(await truncated([100, CONTEXT * 0.75 - 100]), 0);
  assert.equal(await truncated([100, CONTEXT * 0.75 - 99]), 1);
  assert.equal(await truncated([100, CONTEXT * 0.75 - 100], CONTEXT), 0);
  // The newest turn alone need leave no room.
  assert.equal(await truncated([100, CONTEXT - 1], 10), 1);
  await assert.rejects(truncated([100, CONTEXT + 1], 10), /does not fit/);
});
