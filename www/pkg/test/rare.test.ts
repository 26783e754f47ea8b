// What only the larger worker for templates has: without it a template gives the same or asks for it, and the renderer then starts that
// worker, for this template and all later calls.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { plainMessage } from '../src/core.js';
import { RARE } from '../src/jinja/rare-all.js';
import { NeedsRare, provideRare, RARE_METHODS } from '../src/jinja/rare.js';
import { render } from '../src/jinja/index.js';
import type { RenderInput } from '../src/protocol.js';
import { TemplateHost } from '../src/template-host.js';
import { TemplateRenderer } from '../src/templates.js';
import type { ChatMessage } from '../src/types.js';
import { golden, ROOT } from './golden.js';
import { startThread } from './template-fuzzer.js';

/** Of the 70 templates of llama.cpp, those that ask for it in some conversation. */
const ASKING = [
  'CohereForAI-c4ai-command-r-plus-tool_use',
  'Reka-Edge',
  'deepseek-ai-DeepSeek-V3.2',
  'deepseek-ai-DeepSeek-V4-Flash-0731',
  'deepseek-ai-DeepSeek-V4',
  'meetkai-functionary-medium-v3.2',
  'tencent-Hy3',
];

const cache = process.env['KINGLET_CACHE'] ?? fileURLToPath(new URL('.cache', ROOT));
const call = { cancelled: false, acknowledged: 0, changed: async () => {}, emit: () => {} };

const input = (template: string): RenderInput => ({
  template,
  messages: [{ role: 'user', content: 'hello' }],
  data: {},
  tokens: {},
  specialStrings: [],
  maxOutputChars: 1_000_000,
});

/** What `work` gives or throws, in words; undefined where it asks for what is not there. */
function outcome(work: () => unknown): string | undefined {
  try {
    const output = work();
    return output === undefined ? undefined : JSON.stringify(output);
  } catch (error) {
    if (error instanceof NeedsRare) return undefined;
    return `${error}`;
  }
}

/** Without what is rare the outcome is the same, or that it is asked for. Gives whether it is. */
function asks(work: () => unknown, what: string): boolean {
  provideRare(undefined);
  const found = outcome(work);
  provideRare(RARE);
  const wanted = outcome(work);
  assert.ok(wanted !== undefined, what);
  if (found !== undefined) assert.equal(found, wanted, what);
  return found === undefined;
}

test('the templates of known models: most need nothing of it', () => {
  const asking = Object.keys(golden.templates).filter((name) => {
    const template = readFileSync(path.join(cache, 'llama.cpp/templates', `${name}.jinja`), 'utf8');
    return golden.cases.filter(({ name: what, conversation, prompt, variables }) => {
      const { messages, tools } = golden.conversations[conversation] as { messages: ChatMessage[]; tools: unknown };
      const whole: RenderInput = {
        ...input(template),
        messages: messages.map((message) => plainMessage(message, template)),
        data: { documents: null, ...variables, tools, add_generation_prompt: prompt },
        tokens: golden.tokens,
        specialStrings: golden.special,
      };
      return asks(() => new TemplateHost(() => new Date(golden.now)).render(whole, call), `${name}: ${what}`);
    }).length;
  });
  assert.deepEqual(asking, ASKING);
});

test('small templates: the same, or it is asked for', () => {
  const limits = { maxSteps: 1_000_000, maxChars: 1_000_000 };
  const variables = { own: {}, data: golden.variables, isOwn: () => false };
  const asking = golden.expressions.filter(([source]) =>
    asks(() => render(source, variables, limits, new Date(golden.now)), source),
  );
  assert.ok(asking.length > 100 && asking.length < golden.expressions.length / 2, `${asking.length}`);
});

test('it is asked for, too, where content in parts would be tried as one text', () => {
  const messages = [{ role: 'user', content: [{ type: 'text', text: 'x' }] }];
  for (const template of [
    "{% if messages[0].content is string %}a text{% else %}{{ '%d' % 3 }}{% endif %}",
    "{{ 'a' + messages[0].content }}{{ '%d' % 3 }}",
  ])
    assert.ok(asks(() => new TemplateHost().render({ ...input(template), messages }, call), template));
});

test('the names of its methods', () => {
  assert.deepEqual([...RARE_METHODS].sort(), Object.keys(RARE.methods).sort());
});

test('the renderer starts the larger worker when it is asked for, once, and calls that run beside it are answered', async () => {
  const started: boolean[] = [];
  const renderer = new TemplateRenderer((isFull) => {
    started.push(isFull);
    return startThread(isFull);
  });
  try {
    const text = async (template: string): Promise<string> => (await renderer.render(input(template))).text;
    assert.equal(await text('{{ 1 + 2 }}'), '3');
    const all = ['{{ 3 }}', '{{ "%d" % 4 }}', '{{ 5 }}', '{{ "6.7" | int }}', '{{ "8".zfill(2) }}'].map(text);
    assert.deepEqual(await Promise.all(all), ['3', '4', '5', '6', '08']);
    assert.deepEqual(started, [false, true]);
    await assert.rejects(text('{{ 1 | no_filter }}'), /No filter named 'no_filter'/);
    assert.equal(await text('{{ 9 }}'), '9');
    assert.deepEqual(started, [false, true]);
  } finally {
    renderer.close(new Error('closed'));
  }
});
