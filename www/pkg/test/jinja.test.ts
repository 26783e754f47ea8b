// The template language against Jinja2 itself (template_expressions.py), and its limits.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { render } from '../src/jinja/index.js';
import { TemplateSyntaxError } from '../src/jinja/lexer.js';
import { RARE } from '../src/jinja/rare-all.js';
import { provideRare } from '../src/jinja/rare.js';
import { golden, type Result } from './golden.js';

provideRare(RARE);
const LIMITS = { maxSteps: 1_000_000, maxChars: 1_000_000 };
const run = (source: string, data: Record<string, unknown> = golden.variables) =>
  render(source, { own: {}, data, isOwn: () => false }, LIMITS, new Date(golden.now));

/** Where the template is no template, that it is refused is enough: Jinja's words for it are not ours everywhere. */
function same(source: string, wanted: Result): boolean {
  try {
    return run(source).s === wanted;
  } catch (error) {
    if (!(error instanceof Error) || typeof wanted === 'string') return false;
    return error instanceof TemplateSyntaxError || error.message === wanted.error;
  }
}

test('small templates give what Jinja2 gives', () => {
  assert.ok(golden.expressions.length > 900);
  const differing = golden.expressions.filter(([source, wanted]) => !same(source, wanted));
  assert.deepEqual(differing, []);
});

test('the check above can fail', () => {
  assert.ok(!same('{{ n }}', '8'));
  assert.ok(!same('{{ n }}', { error: "'n' is undefined" }));
  assert.ok(!same('{{ 1 + x }}', { error: "'y' is undefined" }));
});

test('every character tells who wrote it', () => {
  const { s, u } = run(
    '<{{ s.strip() }}|{{ [s, n] }}|{{ d | tojson }}|{{ s.upper()[1:3] ~ "x" }}|{{ s.replace("o", "00") }}>',
  );
  const [marks, text] = [u.split(''), s];
  assert.equal(s.length, u.length);
  const own = text
    .split('')
    .filter((_, i) => marks[i] === '0')
    .join('');
  assert.equal(own, "<|['', 7]|" + '{"": 1, "": "", "": 5, "": null}|x|0000>');
});

const endless: [string, string][] = [
  ['loops in loops', `${'{% for i in range(99999) %}'.repeat(4)}{% set x = i %}${'{% endfor %}'.repeat(4)}`],
  [
    'a doubling string',
    "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
  ],
  [
    'a doubling list',
    '{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}',
  ],
  [
    'a doubling dict',
    '{% set ns = namespace(d={}) %}{% for i in range(99) %}{% set ns.d = {i: ns.d, -i: ns.d} %}{% endfor %}{{ ns.d }}',
  ],
  [
    'a doubling list of itself',
    '{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == ns.l }}{{ ns.l }}',
  ],
  ['a long product of a string', "{{ 'x' * 999999999 }}"],
  ['a long product of a list', '{{ ([1] * 999999999) | length }}'],
  ['a wide format', "{{ '%999999999d' % 1 }}"],
  ['a wide field', "{{ '{:>999999999}'.format(1) }}"],
  ['a wide indent', "{{ 'a\\nb' | indent(999999999) }}"],
  ['a wide center', "{{ 'a'.center(999999999) }}"],
  ['an endless macro', '{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}'],
  ['a macro of many branches', '{% macro f(g) %}{{ g(g) }}{{ g(g) }}{% endmacro %}{{ f(f) }}'],
  ['an endless recursive loop', '{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}'],
  [
    'replacing with more',
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('x', 'xxxxxxxxxxxxxxxx') %}{% endfor %}",
  ],
  [
    'joining again and again',
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s.join(['aa', 'bb', 'cc']) * 9 %}{% endfor %}",
  ],
  ['a format of open fields', "{{ ('%(' * 400000) % 1 }}{{ ('{' * 400000).format(1) }}"],
  ['a quarter of a million blanks', `${' '.repeat(250_000)}x{%- if 1 %}${' '.repeat(250_000)}{% endif %}`],
  ['blanks to strip', "{{ (' ' * 900000 ~ 'x').strip() }}{{ ('x' ~ ' ' * 900000).split() | length }}"],
  ['10,000 parentheses', `{{ ${'('.repeat(10_000)}1${')'.repeat(10_000)} }}`],
  ['10,000 minus signs', `{{ ${'- '.repeat(10_000)}1 }}`],
  ['10,000 nots', `{{ ${'not '.repeat(10_000)}1 }}`],
  ['10,000 brackets', `{{ ${'['.repeat(10_000)}${']'.repeat(10_000)} }}`],
  ['10,000 blocks', `${'{% if 1 %}'.repeat(10_000)}${'{% endif %}'.repeat(10_000)}`],
  ['10,000 elses', `{{ ${'1 if 0 else '.repeat(10_000)}1 }}`],
  ['10,000 operators, and what they make', `{{ 1${' + 1'.repeat(10_000)} }}`],
  ['10,000 attributes', `{{ d${'.a'.repeat(10_000)} }}`],
  ['10,000 filters', `{{ 'a'${' | upper'.repeat(10_000)} }}`],
];
for (const [name, source] of endless) {
  test(`it ends: ${name}`, (context) => {
    run('{{ 1 }}');
    const heap = process.memoryUsage().heapUsed;
    const before = performance.now();
    // A text or an error, but soon and without taking much.
    try {
      run(source);
    } catch (error) {
      assert.ok(error instanceof Error);
    }
    const ms = performance.now() - before;
    context.diagnostic(`${ms.toFixed(1)} ms, ${((process.memoryUsage().heapUsed - heap) / 2 ** 20).toFixed(1)} MiB`);
    assert.ok(ms < 1000, `${ms} ms`);
    assert.equal(run('{{ n }}').s, '7');
  });
}
