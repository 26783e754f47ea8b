import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { checkError, checkText, knownTemplates, TemplateFuzzer } from './template-fuzzer.js';

const fuzzer = new TemplateFuzzer(knownTemplates());
after(() => fuzzer.close());

test('random templates and conversations end with text or E_TEMPLATE', async () => {
  for (let seed = 1; seed <= 400; seed++) await fuzzer.run(seed);
  assert.ok(fuzzer.counts.text > 40 && fuzzer.counts.refused > 40, JSON.stringify(fuzzer.counts));
});

test('a template that goes on for ever is stopped, and the next one renders', async () => {
  const { refused, ended, text } = fuzzer.counts;
  const loop = '{% for x in range(99999) %}';
  await fuzzer.render(`${loop}${loop}${loop}{% endfor %}{% endfor %}{% endfor %}`, []);
  await fuzzer.render('hello', []);
  assert.deepEqual([fuzzer.counts.refused + fuzzer.counts.ended, fuzzer.counts.text], [refused + ended + 1, text + 1]);
});

test('the checks can fail', () => {
  assert.throws(() => checkError(new TypeError('no template')));
  assert.throws(() => checkError(new KingletError('E_INTERNAL', 'the worker crashed')));
  assert.throws(() => checkText({ text: 'a <|§7|> made by a user', joiner: '\ufdd0' }));
  assert.throws(() => checkText({ text: 'x'.repeat(100_001), joiner: '\ufdd0' }));
});
