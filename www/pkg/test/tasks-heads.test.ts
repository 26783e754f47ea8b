import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import {
  classify,
  type ClassifyOptions,
  fillMask,
  rerank,
  support,
  tag,
  type TaskEngine,
  type TaskName,
} from '../src/tasks/index.js';
import type { Kinglet } from '../src/index.js';
import type { Task } from '../src/types.js';
import { BASE, CHAT, ENCODER_DECODER, fakeEngine, type FakeOptions, progressWatch, wordsOf } from './tasks-fake.js';

const code =
  (expected: string, pattern = /./) =>
  (error: unknown) =>
    error instanceof KingletError && error.code === expected && pattern.test(error.message);
const near = (a: number | undefined, b: number): boolean => a !== undefined && Math.abs(a - b) < 1e-9;
const softmax = (logits: number[]): number[] => {
  const powers = logits.map(Math.exp);
  return powers.map((power) => power / powers.reduce((a, b) => a + b, 0));
};
/** An engine as it is loaded is one that the tasks take. */
export const taken = (engine: Kinglet): TaskEngine => engine;

const EMBEDDER: FakeOptions = { tasks: ['embed'] };
const MOOD: FakeOptions = {
  tasks: ['classify'],
  labels: ['sad', 'so so', 'glad'],
  judge: (text) => [0, 1, text.split('good').length - 1],
};

test('what each kind of model can do, and how', () => {
  const how = (options: FakeOptions): string =>
    Object.entries(support(fakeEngine(options).engine))
      .map(([task, found]) => `${task}:${found.by ?? '-'}`)
      .join(' ');
  const of = (...tasks: Task[]): FakeOptions => ({ tasks, labels: ['a', 'b'] });
  assert.deepEqual(
    [
      CHAT,
      BASE,
      { ...CHAT, ...ENCODER_DECODER, ...CHAT, tasks: ['generate', 'remember'] as Task[] },
      ENCODER_DECODER,
      { ...ENCODER_DECODER, name: 'flan-t5' },
      EMBEDDER,
      of('classify'),
      of('label'),
      of('embed', 'fill-mask'),
      { tasks: ['classify'], labels: ['x'] },
    ].map((options) => how(options as FakeOptions)),
    [
      'complete:prompt summarize:prompt translate:prompt answer:prompt classify:score tag:- fillMask:score embed:- search:- rerank:-',
      'complete:prompt summarize:- translate:- answer:- classify:score tag:- fillMask:score embed:- search:- rerank:-',
      'complete:- summarize:prompt translate:prompt answer:prompt classify:score tag:- fillMask:- embed:- search:- rerank:-',
      'complete:- summarize:prefix translate:prefix answer:prefix classify:score tag:- fillMask:- embed:- search:- rerank:-',
      'complete:- summarize:prompt translate:prompt answer:prompt classify:score tag:- fillMask:- embed:- search:- rerank:-',
      'complete:- summarize:- translate:- answer:- classify:embedding tag:- fillMask:- embed:embedding search:embedding rerank:embedding',
      'complete:- summarize:- translate:- answer:- classify:head tag:- fillMask:- embed:- search:- rerank:-',
      'complete:- summarize:- translate:- answer:- classify:- tag:head fillMask:- embed:- search:- rerank:-',
      'complete:- summarize:- translate:- answer:- classify:embedding tag:- fillMask:head embed:embedding search:embedding rerank:embedding',
      'complete:- summarize:- translate:- answer:- classify:head tag:- fillMask:- embed:- search:- rerank:head',
    ],
  );
});

test('a call that a model is not made for rejects with the words of its reason', async () => {
  const { engine } = fakeEngine({ tasks: ['label'], labels: ['O'], name: 'tagger' });
  const can = support(engine);
  const calls: Partial<Record<TaskName, () => Promise<unknown>>> = {
    classify: () => classify(engine, 'a', { labels: ['a', 'b'] }),
    fillMask: () => fillMask(engine, '[MASK]'),
    rerank: () => rerank(engine, 'a', ['b']),
  };
  for (const [task, call] of Object.entries(calls)) {
    const found = can[task as TaskName];
    assert.ok(found.by === null && /^tagger is an encoder, which can label: /.test(found.reason));
    await assert.rejects(
      call(),
      (error) =>
        error instanceof KingletError &&
        error.code === 'E_UNSUPPORTED_TASK' &&
        error.message === found.reason &&
        error.details['task'] === task,
    );
  }
});

test("a head's labels, the best first, of one text and of several", async () => {
  const { engine, classified } = fakeEngine(MOOD);
  const watch = progressWatch();
  const [bad, good] = await classify(engine, ['it is bad', 'good good good'], { onProgress: watch.onProgress });
  assert.deepEqual(
    bad?.map(({ label }) => label),
    ['so so', 'sad', 'glad'],
  );
  assert.deepEqual(
    good?.map(({ label }) => label),
    ['glad', 'so so', 'sad'],
  );
  assert.ok(near(good?.[0]?.score, softmax([0, 1, 3])[2] ?? 0));
  assert.equal(classified.length, 2);
  assert.ok(watch.isSound());
  const [some] = await classify(engine, 'good', { labels: ['glad', 'sad'] });
  assert.deepEqual(
    some?.map(({ label }) => label),
    ['glad', 'sad'],
  );
  assert.ok(near(some?.[0]?.score, softmax([0, 1])[1] ?? 0), 'the scores of some labels are among these');
  assert.deepEqual(await classify(engine, []), []);
});

test('a long text is judged in parts, which count by their tokens', async () => {
  const { engine, classified } = fakeEngine({ ...MOOD, contextLength: 40 });
  const text = `${'All is bad here. '.repeat(30)}${'All is good here. '.repeat(10)}`.trim();
  const [found] = await classify(engine, text);
  assert.ok(classified.length >= 4);
  assert.equal(classified.map((one) => one.text).join(''), text, 'nothing is lost');
  const expected = [0, 0, 0];
  for (const { text: part } of classified)
    softmax([0, 1, part.split('good').length - 1]).forEach((p, l) => {
      expected[l] = (expected[l] ?? 0) + (p * wordsOf(part).length) / wordsOf(text).length;
    });
  for (const { label, score } of found ?? [])
    assert.ok(near(score, expected[MOOD.labels?.indexOf(label) ?? 0] ?? 0), `${label} ${score}`);
  assert.ok(
    near(
      found?.reduce((sum, { score }) => sum + score, 0),
      1,
    ),
  );
});

test('labels that a model was not trained for: by entailment', async () => {
  const { engine, classified } = fakeEngine({
    tasks: ['classify'],
    labels: ['contradiction', 'Entailment', 'neutral'],
    judge: (text, pair = '') => [0, pair.includes(text.includes('ball') ? 'sport' : 'food') ? 3 : -1, 1],
  });
  const [ball, soup] = await classify(engine, ['a ball', 'a soup'], { labels: ['food', 'sport'] });
  assert.deepEqual([ball?.[0]?.label, soup?.[0]?.label], ['sport', 'food']);
  assert.ok(near(ball?.[0]?.score, softmax([3, -1])[0] ?? 0));
  assert.deepEqual(classified[1], { text: 'a ball', pair: 'This text is about sport.' });
  await classify(engine, 'a ball', { labels: ['food', 'sport'], template: 'It is {}!' });
  assert.equal(classified.at(-1)?.pair, 'It is sport!');
});

test('… by how much more probable a label is after the text', async () => {
  const frequent: Record<string, number> = { politics: -1, sport: -6 };
  for (const options of [BASE, CHAT, ENCODER_DECODER]) {
    const { engine, scored } = fakeEngine({
      ...options,
      logprob: (context, label) => (frequent[label] ?? 0) + (context.includes('ball') && label === 'sport' ? 3 : 0),
    });
    const [found] = await classify(engine, 'A ball game.', { labels: ['politics', 'sport'] });
    assert.deepEqual(
      found?.map(({ label }) => label),
      ['sport', 'politics'],
    );
    assert.ok(near(found?.[0]?.score, softmax([0, 3])[1] ?? 0));
    const before = options.tasks
      ? 'A ball game.\n\nWhich of these describes the text?\nOPTIONS:\n- politics\n- sport'
      : 'A ball game.\n\nThis text is about ';
    assert.deepEqual(
      scored[1]?.map(({ context, continuation }) => [context, continuation]),
      [
        [before, 'politics'],
        [before, 'sport'],
      ],
    );
  }
  const { engine, scored } = fakeEngine({ ...BASE, logprob: () => -1 });
  await classify(engine, ['a', 'b'], { labels: ['x', 'y'], template: 'Text: {}\nMood: {}.' });
  assert.deepEqual(
    scored.map(([one]) => one),
    [
      { context: 'Text: \nMood: ', continuation: 'x.' },
      { context: 'Text: a\nMood: ', continuation: 'x.' },
      { context: 'Text: b\nMood: ', continuation: 'x.' },
    ],
  );
  await classify(engine, 'a', { labels: ['x', 'y'], template: 'It is {}.' });
  assert.deepEqual(scored.at(-1)?.[0], { context: 'a\n\nIt is ', continuation: 'x.' });
  scored.length = 0;
  const long = 'All is well here. '.repeat(60);
  await classify(engine, long, { labels: ['x', 'y'] });
  assert.ok(scored.length > 4);
});

test('… and by embeddings', async () => {
  const { engine } = fakeEngine({
    ...EMBEDDER,
    embed: (text) => (text.includes('ball') || text === 'sport' ? [1, 0.2, 0, 0] : [0.2, 1, 0, 0]),
  });
  const [ball, soup] = await classify(engine, ['a ball', 'a soup'], { labels: ['food', 'sport'] });
  assert.deepEqual([ball?.[0]?.label, soup?.[0]?.label], ['sport', 'food']);
  assert.ok(near(ball?.[0]?.score, softmax([20, (20 * 0.4) / 1.04])[0] ?? 0), String(ball?.[0]?.score));
});

test('labels that cannot be judged', async () => {
  const { engine, classified } = fakeEngine(MOOD);
  const call = (options: unknown, of = engine): Promise<unknown> => classify(of, 'a', options as ClassifyOptions);
  const decoder = fakeEngine(BASE);
  for (const [options, of, name, pattern] of [
    [{ labels: ['glad', 'other'] }, engine, 'RangeError', /"other"; this model has sad, so so, glad/],
    [{ labels: ['glad', 'sad'], template: '{}' }, engine, 'RangeError', /template/],
    [{ labels: [] }, engine, 'RangeError', /labels has 0/],
    [{ labels: 'glad' }, engine, 'TypeError', /labels/],
    [{ labels: ['glad', 'glad'] }, engine, 'RangeError', /twice/],
    [{}, decoder.engine, 'TypeError', /labels: fake has none/],
    [{ labels: ['x'] }, decoder.engine, 'RangeError', /at least 2/],
    [{ labels: ['x', ' '] }, decoder.engine, 'RangeError', /labels\[1\] is empty/],
    [{ labels: ['x', 'y'], template: 'no place' }, decoder.engine, 'RangeError', /0 places/],
    [{ labels: ['x', 'y'], template: '{}{}{}' }, decoder.engine, 'RangeError', /3 places/],
    [{ labels: ['x', 'y'], template: '{} {}' }, fakeEngine(EMBEDDER).engine, 'RangeError', /by itself/],
  ] as const)
    await assert.rejects(
      call(options, of),
      (error: Error) => error.name === name && pattern.test(error.message),
      String(pattern),
    );
  assert.equal(classified.length + decoder.scored.length, 0);
});

const TAGGER: FakeOptions = {
  tasks: ['label'],
  labels: ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC'],
  labelOf: (word) => {
    const labels: Record<string, string> = {
      Ada: 'B-PER',
      Love: 'I-PER',
      lace: 'B-LOC',
      York: 'B-LOC',
      New: 'I-LOC',
      Bob: 'B-PER',
      Amy: 'B-PER',
    };
    return labels[word] ?? 'O';
  },
};

test('tokens become words, and words spans', async () => {
  const { engine } = fakeEngine(TAGGER);
  const text = 'Ada Lovelace met Bob Amy in 🐦 New York.';
  const [spans] = await tag(engine, text);
  assert.deepEqual(
    spans?.map(({ label, text: part }) => [label, part]),
    [
      ['PER', 'Ada Lovelace'],
      ['PER', 'Bob'],
      ['PER', 'Amy'],
      ['LOC', 'New'],
      ['LOC', 'York'],
    ],
  );
  for (const { start, end, text: part, score } of spans ?? []) {
    assert.equal(text.slice(start, end), part);
    assert.equal(score, 0.5);
  }
});

test('what is between two parts keeps them apart', async () => {
  const { engine } = fakeEngine({ ...TAGGER, labelOf: (word) => (word === 'and' ? 'O' : 'I-PER') });
  assert.deepEqual(
    (await tag(engine, 'Ada Bob and Amy'))[0]?.map(({ text }) => text),
    ['Ada Bob', 'Amy'],
  );
});

test('other schemes of labels', async () => {
  const of = async (labels: string[], byWord: Record<string, string>, text: string) => {
    const { engine } = fakeEngine({ tasks: ['label'], labels, labelOf: (word) => byWord[word] ?? labels[0] ?? '' });
    return (await tag(engine, text))[0]?.map(({ label, text: part }) => `${label}:${part}`);
  };
  const bioes = ['O', 'B-X', 'I-X', 'E-X', 'S-X'];
  assert.deepEqual(await of(bioes, { a: 'B-X', b: 'I-X', c: 'E-X', d: 'S-X', e: 'S-X', f: 'E-X' }, 'a b c d e f o'), [
    'X:a b c',
    'X:d',
    'X:e',
    'X:f',
  ]);
  assert.deepEqual(await of(['O', 'X', 'Y'], { a: 'X', b: 'X', c: 'Y' }, 'a b c o a'), ['X:a b', 'Y:c', 'X:a']);
  assert.deepEqual(await of(['NOUN', 'VERB'], { b: 'VERB' }, 'a a b'), ['NOUN:a', 'NOUN:a', 'VERB:b']);
});

test('a long text is labelled in windows, each word in the middle of one', async () => {
  const { engine, labelled } = fakeEngine({
    ...TAGGER,
    contextLength: 40,
    labels: ['O', 'B-N'],
    labelOf: (word) => (/^\d/.test(word) ? 'B-N' : 'O'),
  });
  const text = Array.from({ length: 90 }, (_, i) => `so it is ${i}`).join('. And ');
  const watch = progressWatch();
  const [spans, none] = await tag(engine, [text, 'nothing'], { onProgress: watch.onProgress });
  assert.deepEqual(
    spans?.map((span) => span.text),
    Array.from({ length: 90 }, (_, i) => String(i)),
  );
  for (const { start, end, text: part } of spans ?? []) assert.equal(text.slice(start, end), part);
  assert.deepEqual(none, []);
  assert.ok(labelled.length > 8 && watch.isSound());
  assert.ok(labelled.join('').length > text.length * 1.1, 'windows overlap');
});

const FILLER: FakeOptions = {
  tasks: ['fill-mask'],
  fill: (tokens, at, candidate) => {
    const [before, after] = [tokens[at - 1], tokens[at + 1]];
    if (candidate === ' Paris') return after === ' in' ? -0.1 : -2;
    if (candidate === ' New') return after === '[MASK]' ? -1 : -9;
    if (candidate === ' York') return before === ' New' ? -0.2 : -9;
    return -5;
  },
};

test('masks are filled in, each with the others empty, in either spelling', async () => {
  const { engine } = fakeEngine(FILLER);
  await engine.tokenize(' Paris');
  const text = 'I live [MASK] in and <mask> too';
  const [first, second, ...more] = await fillMask(engine, text, { top: 2 });
  assert.deepEqual(more, []);
  assert.deepEqual([first?.length, second?.length], [2, 2]);
  assert.deepEqual([first?.[0]?.text, second?.[0]?.text], ['Paris', 'Paris']);
  assert.ok(near(first?.[0]?.score, Math.exp(-0.1)) && near(second?.[0]?.score, Math.exp(-2)));
  assert.equal(first?.[0]?.filled, 'I live Paris in and <mask> too');
  assert.equal(second?.[0]?.filled, 'I live [MASK] in and Paris too');
});

test('candidates of one and of several tokens, among themselves', async () => {
  const { engine } = fakeEngine(FILLER);
  const [found] = await fillMask(engine, 'I live [MASK] in', { candidates: ['Rome', 'New York', 'Paris'] });
  // New is followed by a mask, York by what stands there and after New.
  const expected = softmax([-5, -1 - 0.2, -0.1]);
  assert.deepEqual(
    found?.map(({ text }) => text),
    ['Paris', 'New York', 'Rome'],
  );
  assert.ok(near(found?.[0]?.score, expected[2] ?? 0) && near(found?.[1]?.score, expected[1] ?? 0));
  assert.equal(found?.[1]?.filled, 'I live New York in');
  assert.equal((await fillMask(engine, 'I live [MASK] in', { candidates: ['Rome', 'Paris'], top: 1 }))[0]?.length, 1);
  const [first, second] = await fillMask(engine, 'I live [MASK] in and [MASK] too', { candidates: ['Rome', 'Paris'] });
  assert.ok(near(first?.[0]?.score, softmax([-5, -0.1])[1] ?? 0));
  assert.ok(near(second?.[0]?.score, softmax([-5, -2])[1] ?? 0), 'each by its own place');
});

test('a mask in a long text is seen with what is about it', async () => {
  const { engine } = fakeEngine({ ...FILLER, contextLength: 40 });
  const around = 'word '.repeat(100);
  const [found] = await fillMask(engine, `${around}live [MASK] in ${around}`, { candidates: ['Rome', 'Paris'] });
  assert.equal(found?.[0]?.text, 'Paris');
  assert.ok(near(found?.[0]?.score, softmax([-5, -0.1])[1] ?? 0));
});

test('a decoder compares what a text would be with each candidate', async () => {
  const { engine, scored } = fakeEngine({
    ...BASE,
    logprob: (_, continuation) => (continuation === 'Paris in.' ? -1 : -3),
  });
  const [found] = await fillMask(engine, 'I live <mask> in.', { candidates: ['Rome', 'Paris'] });
  assert.deepEqual(scored, [
    [
      { context: 'I live ', continuation: 'Rome in.' },
      { context: 'I live ', continuation: 'Paris in.' },
    ],
  ]);
  assert.ok(near(found?.[0]?.score, softmax([-1, -3])[0] ?? 0));
  await assert.rejects(fillMask(engine, 'a [MASK]'), TypeError);
  await assert.rejects(fillMask(engine, '[MASK] a [MASK]', { candidates: ['x', 'y'] }), RangeError);
  await assert.rejects(fillMask(fakeEngine(FILLER).engine, 'no mask'), RangeError);
  await assert.rejects(fillMask(fakeEngine(ENCODER_DECODER).engine, '[MASK]'), code('E_UNSUPPORTED_TASK'));
});

test('documents by a head for pairs; a long one counts by its best part', async () => {
  const { engine, classified } = fakeEngine({
    tasks: ['classify'],
    labels: ['fits'],
    contextLength: 40,
    judge: (text, pair = '') => [pair.includes(text) ? 2 : -2],
  });
  const long = `${'Some words that say nothing. '.repeat(20)}Here is the cat. ${'More of it. '.repeat(20)}`;
  const watch = progressWatch();
  const found = await rerank(engine, 'cat', ['dog', long, '', 'cat'], { onProgress: watch.onProgress });
  assert.deepEqual(
    found.map(({ index }) => index),
    [1, 3, 0, 2],
  );
  assert.ok(near(found[0]?.score, 1 / (1 + Math.exp(-2))) && found[0]?.document === long);
  assert.ok(classified.length > 6 && classified.every(({ text }) => text === 'cat') && watch.isSound());
  assert.equal((await rerank(engine, 'cat', ['dog', 'cat'], { top: 1 }))[0]?.index, 1);
  await assert.rejects(rerank(engine, 'cat '.repeat(35), ['a']), code('E_CONTEXT_OVERFLOW'));
  assert.deepEqual(await rerank(engine, 'cat', []), []);
});

test('documents by the cosine of embeddings', async () => {
  const { engine } = fakeEngine({ ...EMBEDDER, embed: (text) => (text.includes('cat') ? [1, 0, 0, 0] : [3, 4, 0, 0]) });
  const found = await rerank(engine, 'cat', ['dog', 'cat']);
  assert.deepEqual(
    found.map(({ index, document }) => [index, document]),
    [
      [1, 'cat'],
      [0, 'dog'],
    ],
  );
  assert.ok(Math.abs((found[1]?.score ?? 0) - 0.6) < 1e-6);
});
