// The Markdown reader, on the compiled page: what it understands, what it must leave alone, and that it is linear.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blocks, inlines } from '../dist/markdown.js';

const text = (t) => ({ kind: 'text', text: t });

test('paragraphs, headings, lists and code', () => {
  assert.deepEqual(blocks('One\ntwo\n\n## Title\nthree\n- a\n- b\n  - c\n\n1. x\n2. y'), [
    { kind: 'paragraph', text: 'One\ntwo' },
    { kind: 'heading', text: 'Title' },
    { kind: 'paragraph', text: 'three' },
    {
      kind: 'list',
      ordered: false,
      start: 1,
      items: [
        { depth: 0, text: 'a' },
        { depth: 0, text: 'b' },
        { depth: 1, text: 'c' },
      ],
    },
    {
      kind: 'list',
      ordered: true,
      start: 1,
      items: [
        { depth: 0, text: 'x' },
        { depth: 0, text: 'y' },
      ],
    },
  ]);
  assert.deepEqual(blocks('```js\nlet x;\n\n- no list\n```\nafter'), [
    { kind: 'code', language: 'js', text: 'let x;\n\n- no list\n' },
    { kind: 'paragraph', text: 'after' },
  ]);
});

test('tables: alignment, bars that are text, rows that are too short or too long', () => {
  assert.deepEqual(
    blocks(
      'Birds:\n\n| Name | g | Sings |\n|:--|--:|:-:|\n| **kinglet** | 5 | yes |\n| a \\| b |\nwren | 9 | yes | more\n\nend',
    ),
    [
      { kind: 'paragraph', text: 'Birds:' },
      {
        kind: 'table',
        align: ['left', 'right', 'center'],
        head: ['Name', 'g', 'Sings'],
        rows: [
          ['**kinglet**', '5', 'yes'],
          ['a | b', '', ''],
          ['wren', '9', 'yes'],
        ],
      },
      { kind: 'paragraph', text: 'end' },
    ],
  );
  assert.deepEqual(
    blocks('a | b\n--- | ---').map(({ head }) => head),
    [['a', 'b']],
    'without bars at the ends',
  );
  assert.deepEqual(
    blocks('Here:\n| a |\n|---|\n| 1 |').map(({ kind, text }) => text ?? kind),
    ['Here:', 'table'],
    'right below a paragraph',
  );
  for (const plain of ['a | b\nc | d', '| a | b |\n|---|', 'a\n---', '| a |\n| - b |'])
    assert.equal(
      blocks(plain).some(({ kind }) => kind === 'table'),
      false,
      plain,
    );
});

test('a list in an item has bullets or numbers of its own', () => {
  const [list] = blocks('1. a\n   - b\n   - c\n2. d\n   1. e');
  assert.deepEqual(list.items, [
    { depth: 0, text: 'a' },
    { depth: 1, text: 'b' },
    { depth: 1, text: 'c' },
    { depth: 0, text: 'd' },
    { depth: 1, text: 'e', number: 1 },
  ]);
});

test('a numbered list that blank lines interrupt goes on with its numbers', () => {
  const starts = blocks('1. x\n\n2. y\n\n3. z').map((block) => block.start);
  assert.deepEqual(starts, [1, 2, 3]);
});

test('code that has not ended yet is code, with its blank lines', () => {
  assert.deepEqual(blocks('```\n\na\n\nb'), [{ kind: 'code', language: '', text: '\na\n\nb\n' }]);
});

test('emphasis and code spans', () => {
  assert.deepEqual(inlines('a **b *c*** `d*` _e_'), [
    text('a '),
    { kind: 'strong', children: [text('b '), { kind: 'em', children: [text('c')] }] },
    text(' '),
    { kind: 'code', text: 'd*' },
    text(' '),
    { kind: 'em', children: [text('e')] },
  ]);
});

test('what only looks like a mark stays text', () => {
  for (const plain of [
    '2 * 3 * 4',
    'snake_case_name',
    'a ** b',
    '*',
    '**',
    '`',
    '``',
    '[x](',
    '[x]',
    '<b>x</b>',
    '&lt;',
    '_',
  ]) {
    assert.deepEqual(inlines(plain), [text(plain)]);
  }
});

test('links: only http and https, with the host of the real address', () => {
  assert.deepEqual(inlines('[good.example](https://bad.example/x)'), [
    { kind: 'link', href: 'https://bad.example/x', host: 'bad.example', text: 'good.example' },
  ]);
  for (const address of [
    'javascript:alert(1)',
    ' javascript:alert(1)',
    'data:text/html,x',
    'file:///etc/passwd',
    '//x.example',
    '/x',
    'java\tscript:alert(1)',
  ]) {
    assert.deepEqual(inlines(`[x](${address})`), [text(`[x](${address})`)]);
  }
  assert.equal(
    inlines('![x](https://a.example/pixel.png)').some((span) => span.kind === 'link'),
    true,
    'an image is only a link',
  );
});

test('the whole text is always there', () => {
  const source = 'An *odd _mix* of_ **marks `and** code` [with](https://a.example) **more';
  const flat = (spans) => spans.map((s) => s.text ?? flat(s.children)).join('');
  assert.equal(flat(inlines(source)).replace(/[*_`]/g, ''), 'An odd mix of marks and code with more');
});

test('hostile text costs no more than its length', () => {
  for (const mark of [
    '*',
    '**',
    '_',
    '`',
    '[',
    '[](',
    '**a',
    '*a ',
    '- ',
    '# ',
    '```\n',
    '1. ',
    '|',
    '| ',
    '|\n|-\n',
    '|a|\n|-|\n',
    '-|',
    '\\|',
  ]) {
    const source = mark.repeat(20_000);
    const started = performance.now();
    for (const block of blocks(source)) if (block.kind === 'paragraph') inlines(block.text);
    inlines(source);
    assert.ok(performance.now() - started < 2000, `${JSON.stringify(mark)} took ${performance.now() - started} ms`);
  }
});
