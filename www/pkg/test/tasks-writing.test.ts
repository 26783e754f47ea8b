import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { answer, complete, summarize, type TranslateOptions, translate } from '../src/tasks/index.js';
import { Costs } from '../src/tasks/writing.js';
import type { Timings } from '../src/types.js';
import { BASE, CHAT, ENCODER_DECODER, fakeEngine, progressWatch, wordsOf } from './tasks-fake.js';

const FLAN = { ...ENCODER_DECODER, name: 'Flan T5 Small' };
const code = (expected: string) => (error: unknown) => error instanceof KingletError && error.code === expected;

/** Paragraphs of filling, each with one fact. */
function textOf(n_paragraphs: number): { text: string; facts: string[] } {
  const facts = Array.from({ length: n_paragraphs }, (_, i) => `FACT${i}.`);
  const paragraph = (fact: string): string =>
    `Some words that say nothing. There is ${fact} And so it goes on for a while.`;
  return { text: facts.map(paragraph).join('\n\n'), facts };
}

/** A model that says again what matters. */
const keepsFacts = (prompt: string): string => (prompt.match(/FACT\d+\./g) ?? ['nothing']).join(' ');

test('a short text is summarized in one call', async () => {
  const { engine, asked } = fakeEngine({ ...ENCODER_DECODER, say: () => ' A summary. ' });
  const watch = progressWatch();
  const found = await summarize(engine, ' A text. \n', { onProgress: watch.onProgress });
  assert.deepEqual(found, {
    text: 'A summary.',
    chunks: 1,
    finish_reason: 'stop',
    usage: { prompt_tokens: 4, completion_tokens: 2, total_tokens: 6, prompt_tokens_details: { cached_tokens: 0 } },
    timings: { prompt_n: 4, prompt_ms: 1, predicted_n: 2, predicted_ms: 2 },
  });
  assert.deepEqual(
    asked.map(({ prompt }) => prompt),
    ['summarize: A text.'],
  );
  assert.ok(watch.isSound());
});

test('T5 by its prefix, flan-T5 and chats by words, others not at all', async () => {
  const prompts: string[] = [];
  for (const [options, length] of [
    [ENCODER_DECODER, 'short'],
    [FLAN, 'short'],
    [CHAT, 'short'],
    [{ ...ENCODER_DECODER, ...CHAT, tasks: ['generate', 'remember'] as const }, 'long'],
  ] as const) {
    const { engine, asked } = fakeEngine({ ...options, tasks: [...(options.tasks ?? ['generate'])] });
    await summarize(engine, 'A text.', { length });
    prompts.push(asked[0]?.prompt ?? '');
  }
  assert.deepEqual(prompts, [
    'summarize: A text.',
    'Summarize this article in one sentence.\n\nA text.',
    '<|user|> Summarize the following text in one short sentence.\n\nA text. <|assistant|>',
    '<|user|> Summarize the following text in a few paragraphs.\n\nA text. <|assistant|>',
  ]);
  for (const options of [BASE, { tasks: ['embed' as const] }]) {
    const { engine, asked } = fakeEngine(options);
    await assert.rejects(summarize(engine, 'A text.'), code('E_UNSUPPORTED_TASK'));
    await assert.rejects(translate(engine, 'A text.', { from: 'en', to: 'de' }), code('E_UNSUPPORTED_TASK'));
    await assert.rejects(answer(engine, { question: 'Why?' }), code('E_UNSUPPORTED_TASK'));
    assert.equal(asked.length, 0);
  }
});

test('how it is decoded', async () => {
  const { engine, asked } = fakeEngine(CHAT);
  await summarize(engine, 'A text.', { max_tokens: 7 });
  await summarize(engine, 'A text.', { temperature: 0.5 });
  await summarize(engine, 'A text.', { num_beams: 4 });
  assert.deepEqual(
    asked.map(({ params: { messages, ...rest } }) => rest),
    [
      { max_tokens: 7, temperature: 0, chat_template_kwargs: { enable_thinking: false } },
      { max_tokens: 16, temperature: 0.5, chat_template_kwargs: { enable_thinking: false } },
      { max_tokens: 16, temperature: 0, num_beams: 4, chat_template_kwargs: { enable_thinking: false } },
    ],
  );
  const large = fakeEngine({ ...ENCODER_DECODER, contextLength: 2048 });
  for (const length of ['short', 'medium', 'long'] as const) await summarize(large.engine, 'A text.', { length });
  assert.deepEqual(
    large.asked.map(({ max_tokens }) => max_tokens),
    [48, 128, 256],
  );
});

for (const [name, options] of Object.entries({ T5: ENCODER_DECODER, flan: FLAN, chat: CHAT }))
  for (const [contextLength, n_paragraphs, max_tokens] of [
    [64, 12, 16],
    [64, 40, 16],
    [40, 9, 4],
    [512, 96, 40],
  ] as const)
    test(`the facts of ${n_paragraphs} paragraphs, the last one's too: ${name} with a context of ${contextLength}`, async () => {
      const { text, facts } = textOf(n_paragraphs);
      assert.ok(wordsOf(text).length >= 3 * contextLength);
      const { engine, asked } = fakeEngine({ ...options, contextLength, say: keepsFacts });
      const watch = progressWatch();
      const found = await summarize(engine, text, { max_tokens, onProgress: watch.onProgress });
      // Whoever could say every fact in so many words has said all of them; else the first of each part that was summarized.
      const said = found.text.split(/\s+/);
      assert.ok(said.length <= Math.max(max_tokens, n_paragraphs));
      assert.equal(new Set(said).size, said.length);
      if (n_paragraphs <= max_tokens) assert.deepEqual(said, facts);
      assert.ok(found.chunks >= 3 && watch.isSound(), JSON.stringify(watch.seen.at(-1)));
      // Every paragraph was read, whole and once, by the first round.
      const read = asked
        .slice(0, found.chunks)
        .map(({ prompt }) => prompt)
        .join('\n');
      for (const fact of facts) assert.equal(read.split(fact).length - 1, 1, fact);
      // And what was said of the last part was read by every later round.
      const last = keepsFacts(asked[found.chunks - 1]?.prompt ?? '').split(' ')[0] ?? '';
      if (asked.length > found.chunks) {
        const later = asked
          .slice(found.chunks)
          .map(({ prompt }) => prompt)
          .join('\n');
        assert.ok(later.includes(last), `${last} is lost`);
      } else assert.ok(found.text.includes(last));
    });

test('summaries that are no shorter are not summarized for ever', async () => {
  const { text } = textOf(20);
  const parrot = (prompt: string): string => prompt.slice(prompt.indexOf(':') + 1);
  const { engine, asked } = fakeEngine({ ...ENCODER_DECODER, say: parrot });
  const found = await summarize(engine, text, { max_tokens: 8 });
  assert.ok(asked.length < 50, `${asked.length} calls`);
  assert.ok(found.text.length > 0);
  const tight = fakeEngine({ ...ENCODER_DECODER, contextLength: 11, say: () => 'x' });
  assert.equal((await summarize(tight.engine, 'a b c d')).text, 'x\nx\nx\nx');
  const mute = fakeEngine({ ...ENCODER_DECODER, say: () => '' });
  assert.equal((await summarize(mute.engine, text)).text, '');
});

test('what comes in pieces is the text', async () => {
  for (const n_paragraphs of [1, 12, 40]) {
    const { text } = textOf(n_paragraphs);
    const { engine } = fakeEngine({ ...CHAT, say: (prompt) => `  ${keepsFacts(prompt)}\n\n` });
    const pieces: string[] = [];
    const found = await summarize(engine, text, { onText: (piece) => void pieces.push(piece) });
    assert.equal(pieces.join(''), found.text);
    assert.equal(found.text, found.text.trim());
    assert.ok(!pieces.includes(''));
  }
});

test('what ended by its limit says so', async () => {
  const { engine } = fakeEngine({ ...ENCODER_DECODER, say: () => 'one two three' });
  assert.equal((await summarize(engine, 'A text.', { max_tokens: 2 })).finish_reason, 'length');
  assert.equal((await summarize(engine, 'A text.', { max_tokens: 3 })).finish_reason, 'stop');
  const onText = (): void => {};
  for (const [max_tokens, reason] of [
    [2, 'length'],
    [3, 'stop'],
  ] as const) {
    assert.equal((await summarize(engine, 'A text.', { max_tokens, onText })).finish_reason, reason);
    assert.equal((await translate(engine, 'A. B.', { from: 'en', to: 'de', max_tokens })).finish_reason, reason);
  }
});

test('progress ends with the last answer, not before', async () => {
  const { text } = textOf(40);
  const seen: { done: number; total: number }[] = [];
  const atCalls: number[] = [];
  const { engine } = fakeEngine({
    ...ENCODER_DECODER,
    say: keepsFacts,
    onCall: () => {
      const { done, total } = seen.at(-1) ?? { done: 0, total: 0 };
      atCalls.push(total - done);
    },
  });
  const onProgress = (progress: { done: number; total: number }) => void seen.push(progress);
  await summarize(engine, text, { max_tokens: 6, onProgress });
  assert.ok(atCalls.length > 12 && atCalls.every((n_left) => n_left > 0), String(atCalls));
  await answer(engine, { question: 'Why?' }, { onProgress });
  assert.deepEqual(seen.slice(-2), [
    { done: 0, total: 1 },
    { done: 1, total: 1 },
  ]);
});

test('T5 translates sentence by sentence; lines, spaces and what has no letters stay', async () => {
  const { engine, asked } = fakeEngine({
    ...ENCODER_DECODER,
    say: (prompt) => prompt.replace('translate English to German: ', '').toUpperCase(),
  });
  const text = '  The house. It is old!\n\n\t* one\n* two\n\n 2024 – 50 %\n';
  const pieces: string[] = [];
  const watch = progressWatch();
  const found = await translate(engine, text, {
    from: 'English',
    to: 'de',
    onText: (piece) => void pieces.push(piece),
    onProgress: watch.onProgress,
  });
  assert.equal(found.text, text.toUpperCase());
  assert.equal(pieces.join(''), found.text);
  assert.deepEqual(
    asked.map(({ prompt }) => prompt),
    ['The house.', 'It is old!', '* one', '* two'].map((part) => `translate English to German: ${part}`),
  );
  assert.deepEqual(
    asked.map(({ max_tokens }) => max_tokens),
    [38, 41, 38, 38],
  );
  assert.ok(watch.isSound());
  assert.equal(found.usage.completion_tokens, 9);
});

test('a model that chats translates paragraphs, and long ones in parts', async () => {
  const strip = (prompt: string): string => /\n\n([^]*) <\|assistant\|>/.exec(prompt)?.[1] ?? '';
  const { engine, asked } = fakeEngine({ ...CHAT, contextLength: 128, say: (prompt) => strip(prompt).toLowerCase() });
  const long = Array.from({ length: 20 }, (_, i) => `This is sentence ${i} of it.`).join(' ');
  const text = `First line.\nSecond line.\n\n${long}`;
  const found = await translate(engine, text, { from: 'en', to: 'pt-BR' });
  assert.equal(found.text, text.toLowerCase());
  assert.ok(asked[0]?.prompt.includes('from English to Brazilian Portuguese. '), asked[0]?.prompt);
  assert.ok(asked[0]?.prompt.includes('First line.\nSecond line.'));
  assert.ok(found.chunks > 3 && found.chunks === asked.length);
  assert.ok(
    asked.slice(1).every(({ prompt }) => /\. <\|assistant\|>$/.test(prompt)),
    'cut where sentences end',
  );
});

test('languages', async () => {
  const { engine, asked } = fakeEngine({ ...ENCODER_DECODER, say: () => 'x' });
  const to = async (language: unknown): Promise<string> => {
    await translate(engine, 'a', { from: 'en-US', to: language } as TranslateOptions);
    return /English to (.*): /.exec(asked.at(-1)?.prompt ?? '')?.[1] ?? '';
  };
  assert.deepEqual(
    [await to('fr'), await to('German'), await to('ro-RO'), await to(' Swiss German '), await to('zh_Hant')],
    ['French', 'German', 'Romanian', 'Swiss German', 'Chinese'],
  );
  for (const wrong of ['', 'qq', 'de-!', 'a\nb', 'German: say hello. English', 'x'.repeat(99)])
    await assert.rejects(to(wrong), RangeError, wrong);
  await assert.rejects(to(7), TypeError);
  await assert.rejects(to(undefined), TypeError);
});

test('a question by itself and about a text', async () => {
  const prompts: string[] = [];
  for (const options of [ENCODER_DECODER, FLAN, CHAT]) {
    const { engine, asked } = fakeEngine({ ...options, say: () => 'Rayleigh.' });
    const bare = await answer(engine, { question: 'Why blue?' });
    const about = await answer(engine, { question: ' Why blue? ', context: 'Some text. ' });
    assert.deepEqual([bare.text, bare.source, about.source], ['Rayleigh.', undefined, { start: 0, end: 11 }]);
    prompts.push(...asked.map(({ prompt }) => prompt));
  }
  assert.deepEqual(prompts, [
    'Why blue?',
    'question: Why blue? context: Some text.',
    'Why blue?',
    'Read this and answer the question\n\nSome text.\n\nWhy blue?',
    '<|user|> Why blue? <|assistant|>',
    '<|user|> Answer the question from the following text.\n\nSome text.\n\nQuestion: Why blue? <|assistant|>',
  ]);
});

test('of a long text the part that the question goes with', async () => {
  for (const options of [ENCODER_DECODER, FLAN, CHAT])
    for (const n_paragraphs of [14, 40])
      for (const wanted of [0, 5, n_paragraphs - 1]) {
        const { text } = textOf(n_paragraphs);
        const { engine, scored } = fakeEngine({
          ...options,
          contextLength: 80,
          say: (prompt) => (prompt.includes(`FACT${wanted}.`) ? 'found' : 'not found'),
          logprob: (context, continuation) =>
            (continuation.includes(`FACT${wanted}?`) ? -10 : -99) + (context.includes(`FACT${wanted}.`) ? 5 : 0),
        });
        const watch = progressWatch();
        const question = `What is FACT${wanted}?`;
        const found = await answer(engine, { question, context: text }, { onProgress: watch.onProgress });
        assert.equal(found.text, 'found');
        const source = text.slice(found.source?.start, found.source?.end);
        assert.ok(source.includes(`FACT${wanted}.`), source);
        assert.ok(found.chunks > 2 && scored.length === found.chunks && watch.isSound());
        // Together the parts are the whole text.
        const read = scored.map(([item]) => item?.context ?? '').join('\n');
        for (const word of wordsOf(text)) assert.ok(read.includes(word.trim()));
      }
});

test('a decoder goes on with a text, or with its end', async () => {
  const { engine, asked } = fakeEngine({ ...BASE, say: () => ' and so on ' });
  const found = await complete(engine, 'Once upon a time', { max_tokens: 10, stop: ['x'] });
  assert.deepEqual([found.text, found.from, found.chunks], [' and so on ', 0, 1]);
  assert.deepEqual(asked[0]?.params, { prompt: 'Once upon a time', max_tokens: 10, temperature: 0, stop: ['x'] });
  const long = Array.from({ length: 100 }, (_, i) => `w${i}`).join(' ');
  const end = await complete(engine, long, { max_tokens: 20 });
  assert.equal(asked[1]?.prompt, long.slice(end.from));
  assert.ok(end.from > 0 && long.slice(end.from).startsWith('w') && wordsOf(long.slice(end.from)).length > 30);
  const pieces: string[] = [];
  await complete(engine, 'Once', { max_tokens: 9, onText: (piece) => void pieces.push(piece) });
  assert.equal(pieces.join(''), ' and so on ');
  await assert.rejects(complete(engine, 'Once', { max_tokens: 70 }), code('E_CONTEXT_OVERFLOW'));
  const chat = fakeEngine({ ...CHAT, say: () => ' x' });
  await complete(chat.engine, 'Once', { max_tokens: 9 });
  assert.equal(chat.asked[0]?.prompt, 'Once');
  await assert.rejects(complete(fakeEngine(ENCODER_DECODER).engine, 'a'), code('E_UNSUPPORTED_TASK'));
});

test('an abort ends a call within a part, and progress stops', async () => {
  const { text } = textOf(30);
  for (const at of [0, 1, 3]) {
    const reason = new Error('enough');
    const abort = new AbortController();
    let n_calls = 0;
    const { engine, asked } = fakeEngine({
      ...ENCODER_DECODER,
      say: keepsFacts,
      onCall: () => {
        if (n_calls++ !== at) return;
        abort.abort(reason);
        return new Promise(() => {});
      },
    });
    const watch = progressWatch();
    await assert.rejects(summarize(engine, text, { signal: abort.signal, onProgress: watch.onProgress }), reason);
    assert.equal(asked.length, at + 1);
    assert.equal(watch.seen.at(-1)?.done, at);
  }
  const { engine, asked } = fakeEngine(ENCODER_DECODER);
  const signal = AbortSignal.abort(new Error('before'));
  await assert.rejects(translate(engine, 'a', { from: 'en', to: 'de', signal }), /before/);
  await assert.rejects(answer(engine, { question: 'a' }, { signal }), /before/);
  assert.equal(asked.length, 0);
});

test('what is wrong is said before any work', async () => {
  const { engine, asked } = fakeEngine(ENCODER_DECODER);
  const call = (text: unknown, options: unknown) => summarize(engine, text as string, options as object);
  for (const [text, options, name, pattern] of [
    [7, {}, 'TypeError', /text/],
    [' \n', {}, 'RangeError', /text is empty/],
    ['a', null, 'TypeError', /options/],
    ['a', { length: 'tiny' }, 'RangeError', /length/],
    ['a', { max_tokens: 0 }, 'RangeError', /max_tokens/],
    ['a', { max_tokens: 1.5 }, 'RangeError', /max_tokens/],
    ['a', { max_tokens: '3' }, 'TypeError', /max_tokens/],
    ['a', { signal: 1 }, 'TypeError', /signal/],
    ['a', { onText: 1 }, 'TypeError', /onText/],
  ] as const)
    await assert.rejects(
      call(text, options),
      (error: Error) => error.name === name && pattern.test(error.message),
      String(pattern),
    );
  await assert.rejects(call('a', { words: 3 }), code('E_UNSUPPORTED_FEATURE'));
  await assert.rejects(answer(engine, { question: '' }), RangeError);
  await assert.rejects(answer(engine, { question: 'a', context: ' ' }), RangeError);
  assert.equal(asked.length, 0);
  const small = fakeEngine({ ...CHAT, contextLength: 16 });
  await assert.rejects(summarize(small.engine, 'a'), code('E_CONTEXT_OVERFLOW'));
  await assert.rejects(translate(small.engine, 'a', { from: 'en', to: 'de' }), code('E_CONTEXT_OVERFLOW'));
  await assert.rejects(
    answer(fakeEngine(CHAT).engine, { question: 'a '.repeat(70), context: 'a' }),
    code('E_CONTEXT_OVERFLOW'),
  );
});

test('guessed tokens of several answers are counted together, where there are any', () => {
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2, prompt_tokens_details: { cached_tokens: 0 } };
  const timings = { prompt_n: 1, prompt_ms: 1, predicted_n: 1, predicted_ms: 1 };
  const guessed = { ...timings, draft_n: 4, draft_n_accepted: 3 };
  const costsOf = (...all: Timings[]) => {
    const costs = new Costs();
    for (const timings of all) costs.add({ text: '', finish_reason: 'stop', usage, timings });
    return costs.timings;
  };
  assert.deepEqual(costsOf(timings, timings), { prompt_n: 2, prompt_ms: 2, predicted_n: 2, predicted_ms: 2 });
  const both = { prompt_n: 3, prompt_ms: 3, predicted_n: 3, predicted_ms: 3, draft_n: 8, draft_n_accepted: 6 };
  assert.deepEqual(costsOf(guessed, timings, guessed), both);
});
