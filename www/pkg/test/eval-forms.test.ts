import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError, readBenchmark } from '../src/eval/index.js';
import type { Benchmark, ReadOptions } from '../src/eval/index.js';

const lines = (...records: unknown[]): string => records.map((record) => JSON.stringify(record)).join('\n');
const requestsOf = ({ items }: Benchmark, i = 0) => items[i]?.requests.map((r) => [r.context, r.continuation]);
const refused =
  (pattern: RegExp, code = 'E_FILE_FORMAT') =>
  (error: unknown) =>
    error instanceof KingletError && error.code === code && pattern.test(error.message);
const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

const STEM = 'What do wrens eat?';
const REQUESTS = ['spiders', 'stones', 'clouds'].map((choice) => [`Question: ${STEM}\nAnswer:`, ` ${choice}`]);
const AI2 = {
  id: 'W_1',
  question: {
    stem: STEM,
    choices: [
      { text: 'spiders', label: 'A' },
      { text: 'stones', label: 'B' },
      { text: 'clouds', label: 'C' },
    ],
  },
  answerKey: 'A',
};
const HF = {
  id: 'W_1',
  question: STEM,
  choices: { text: ['spiders', 'stones', 'clouds'], label: ['1', '2', '3'] },
  answerKey: '3',
};

test('ARC as AI2, Hugging Face and llm-foundry publish it', () => {
  const ai2 = readBenchmark(lines(AI2), { fileName: 'ARC-Easy-Test.jsonl' });
  assert.deepEqual([ai2.name, ai2.kind, ai2.form, ai2.skipped], ['arc_easy', 'choices', 'ARC, JSON lines', []]);
  assert.deepEqual(requestsOf(ai2), REQUESTS);
  assert.deepEqual(ai2.items[0]?.choices, ['spiders', 'stones', 'clouds']);
  assert.deepEqual([ai2.items[0]?.id, ai2.items[0]?.line, ai2.items[0]?.gold], ['W_1', 1, 0]);
  const hf = readBenchmark(lines(HF), { name: 'arc_challenge' });
  assert.deepEqual([hf.name, requestsOf(hf), hf.items[0]?.gold], ['arc_challenge', REQUESTS, 2]);
  const foundry = { query: `Question: ${STEM}`, choices: ['spiders', 'stones', 'clouds'], gold: 1 };
  const padded = readBenchmark(lines(foundry, { ...foundry, gold: 2 }));
  assert.deepEqual(
    [padded.name, requestsOf(padded), padded.items[1]?.gold, padded.items[1]?.id],
    ['arc', REQUESTS, 2, '2'],
  );
});

test('three, four and five choices, padded ones, spaces at the ends', () => {
  const choices = ['warm', 'cold', 'warm', 'wet '];
  const { items } = readBenchmark(
    lines(
      { query: 'Question: Rain is', choices, gold: 3 },
      { query: 'Question: Rain is ', choices: ['wet', 'dry', 'hot', ''], gold: 0 },
      { query: 'Rain is', choices: ['a', 'b', 'c', 'd', 'e'], gold: 4 },
      { query: 'Rain is', choices: ['warm', 'wet', 'wet'], gold: 2 },
    ),
  );
  assert.deepEqual(
    items.map((item) => [item.text, item.choices, item.gold]),
    [
      ['Rain is', ['warm', 'cold', 'wet'], 2],
      ['Rain is', ['wet', 'dry', 'hot'], 0],
      ['Rain is', ['a', 'b', 'c', 'd', 'e'], 4],
      ['Rain is', ['warm', 'wet'], 1],
    ],
  );
});

test('keys are letters or numbers, whatever the labels are', () => {
  const gold = (answerKey: unknown, label: string[]) =>
    readBenchmark(lines({ ...HF, answerKey, choices: { ...HF.choices, label } })).items[0]?.gold;
  assert.equal(gold('2', ['1', '2', '3']), 1);
  assert.equal(gold(2, ['1', '2', '3']), 1);
  assert.equal(gold('2', ['A', 'B', 'C']), 1);
  assert.equal(gold('C', ['1', '2', '3']), 2);
  assert.throws(() => gold('E', ['A', 'B', 'C']), refused(/right answer is not among/));
  assert.throws(() => gold('Z', ['0', '1', '2']), refused(/right answer is not among/));
});

test('a broken item is left out with its line and the reason', () => {
  const text = `${lines(AI2)}\r\n{"id": "x", \r\n\r\n${lines({ ...AI2, answerKey: '' }, { ...AI2, question: 7 }, AI2)}\r\n[]`;
  const { items, skipped } = readBenchmark(text);
  assert.deepEqual(
    items.map(({ id, line }) => [id, line]),
    [
      ['W_1', 1],
      ['W_1 (line 6)', 6],
    ],
  );
  assert.deepEqual(skipped, [
    { line: 2, reason: 'the line is not a JSON object' },
    { line: 4, reason: 'there is no answerKey' },
    { line: 5, reason: 'question is not a text' },
    { line: 7, reason: 'the line is not a JSON object' },
  ]);
});

test('a JSON list, and the rows of a data set server', () => {
  assert.deepEqual(requestsOf(readBenchmark(JSON.stringify([AI2, HF], null, 2)), 1), REQUESTS);
  const rows = readBenchmark(JSON.stringify({ features: [], rows: [{ row_idx: 0, row: HF }] }));
  assert.deepEqual(requestsOf(rows), REQUESTS);
});

const COPA = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE copa-corpus SYSTEM "copa.dtd">
<!-- two of our own -->
<copa-corpus version="1.0">
  <item id="7" asks-for="cause" most-plausible-alternative="2">
    <p>The wren sang. </p>
    <a1>It was a stone.</a1>
    <a2>The sun rose &amp; it was warm &#x2014; at last.</a2>
  </item>
  <item id='8' asks-for="effect" most-plausible-alternative="1"><p>Rain fell.</p>
    <a1><![CDATA[The ground got wet <at once>.]]></a1><a2>Élan grew.</a2></item>
  <item id="9" asks-for="why" most-plausible-alternative="1"><p>A.</p><a1>B.</a1><a2>C.</a2></item>
  <item id="10" asks-for="cause" most-plausible-alternative="3"><p>A.</p><a1>B.</a1><a2>C.</a2></item>
  <item id="11" asks-for="cause" most-plausible-alternative="1"><p>A.</p><a1>B.</a1></item>
</copa-corpus>
`;

test('COPA as XML', () => {
  const copa = readBenchmark(new TextEncoder().encode(`\uFEFF${COPA}`));
  assert.deepEqual([copa.name, copa.kind, copa.form], ['copa', 'choices', 'COPA, XML']);
  assert.deepEqual(requestsOf(copa), [
    ['The wren sang because', ' it was a stone.'],
    ['The wren sang because', ' the sun rose & it was warm — at last.'],
  ]);
  assert.deepEqual(requestsOf(copa, 1), [
    ['Rain fell therefore', ' the ground got wet <at once>.'],
    ['Rain fell therefore', ' élan grew.'],
  ]);
  assert.deepEqual(
    copa.items.map(({ id, gold, line, text }) => [id, gold, line, text]),
    [
      ['7', 1, 5, 'The wren sang. (cause)'],
      ['8', 0, 10, 'Rain fell. (effect)'],
    ],
  );
  assert.deepEqual(
    copa.skipped.map(({ line, reason }) => [line, reason.slice(0, 14)]),
    [
      [12, 'it asks neithe'],
      [13, 'it does not sa'],
      [14, 'there is no pr'],
    ],
  );
});

test("COPA as SuperGLUE's JSON lines; without labels nothing can be used", () => {
  const item = {
    premise: 'The wren sang.',
    choice1: 'It was a stone.',
    choice2: 'The sun rose.',
    question: 'cause',
    idx: 3,
  };
  const copa = readBenchmark(lines({ ...item, label: 1 }));
  assert.deepEqual(requestsOf(copa)?.[1], ['The wren sang because', ' the sun rose.']);
  assert.deepEqual([copa.form, copa.items[0]?.id, copa.items[0]?.gold], ['COPA, JSON lines', '3', 1]);
  assert.throws(() => readBenchmark(lines(item)), refused(/no item of the file can be used .*does not say which/));
});

test('the two spaces of lm-evaluation-harness 0.4', () => {
  const options: ReadOptions = { conventions: 'lm-eval-0.4' };
  assert.deepEqual(requestsOf(readBenchmark(COPA, options))?.[0], ['The wren sang because', '  it was a stone.']);
  assert.deepEqual(requestsOf(readBenchmark(SCHEMAS, options))?.[0], [
    'The wren hid from the cat because the wren',
    '  was small.',
  ]);
  assert.deepEqual(requestsOf(readBenchmark(lines(AI2), options)), REQUESTS);
});

const schema = (left: string, pronoun: string, right: string, answers: string[], correct: string) => `
<schema>
<text>
<txt1>
${left} </txt1>
<pron> ${pronoun}  </pron>
<txt2> ${right}
</txt2>
</text>
<quote><quote1></quote1><pron>other</pron><quote2>other</quote2></quote>
<answers>
${answers.map((answer) => `<answer>${answer} </answer>`).join('\n')}
</answers>
<correctAnswer> ${correct} </correctAnswer>
<source> own </source>
</schema>
`;
const SCHEMAS = `<?xml version="1.0" encoding="ISO-8859-1"?>
<?xml-stylesheet type="text/xsl" href="x.xsl"?>
<collection>
${schema('The wren hid from the cat \n because', 'it', 'was small.  ', ['The wren', 'The  cat'], 'A. ')}
${schema('Ann met Béa.', 'She', 'sang.', ['The wren', 'Béa'], ' B')}
${schema('Ann saw', 'her', 'nest & left.', ['Ann', 'The Queen & The wren'], 'A')}
${schema('', 'They', 'sang.', ['The wrens', 'The cats'], 'A')}
${schema('Ann saw', 'her', '', ['Ann', 'Béa'], 'A')}
${schema('Ann saw', 'her', 'nest.', ['Ann', 'Béa'], 'maybe')}
${schema('Ann saw', 'her', 'nest.', ['Ann'], 'A')}
</collection>`;

test('Winograd schemas as XML in ISO-8859-1, with an & that is not escaped', () => {
  const wsc = readBenchmark(latin1(SCHEMAS));
  assert.deepEqual([wsc.name, wsc.kind, wsc.form], ['wsc273', 'choices', 'Winograd schemas, XML']);
  assert.deepEqual(requestsOf(wsc), [
    ['The wren hid from the cat because the wren', ' was small.'],
    ['The wren hid from the cat because the cat', ' was small.'],
  ]);
  // At the beginning of a sentence an article keeps its capital.
  assert.deepEqual(requestsOf(wsc, 1), [
    ['Ann met Béa. The wren', ' sang.'],
    ['Ann met Béa. Béa', ' sang.'],
  ]);
  // Whose: 's; every article like the first becomes small, as in the harness.
  assert.deepEqual(requestsOf(wsc, 2), [
    ["Ann saw Ann's", ' nest & left.'],
    ["Ann saw the Queen & the wren's", ' nest & left.'],
  ]);
  // The harness takes the beginning of a text for its middle.
  assert.deepEqual(requestsOf(wsc, 3), [
    ['the wrens', ' sang.'],
    ['the cats', ' sang.'],
  ]);
  assert.deepEqual(
    wsc.items.map(({ gold }) => gold),
    [0, 1, 0, 0],
  );
  assert.equal(wsc.items[0]?.text, 'The wren hid from the cat because [it] was small.');
  assert.deepEqual(
    wsc.skipped.map(({ reason }) => reason),
    ['nothing follows the pronoun', 'the right answer is not among the candidates', 'there are no two candidates'],
  );
});

test('WSC273 is the first 273 of the collection', () => {
  const one = schema('The wren hid because', 'it', 'was small.', ['The wren', 'The cat'], 'A');
  const all = `<collection>${one.repeat(285)}</collection>`;
  const wsc = readBenchmark(all);
  assert.deepEqual([wsc.name, wsc.items.length, wsc.skipped.length], ['wsc273', 273, 12]);
  assert.match(wsc.skipped[0]?.reason ?? '', /first 273/);
  const whole = readBenchmark(all, { name: 'wsc285' });
  assert.deepEqual([whole.name, whole.items.length, whole.skipped.length], ['wsc285', 285, 0]);
});

test('Winograd schemas as JSON lines and with masks', () => {
  const item = {
    text: 'The wren hid  because it was small.',
    pronoun: 'it',
    pronoun_loc: 21,
    quote: 'it was small',
    options: ['The wren', 'The cat'],
    label: 0,
  };
  const json = readBenchmark(lines(item, { ...item, pronoun_loc: 20 }, { ...item, label: '0' }));
  assert.deepEqual(requestsOf(json), [
    ['The wren hid because the wren', ' was small.'],
    ['The wren hid because the cat', ' was small.'],
  ]);
  assert.deepEqual(
    json.skipped.map(({ line, reason }) => [line, reason]),
    [
      [2, 'the pronoun is not where it should be'],
      [3, 'label is not a number'],
    ],
  );
  const masks =
    'The wren hid because  [MASK]  was small. \r\n[MASK]\r\n The wren , the cat  \r\n The wren \r\n\r\n\r\n' +
    'Ann saw [MASK] nest.\n[MASK]\nAnn,Bea\nCleo\n \nAnn saw.\n[MASK]\nAnn,Bea\nAnn\n\nAnn saw [MASK] nest.\n[MASK]\nBea,Ann\nAnn';
  const masked = readBenchmark(masks);
  assert.deepEqual([masked.name, masked.form], ['wsc273', 'Winograd schemas, text with masks']);
  assert.deepEqual(requestsOf(masked), requestsOf(json));
  assert.deepEqual(
    masked.items.map(({ line, gold, text }) => [line, gold, text]),
    [
      [1, 0, 'The wren hid because [MASK] was small.'],
      [17, 1, 'Ann saw [MASK] nest.'],
    ],
  );
  assert.deepEqual(
    masked.skipped.map(({ line }) => line),
    [7, 12],
  );
});

test('LAMBADA as JSON lines and as lines of text', () => {
  const lambada = readBenchmark(
    lines({ text: 'The wren sang\n"until  dawn' }, { text: 'alone' }, { text: 'at dusk ' }),
  );
  assert.deepEqual([lambada.name, lambada.kind, lambada.skipped.length], ['lambada', 'greedy', 1]);
  assert.deepEqual(requestsOf(lambada), [['The wren sang\n"until ', ' dawn']]);
  assert.deepEqual(requestsOf(lambada, 1), [['at', ' dusk']]);
  assert.deepEqual(lambada.items[0]?.choices, ['dawn']);
  const plain = readBenchmark('the wren sang until dawn\n\nand the cat slept\n', { name: 'lambada' });
  assert.deepEqual([plain.name, plain.kind, plain.items.length], ['lambada', 'greedy', 2]);
  assert.deepEqual(requestsOf(plain, 1), [['and the cat', ' slept']]);
});

test('any other text is for its perplexity; WikiText is cut into articles', () => {
  const plain = readBenchmark('Wrens sing.\r\n[They] do, é.');
  assert.deepEqual(
    [plain.name, plain.kind, plain.form, plain.items.length],
    ['perplexity', 'perplexity', 'plain text', 1],
  );
  const [item] = plain.items;
  assert.deepEqual([item?.text, item?.n_words, item?.n_bytes], ['Wrens sing.\n[They] do, é.', 5, 26]);
  const wiki = readBenchmark(
    " \n = Wren = \n \n The wren @-@ bird , is small ( very ) . \n = = Song = = \n = = = By night = = = \n \n = Cat = \n x 's y \n",
  );
  assert.deepEqual([wiki.name, wiki.form, wiki.items.length], ['wikitext', 'WikiText, raw', 2]);
  assert.equal(wiki.items[0]?.text, ' = Wren =\n\nThe wren-bird, is small (very).\n== Song ==\n=== By night ===\n');
  assert.deepEqual([wiki.items[0]?.line, wiki.items[0]?.n_words], [2, 29]);
  assert.equal(wiki.items[1]?.text, " = Cat =\nx's y\n");
  assert.equal(readBenchmark(COPA, { name: 'perplexity' }).items[0]?.text, COPA);
});

test('encodings: UTF-16 by its mark, ISO-8859-1 by its declaration, a wrong declaration', () => {
  const utf16 = Uint8Array.from([
    0xff,
    0xfe,
    ...[...COPA].flatMap((c) => [c.charCodeAt(0) & 255, c.charCodeAt(0) >> 8]),
  ]);
  assert.deepEqual(readBenchmark(utf16).items, readBenchmark(COPA).items);
  const wrong = COPA.replace('UTF-8', 'UTF-16');
  assert.deepEqual(readBenchmark(new TextEncoder().encode(wrong).buffer).items, readBenchmark(COPA).items);
  const accents = readBenchmark(
    latin1(
      '<?xml version="1.0" encoding="ISO-8859-1"?><copa-corpus><item asks-for="cause" most-plausible-alternative="1"><p>\xc9lan.</p><a1>A.</a1><a2>B.</a2></item></copa-corpus>',
    ),
  );
  assert.equal(accents.items[0]?.text, 'Élan. (cause)');
});

test('files that are none of these', () => {
  const broken = (data: string | Uint8Array, pattern: RegExp, options: ReadOptions = {}) =>
    assert.throws(() => readBenchmark(data, options), refused(pattern));
  broken('', /is empty/);
  broken(' \r\n\uFEFF', /is empty/);
  broken('a\0b', /not a text/);
  broken(latin1('caf\xe9 au lait'), /not text in UTF-8/);
  broken(latin1('<?xml version="1.0" encoding="klingon"?><x/>'), /unknown encoding, klingon/);
  broken('{"a": 1}', /JSON with a is no benchmark that is known. Known are ARC/);
  broken('{"text": 1', /JSON with no objects/);
  broken('words', /JSON with no objects/, { fileName: 'x.jsonl' });
  broken('<html><body></body></html>', /<html> at its root/);
  broken('<copa-corpus></copa-corpus>', /no item in the file; it looks like COPA, XML/);
  broken(lines(AI2), /is not copa; it looks like ARC/, { name: 'copa' });
  broken('Wrens sing.', /is not arc_easy; it looks like plain text/, { name: 'arc_easy' });
  for (const [text, pattern] of [
    ['<collection>\n<schema>', /line 2: <schema> of line 2 has no end/],
    ['<collection>\n<schema>\n</collection>', /line 3: <\/collection> ends <schema> of line 2/],
    ['<collection></collection>x', /after the end/],
    ['<collection a=b></collection>', /attribute a of <collection> has no value in quotes/],
    ['<collection a="1"b="2"/>', /not well formed/],
    ['<collection a="1" a="2"/>', /attribute a twice/],
    ['<!DOCTYPE x [<!ENTITY y "z">]><collection/>', /defines something/],
    ['<collection>&eacute;</collection>', /unknown entity &eacute;/],
    ['<collection>&#xD800;</collection>', /is no character/],
    ['<collection>< a></collection>', /begins no element/],
    ['<!-- never', /there is no "-->"/],
    ['<!-- only -->', /there is no element/],
    [`${'<a>'.repeat(5000)}`, /inside each other/],
  ] as const)
    broken(text, pattern);
});

test('wrong options', () => {
  const misuse = (data: unknown, options: unknown, pattern: RegExp) =>
    assert.throws(
      () => readBenchmark(data as string, options as ReadOptions),
      (e) => e instanceof TypeError && pattern.test(e.message),
    );
  misuse(7, {}, /data must be a string or bytes/);
  misuse('x', { name: 'mmlu' }, /name must be one of arc_easy/);
  misuse('x', { fileName: 1 }, /fileName/);
  misuse('x', { conventions: 'mine' }, /conventions must be/);
});
