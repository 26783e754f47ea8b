// Every chat template of llama.cpp, for every conversation of tests/golden/make_templates.py, must give what `apply_chat_template` of
// Hugging Face's transformers gives: the same text, or the same words where it fails. None is left out, none is known to differ.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { plainMessage } from '../src/core.js';
import { KingletError } from '../src/errors.js';
import { RARE } from '../src/jinja/rare-all.js';
import { provideRare } from '../src/jinja/rare.js';
import { find } from '../src/template-facts.js';
import { TemplateHost } from '../src/template-host.js';
import type { ChatMessage } from '../src/types.js';
import { golden, type Result, ROOT } from './golden.js';

const cache = process.env['KINGLET_CACHE'] ?? fileURLToPath(new URL('.cache', ROOT));
const folder = path.join(cache, 'llama.cpp/templates');
provideRare(RARE);
const host = new TemplateHost(() => new Date(golden.now));
const call = { cancelled: false, acknowledged: 0, changed: async () => {}, emit: () => {} };

type Case = (typeof golden.cases)[number];

function render(template: string, { conversation, prompt, variables }: Case, change = (m: ChatMessage[]) => m) {
  const { messages, tools } = golden.conversations[conversation] as {
    messages: ChatMessage[];
    tools: unknown[] | null;
  };
  const output = host.render(
    {
      template,
      messages: change(messages).map((message) => plainMessage(message, template)),
      data: { documents: null, ...variables, tools, add_generation_prompt: prompt },
      tokens: golden.tokens,
      specialStrings: golden.special,
      maxOutputChars: 1_000_000,
    },
    call,
  );
  assert.ok(output);
  return output;
}

/** Our result in the golden's form: the joiner taken out, the words of an error without our own before them. */
function resultOf(template: string, one: Case): Result {
  try {
    const { text, joiner } = render(template, one);
    return text.replaceAll(joiner, '');
  } catch (error) {
    if (!(error instanceof KingletError) || error.code !== 'E_TEMPLATE') throw error;
    if (error.details?.['raised']) return { error: error.message, raised: true };
    assert.ok(error.message.startsWith('the chat template failed: '));
    return { error: error.message.slice('the chat template failed: '.length) };
  }
}

/** Content in parts, for a template that cannot take them: as one text, where transformers prints the list or fails. */
function wantedOf(name: string, index: number): Result {
  const { results } = golden.templates[name] as { results: number[] };
  const at = (i: number): Result => golden.outputs[results[i] as number] as Result;
  const { conversation, prompt } = golden.cases[index] as Case;
  const result = at(index);
  const joined = golden.cases.findIndex(
    (one) => one.conversation === `${conversation}_joined` && one.prompt === prompt,
  );
  if (joined < 0) return result;
  const isPrinted = typeof result === 'string' && result.includes("[{'type': 'text', 'text': ");
  const fails = typeof result !== 'string' && !result.raised;
  return isPrinted || (fails && typeof at(joined) === 'string') ? at(joined) : result;
}

/** Python stops a macro that calls itself without end by the depth of its stack, we by a number. */
function comparable(result: Result): Result {
  if (typeof result === 'string' || !result.error.startsWith('maximum recursion depth exceeded')) return result;
  return { error: 'maximum recursion depth exceeded' };
}

test('the templates are those of the goldens', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.jinja'));
  assert.deepEqual(files.map((name) => path.basename(name, '.jinja')).sort(), Object.keys(golden.templates).sort());
  assert.ok(files.length >= 68 && golden.cases.length >= 90);
});

for (const [name, { sha256 }] of Object.entries(golden.templates)) {
  test(`as transformers renders it: ${name}`, () => {
    const bytes = readFileSync(path.join(folder, `${name}.jinja`));
    assert.equal(createHash('sha256').update(bytes).digest('hex'), sha256, 'another template than the goldens are of');
    const template = bytes.toString();
    for (const [i, one] of golden.cases.entries())
      assert.deepEqual(comparable(resultOf(template, one)), comparable(wantedOf(name, i)), one.name);
  });

  test(`text stays text: ${name}`, () => {
    const template = readFileSync(path.join(folder, `${name}.jinja`), 'utf8');
    for (const one of golden.cases.filter(({ conversation }) => conversation.includes('hostile'))) {
      const harmless = (messages: ChatMessage[]): ChatMessage[] =>
        JSON.parse(
          JSON.stringify(messages)
            .replaceAll(JSON.stringify(golden.hostile).slice(1, -1), 'x')
            .replaceAll('<|im_', 'x'),
        );
      assert.deepEqual(specialsOf(template, one), specialsOf(template, one, harmless), one.name);
    }
  });

  test(`its hash is known: ${name}`, () => {
    const text = readFileSync(path.join(folder, `${name}.jinja`), 'utf8').replace(/\r?\n$/, '');
    const hash = createHash('sha256').update(text).digest('hex');
    assert.ok(find(hash));
    // One bit of the 96 is another.
    const other = (parseInt(hash.slice(20, 24), 16) ^ 1).toString(16).padStart(4, '0');
    assert.equal(find(hash.slice(0, 20) + other + hash.slice(24)), undefined);
  });
}

/** The special tokens that a tokenizer sees, in order; or why there are none. */
function specialsOf(template: string, one: Case, change?: (messages: ChatMessage[]) => ChatMessage[]): string[] {
  const strings = [...golden.special].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(strings.map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|'), 'g');
  try {
    return render(template, one, change).text.match(pattern) ?? [];
  } catch {
    return ['it fails'];
  }
}

test('these checks can fail', () => {
  const [one] = golden.cases as [Case];
  assert.notDeepEqual(resultOf('{{ messages[0].content }}!', one), wantedOf('google-gemma-2-2b-it', 0));
  const hostile = golden.cases.find(({ conversation }) => conversation === 'hostile') as Case;
  // A template that spells a message out letter by letter through its own strings would let it forge a token.
  const forging = "{% for c in messages[1].content %}{% if c == '<' %}{{ '<' }}{% endif %}{% endfor %}<s>";
  assert.deepEqual(specialsOf(forging, hostile), ['<s>']);
});
