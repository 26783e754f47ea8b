import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { reach, type Span, split, widened } from '../src/tasks/chunks.js';
import { sentenceCuts } from '../src/tasks/sentences.js';
import { wordsOf } from './tasks-fake.js';

const words = async (text: string): Promise<number> => wordsOf(text).length;
const characters = async (text: string): Promise<number> => [...text].length;
const sentencesOf = (text: string): string[] =>
  sentenceCuts(text).map(({ at }, i, cuts) => text.slice(cuts[i - 1]?.at ?? 0, at));
const textsOf = (text: string, spans: Span[]): string[] => spans.map(({ start, end }) => text.slice(start, end));

/** Every character is in exactly one part, in order. */
function assertWhole(text: string, spans: Span[]): void {
  assert.equal(textsOf(text, spans).join(''), text);
  spans.forEach(({ start, end }, i) => assert.ok(start < end && start === (spans[i - 1]?.end ?? 0)));
}

test('sentences, lines and paragraphs', () => {
  assert.deepEqual(sentencesOf('One. Two!  Three?\nFour: five\n\nSix… "Seven." Eight'), [
    'One. ',
    'Two!  ',
    'Three?\n',
    'Four: five\n\n',
    'Six… ',
    '"Seven." ',
    'Eight',
  ]);
  assert.deepEqual(
    sentenceCuts('a\nb\n\ncat. Dog').map(({ strength }) => strength),
    [3, 4, 2, 4],
  );
  assert.deepEqual(sentenceCuts(''), []);
});

test('what looks like the end of a sentence and is none', () => {
  for (const text of [
    'Dr. Smith met Mrs. Jones.',
    'It costs 3.50 at J. K. Rowling’s.',
    'Apples, e.g. Braeburn, i.e. red ones.',
    'In the U.S. Senate it failed.',
    'He said "stop." and left.',
    'Wait... what?',
    'www.example.org is down',
  ])
    assert.deepEqual(sentencesOf(text), [text]);
});

test('Chinese and Japanese need no spaces', () => {
  assert.deepEqual(sentencesOf('我爱你。你好吗？「はい。」と言った。'), [
    '我爱你。',
    '你好吗？',
    '「はい。」',
    'と言った。',
  ]);
});

test('a long row of marks takes no time', () => {
  const started = performance.now();
  sentenceCuts('.'.repeat(200_000));
  sentenceCuts(`${'."'.repeat(100_000)}`);
  sentenceCuts(' '.repeat(200_000));
  assert.ok(performance.now() - started < 1000);
});

test('a text that fits is one part, an empty one none', async () => {
  assert.deepEqual(await split('one two', 2, words), [{ start: 0, end: 7 }]);
  assert.deepEqual(await split('', 2, words), []);
});

test('parts of about the same length, that end where paragraphs and sentences do', async () => {
  const sentence = (i: number): string => `This is sentence number ${i} of the text.`;
  const paragraph = (i: number): string => [0, 1, 2].map((j) => sentence(3 * i + j)).join(' ');
  const text = [0, 1, 2, 3, 4, 5].map(paragraph).join('\n\n');
  const spans = await split(text, 60, words);
  assertWhole(text, spans);
  const parts = textsOf(text, spans);
  assert.equal(parts.length, 3);
  for (const part of parts) assert.equal(part.split('\n\n').filter((p) => p !== '').length, 2, part);
});

test('random texts lose nothing and fit', async () => {
  let seed = 1;
  const random = (n: number): number => (seed = (seed * 48_271) % 2_147_483_647) % n;
  const pieces = [
    'word',
    ' ',
    ' ',
    '. ',
    '\n',
    '\n\n',
    'é',
    '👩‍🚀',
    '漢字',
    '。',
    '"',
    'A',
    '…',
    'e\u0301',
    'Dr. ',
    '\t',
    'x'.repeat(40),
  ];
  for (let i = 0; i < 300; i++) {
    const text = Array.from({ length: random(200) }, () => pieces[random(pieces.length)]).join('');
    for (const [measure, limit] of [
      [words, 1 + random(30)],
      [characters, 8 + random(60)],
    ] as const) {
      const spans = await split(text, limit, measure);
      assertWhole(text, spans);
      for (const part of textsOf(text, spans)) {
        assert.ok((await measure(part)) <= limit, `${JSON.stringify(part)} is more than ${limit}`);
        assert.doesNotMatch(part, /^[\udc00-\udfff\u0301\u200d]/, 'no character is cut in two');
      }
    }
  }
});

test('words without an end, and what cannot be cut', async () => {
  const text = 'x'.repeat(5000);
  const spans = await split(text, 100, characters);
  assertWhole(text, spans);
  assert.ok(spans.length <= 70, `${spans.length} parts`);
  const many = Array.from({ length: 3000 }, (_, i) => `w${i}`).join(' ');
  let n_calls = 0;
  const counted = (part: string): Promise<number> => (n_calls++, words(part));
  const of = await split(many, 500, counted);
  assertWhole(many, of);
  assert.ok(of.length <= 8, `${of.length} parts`);
  assert.ok(n_calls < 100, `${n_calls} calls: a text without sentences is not counted word by word`);
  const isOverflow = (error: unknown): boolean => error instanceof KingletError && error.code === 'E_CONTEXT_OVERFLOW';
  await assert.rejects(split('a b', 0, words), isOverflow);
  await assert.rejects(
    split('ab', 1, async () => 2),
    isOverflow,
  );
});

test('an end of a paragraph is worth a part that is a little shorter', async () => {
  const sentences = (n: number): string => 'Five words are in it. '.repeat(n).trim();
  const text = `${sentences(9)}\n\n${sentences(11)}`;
  const spans = await split(text, 60, words);
  assert.deepEqual(textsOf(text, spans), [`${sentences(9)}\n\n`, sentences(11)]);
});

test('parts that are more together than the sum of what each is', async () => {
  const measure = async (text: string): Promise<number> => wordsOf(text).length ** 2;
  const text = 'Aa bb cc. Dd ee ff. Gg hh ii. Jj kk ll. Mm nn oo.';
  const spans = await split(text, 20, measure);
  assertWhole(text, spans);
  for (const part of textsOf(text, spans)) assert.ok((await measure(part)) <= 20, part);
});

test('how far a text can be read back and on', async () => {
  const text = 'one two three four five';
  assert.equal(text.slice(await reach(text, { before: text.length }, 2, words)), 'four five');
  assert.equal(text.slice(0, await reach(text, { after: 0 }, 2, words)), 'one two ');
  assert.equal(await reach(text, { before: text.length }, 9, words), 0);
  assert.equal(await reach(text, { after: 0 }, 9, words), text.length);
  assert.equal(await reach(text, { before: 8 }, 0, words), 8);
  assert.equal(await reach('x'.repeat(50), { before: 50 }, 3, characters), 50, 'no word begins within reach');
});

test('parts with what stands about them', async () => {
  const text = 'a b c d e f g h i';
  const spans = await split(text, 3, words);
  assert.deepEqual(textsOf(text, await widened(text, spans, 1, words)), ['a b c d ', 'c d e f g ', 'f g h i']);
});
