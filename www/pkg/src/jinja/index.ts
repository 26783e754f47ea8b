// Jinja2 as Hugging Face's `apply_chat_template` sets it up, for templates that are not trusted: a run is counted in steps and its
// texts are limited, so that it ends; there is nothing to reach from inside. Every character of the result tells whether the template
// wrote it or the data.
//
//   source → lexer → parser (statements) + expressions → closures → text
//
// Called by template-host.ts.

import { globals } from './globals.js';
import { type Statement } from './loop.js';
import { parse, Writer } from './parser.js';
import { fromData, meter, own, Scope, type Str } from './values.js';

export { NeedsRare } from './rare.js';
export { fromData, LimitError, PythonError, Raised, repr, type Str } from './values.js';

export interface Limits {
  maxSteps: number;
  /** Longest text, in UTF-16 code units; also the longest result. */
  maxChars: number;
}

export interface Variables {
  /** The template's own strings, such as `bos_token`. */
  own: Record<string, string>;
  /** Data: plain values, as JSON has them. */
  data: Record<string, unknown>;
  /** Strings of the data, by their path of keys (places in lists left out), that count as the template's own. */
  isOwn: (path: readonly string[]) => boolean;
}

/** The last program: a model has one, for all its conversations. */
let last: { source: string; program: Statement } | undefined;

/** @throws PythonError, Raised, LimitError; NeedsRare where that is not there; RangeError where the stack does not suffice. */
export function render(source: string, variables: Variables, limits: Limits, now: Date): Str {
  meter.start(limits.maxSteps, limits.maxChars);
  if (source !== last?.source) last = { source, program: parse(source) };
  const { program } = last;
  const scope = new Scope();
  for (const [name, value] of globals(now)) scope.set(name, value);
  for (const [name, value] of Object.entries(variables.own)) scope.set(name, own(value));
  for (const [name, value] of Object.entries(variables.data))
    if (value !== undefined) scope.set(name, fromData(value, variables.isOwn, [name]));
  const out = new Writer();
  program(new Scope(scope), out);
  return out.text;
}
