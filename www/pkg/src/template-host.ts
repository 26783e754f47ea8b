// Renders a chat template: an untrusted program from a model file. Runs in template-worker.ts, which the page ends when it takes
// too long; here are the limits that need no clock (length of source and output, size of `range`), the protection of roles, and
// errors in words. Imports the template language by the vendored file, which needs nothing else.

import type { CallContext, Handlers } from './dispatch.js';
import { describe, KingletError } from './errors.js';
import type { RenderInput, RenderOutput, TemplateRequests } from './protocol.js';
import { chooseJoiner, createBreaker, mapStrings, stringsOf } from './roles.js';
import { Environment, Interpreter, parse, tokenize } from './vendor/jinja.js';

/** Longest source of a template. The longest of a known model is a tenth of it. */
const MAX_SOURCE_CHARS = 256 * 1024;
/** Longest list that `range` gives. */
const MAX_RANGE = 100_000;

export class TemplateHost implements Handlers<TemplateRequests> {
  render = (input: RenderInput, call: CallContext<'rendering'>): RenderOutput => {
    const { template } = input;
    if (template.length > MAX_SOURCE_CHARS) {
      throw failed(`its source of ${template.length} characters is over the limit of ${MAX_SOURCE_CHARS}`);
    }
    const data = { messages: input.messages, ...input.data };
    const joiner = chooseJoiner([template, ...stringsOf(data), ...Object.values(input.tokens)]);
    const breaker = createBreaker(input.specialStrings, joiner);
    const guarded = Object.fromEntries(
      Object.entries(data).map(([name, value]) => [
        name,
        mapStrings(value, breaker, name === 'messages' ? isRole : undefined),
      ]),
    );
    call.emit('rendering');
    const text = run(template, { ...input.tokens, ...guarded });
    if (text.length > input.maxOutputChars)
      throw failed(`its output of ${text.length} characters is over the limit of ${input.maxOutputChars}`);
    return { text, joiner };
  };
}

/** The role of a message is one of a fixed set (params.ts), and templates compare it. */
function isRole(path: readonly string[]): boolean {
  return path.length === 1 && path[0] === 'role';
}

function run(source: string, variables: Record<string, unknown>): string {
  try {
    const program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) environment.set(name, value);
    const result = new Interpreter(environment).run(program) as { value: unknown };
    if (typeof result.value !== 'string') throw new TypeError('it gave no text');
    return result.value;
  } catch (thrown) {
    if (thrown instanceof Raised) throw new KingletError('E_TEMPLATE', thrown.message, { details: { raised: true } });
    throw failed(describe(thrown), thrown);
  }
}

function failed(why: string, cause?: unknown): KingletError {
  return new KingletError('E_TEMPLATE', `the chat template failed: ${why}`, { cause });
}

/** What a template says by `raise_exception`. */
class Raised extends Error {}

const GLOBALS: Record<string, unknown> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception: (message: unknown) => {
    throw new Raised(String(message));
  },
  range,
  strftime_now: (format: unknown) => strftime(String(format), new Date()),
};

/** Python's `range`, of bounded length. */
function range(start: number, stop?: number | null, step?: number | null): number[] {
  const [from, to, by] = typeof stop === 'number' ? [start, stop, step ?? 1] : [0, start, 1];
  const n = Math.max(0, Math.ceil((to - from) / by));
  if (!Number.isFinite(n) || n > MAX_RANGE)
    throw new RangeError(`range of ${n} items is over the limit of ${MAX_RANGE}`);
  return Array.from({ length: n }, (_, i) => from + i * by);
}

/** The fields of Python's strftime that chat templates use; others stay as they are. */
function strftime(format: string, now: Date): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const word = (options: Intl.DateTimeFormatOptions): string => now.toLocaleDateString('en-US', options);
  const fields: Record<string, string> = {
    Y: String(now.getFullYear()),
    y: two(now.getFullYear() % 100),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    H: two(now.getHours()),
    I: two(now.getHours() % 12 || 12),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    p: now.getHours() < 12 ? 'AM' : 'PM',
    B: word({ month: 'long' }),
    b: word({ month: 'short' }),
    A: word({ weekday: 'long' }),
    a: word({ weekday: 'short' }),
    '%': '%',
  };
  return format.replace(/%(.)/gs, (whole, field: string) => fields[field] ?? whole);
}
