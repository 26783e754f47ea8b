// Jinja's statements, from tokens to closures that write. What needs other templates (`include`, `extends`, `block`, …) is not there.

import { type Call, evaluate, type Expression, ExpressionParser } from './expressions.js';
import { TemplateSyntaxError, type Token, tokenize } from './lexer.js';
import { forLoop, type Output, type Statement } from './loop.js';
import { callValue } from './operators.js';
import {
  Dict,
  Fn,
  isTrue,
  iterate,
  type Keywords,
  LimitError,
  List,
  meter,
  own,
  PythonError,
  Scope,
  Str,
  text,
  Thing,
  typeOf,
  Undefined,
  type Value,
} from './values.js';

/** Puts a value where an assignment wants it. */
export type Target = (scope: Scope, value: Value) => void;

/** How deep macros may call each other. */
const MAX_CALLS = 100;

export class Writer implements Output {
  s = '';
  u = '';
  write({ s, u }: Str): void {
    this.s += s;
    this.u += u;
    if (this.s.length > meter.maxChars) meter.text(this.s.length);
  }
  get text(): Str {
    return new Str(this.s, this.u);
  }
}

/** Runs statements one after the other; tells when a loop was left. */
function runAll(statements: readonly Statement[], scope: Scope, out: Output): ReturnType<Statement> {
  for (const statement of statements) {
    meter.spend(1);
    const how = statement(scope, out);
    if (how) return how;
  }
  return undefined;
}

function captured(body: Statement, scope: Scope): Str {
  const out = new Writer();
  body(scope, out);
  return out.text;
}

/** What a block's body wrote, for its filters. */
const CONTENT: Expression = (scope) => scope.lookUp('');

function withContent(body: Statement, scope: Scope): Scope {
  const inner = new Scope(scope);
  inner.set('', captured(body, new Scope(scope)));
  return inner;
}

interface Parameter {
  name: string;
  other: Expression | undefined;
}

export function parse(source: string): Statement {
  return new Parser(tokenize(source)).program();
}

class Parser extends ExpressionParser {
  #macroCalls = 0;
  /** Names of the blocks that are open. */
  readonly #open: string[] = [];

  constructor(tokens: Token[]) {
    super(tokens);
  }

  program(): Statement {
    const body = this.#body([]);
    if (this.token.kind !== 'end') throw new TemplateSyntaxError(`Encountered unknown tag '${this.token.value}'.`);
    return body;
  }

  /** Statements up to one of `ends`, whose name is left as the next token. */
  #body(ends: readonly string[]): Statement {
    const statements: Statement[] = [];
    for (;;) {
      const { kind, value } = this.token;
      if (kind === 'end') {
        if (ends.length === 0) break;
        const [wanted, innermost] = [`'${ends.join("' or '")}'`, `'${this.#open.at(-1)}'`];
        throw new TemplateSyntaxError(
          `Unexpected end of template. Jinja was looking for the following tags: ${wanted}. The innermost block that needs to be closed is ${innermost}.`,
        );
      }
      this.at++;
      if (kind === 'text') {
        const constant = own(value);
        statements.push((_scope, out) => out.write(constant));
      } else if (kind === 'print') {
        const shown = this.tuple();
        this.expect('endprint');
        statements.push((scope, out) => out.write(text(shown(scope))));
      } else {
        if (this.token.kind === 'name' && ends.includes(this.token.value)) break;
        statements.push(this.nest(() => this.#statement()));
      }
    }
    return (scope, out) => runAll(statements, scope, out);
  }

  /** A body and the end of the block that closes it; gives the name of the end. */
  #block(...ends: string[]): [body: Statement, end: string] {
    this.expect('endblock');
    const body = this.#body(ends);
    return [body, this.expect('name')];
  }

  #statement(): Statement {
    const name = this.expect('name');
    this.#open.push(name);
    const statement = this.softly(name === 'if' || (name === 'set' && this.isSoft), () => this.#named(name));
    this.#open.pop();
    this.expect('endblock');
    return statement;
  }

  #named(name: string): Statement {
    switch (name) {
      case 'if':
        return this.#if();
      case 'for':
        return this.#for();
      case 'set':
        return this.#set();
      case 'macro':
        return this.#macro();
      case 'call':
        return this.#call();
      case 'filter':
        return this.#filter();
      case 'with':
        return this.#with();
      case 'generation': {
        const [body] = this.#block('endgeneration');
        return (scope, out) => out.write(captured(body, new Scope(scope)));
      }
      case 'break':
      case 'continue':
        if (!this.#isInLoop()) throw new TemplateSyntaxError(`'${name}' outside loop`);
        return () => name;
      case 'include':
      case 'extends':
      case 'import':
      case 'from':
        while (this.token.kind !== 'endblock' && this.token.kind !== 'end') this.at++;
        return () => {
          throw new PythonError('no loader for this environment specified');
        };
      default:
        throw new TemplateSyntaxError(`Encountered unknown tag '${name}'.`);
    }
  }

  #isInLoop(): boolean {
    const inner = this.#open.findLastIndex((name) => name === 'macro' || name === 'call' || name === 'generation');
    return this.#open.lastIndexOf('for') > inner;
  }

  #if(): Statement {
    const branches: [test: Expression, body: Statement][] = [];
    let otherwise: Statement | undefined;
    for (let end = 'elif'; end !== 'endif';) {
      let body: Statement;
      if (end === 'elif') {
        const test = this.tuple(false);
        [body, end] = this.#block('elif', 'else', 'endif');
        branches.push([test, body]);
      } else [otherwise, end] = this.#block('endif');
    }
    return (scope, out) => {
      for (const [test, body] of branches) if (isTrue(test(scope))) return body(scope, out);
      return otherwise?.(scope, out);
    };
  }

  #for(): Statement {
    const target = this.#target(['in']);
    this.expect('name', 'in');
    const items = this.tuple(false, ['recursive']);
    const test = this.skip('if', 'name') ? this.expression() : undefined;
    const isRecursive = this.skip('recursive', 'name');
    const [body, end] = this.#block('endfor', 'else');
    const otherwise = end === 'else' ? this.#block('endfor')[0] : undefined;
    return forLoop({ target, items, test, isRecursive, body, otherwise, capture: captured });
  }

  #set(): Statement {
    const target = this.#target([]);
    if (this.skip('=')) {
      const value = this.tuple();
      return (scope) => target(scope, value(scope));
    }
    const result = this.filters(CONTENT);
    const [body] = this.#block('endset');
    return (scope) => target(scope, result(withContent(body, scope)));
  }

  #filter(): Statement {
    const result = this.filters(this.filter(CONTENT));
    const [body] = this.#block('endfilter');
    return (scope, out) => out.write(text(result(withContent(body, scope))));
  }

  #with(): Statement {
    const names: [Target, Expression][] = [];
    while (this.token.kind !== 'endblock') {
      if (names.length > 0) this.expect('op', ',');
      const target = this.#target([]);
      this.expect('op', '=');
      names.push([target, this.expression()]);
    }
    const [body] = this.#block('endwith');
    return (scope, out) => {
      const inner = new Scope(scope);
      for (const [target, value] of names) target(inner, value(scope));
      return body(inner, out);
    };
  }

  #macro(): Statement {
    const name = this.expect('name');
    const make = this.#callable(name, this.#parameters(), 'endmacro');
    return (scope) => scope.set(name, make(scope));
  }

  #call(): Statement {
    const parameters = this.is('(') ? this.#parameters() : [];
    const call = this.expression();
    const { lastCall } = this;
    if (lastCall?.whole !== call) throw new TemplateSyntaxError('expected call');
    const make = this.#callable(undefined, parameters, 'endcall');
    return (scope, out) => out.write(text(callWith(lastCall, scope, make(scope))));
  }

  #parameters(): Parameter[] {
    const parameters: Parameter[] = [];
    this.expect('op', '(');
    while (!this.skip(')')) {
      if (parameters.length > 0) this.expect('op', ',');
      const name = this.expect('name');
      const other = this.skip('=') ? this.expression() : undefined;
      if (!other && parameters.at(-1)?.other)
        throw new TemplateSyntaxError('non-default argument follows default argument');
      parameters.push({ name, other });
    }
    return parameters;
  }

  /** The body of a macro, or of a call block, which has no name. */
  #callable(name: string | undefined, parameters: readonly Parameter[], end: string): (scope: Scope) => Fn {
    const names = new Set<string>();
    this.namesRead.push(names);
    const [body] = this.#block(end);
    this.namesRead.pop();
    for (const parameter of parameters) names.delete(parameter.name);
    const shown = name === undefined ? 'None' : `'${name}'`;
    return (outer) =>
      new Fn('Macro', (args, keywords) => {
        if (this.#macroCalls >= MAX_CALLS)
          throw new LimitError(`maximum recursion depth exceeded: macros call each other ${MAX_CALLS} deep`);
        this.#macroCalls++;
        try {
          const scope = new Scope(outer);
          bindParameters(`macro ${shown}`, parameters, names, args, keywords, scope);
          return captured(body, scope);
        } finally {
          this.#macroCalls--;
        }
      });
  }

  /** What is assigned to: a name, a field of a namespace, or several with commas. */
  #target(ends: readonly string[]): Target {
    const targets: Target[] = [];
    let isTuple = false;
    while (!this.isTupleEnd(ends) && !this.is('=')) {
      targets.push(this.#oneTarget());
      if (!this.skip(',')) break;
      isTuple = true;
    }
    const [first] = targets;
    if (!first) throw new TemplateSyntaxError(`unexpected '${this.shown}'`);
    return isTuple ? (scope, value) => unpack(targets, scope, value) : first;
  }

  #oneTarget(): Target {
    if (this.skip('(')) {
      const target = this.#target([]);
      this.expect('op', ')');
      return target;
    }
    if (this.token.kind === 'int' || this.token.kind === 'string')
      throw new TemplateSyntaxError("can't assign to 'const'");
    const name = this.expect('name');
    if (['true', 'false', 'none', 'True', 'False', 'None'].includes(name))
      throw new TemplateSyntaxError("can't assign to 'const'");
    if (!this.skip('.')) return (scope, value) => scope.set(name, value);
    const field = this.expect('name');
    return (scope, value) => {
      const space = scope.lookUp(name);
      if (!(space instanceof Thing && space.fields))
        throw new PythonError('cannot assign attribute on non-namespace object');
      setField(space.fields, field, value);
    };
  }
}

export function setField(fields: Map<string, Value>, name: string, value: Value): void {
  if (name.startsWith('_'))
    throw new PythonError(
      `Chat templates cannot store underscore-prefixed attributes on a namespace, but got '${name}'. Please rename the attribute.`,
    );
  fields.set(name, value);
}

function unpack(targets: readonly Target[], scope: Scope, value: Value): void {
  if (value === null || typeof value !== 'object' || value instanceof Fn)
    throw new PythonError(`cannot unpack non-iterable ${typeOf(value)} object`);
  const items: Value[] = [];
  for (const item of iterate(value)) {
    if (items.length === targets.length)
      throw new PythonError(`too many values to unpack (expected ${targets.length})`);
    items.push(item);
  }
  if (items.length < targets.length)
    throw new PythonError(`not enough values to unpack (expected ${targets.length}, got ${items.length})`);
  for (const [i, target] of targets.entries()) target(scope, items[i] ?? null);
}

function bindParameters(
  macro: string,
  parameters: readonly Parameter[],
  namesRead: ReadonlySet<string>,
  args: readonly Value[],
  keywords: Keywords,
  scope: Scope,
): void {
  const left = new Map(keywords);
  for (const [i, { name, other }] of parameters.entries()) {
    let value = args[i];
    if (value === undefined && left.has(name)) {
      value = left.get(name);
      left.delete(name);
    }
    if (value === undefined) value = other ? other(scope) : new Undefined(`parameter '${name}' was not provided`);
    scope.set(name, value);
  }
  if (namesRead.has('caller')) {
    scope.set('caller', left.get('caller') ?? new Undefined('No caller defined'));
    left.delete('caller');
  }
  if (namesRead.has('kwargs')) scope.set('kwargs', new Dict([...left].map(([name, value]) => [own(name), value])));
  else if (left.has('caller'))
    throw new PythonError(
      `${macro} was invoked with two values for the special caller argument. This is most likely a bug.`,
    );
  else for (const name of left.keys()) throw new PythonError(`${macro} takes no keyword argument '${name}'`);
  if (namesRead.has('varargs')) scope.set('varargs', new List(args.slice(parameters.length), true));
  else if (args.length > parameters.length)
    throw new PythonError(`${macro} takes not more than ${parameters.length} argument(s)`);
}

function callWith({ callee, args }: Call, scope: Scope, caller: Fn): Value {
  const function_ = callee(scope);
  const [positional, keywords] = evaluate(args, scope);
  return callValue(function_, positional, new Map([...keywords, ['caller', caller]]));
}
