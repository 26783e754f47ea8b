// Jinja's expressions, from tokens to closures: each is a function of the scope. Precedences are Jinja's, which are not Python's
// everywhere (`~` binds closer than `+`, `**` goes from left to right).

import { applyFilter, applyTest, isFilter, isTest } from './filters.js';
import { TemplateSyntaxError, type Token } from './lexer.js';
import { binary, callValue, getAttribute, getItem, isSo, negate, slice, tilde } from './operators.js';
import {
  Dict,
  Float,
  isTrue,
  iterate,
  type Keywords,
  List,
  listOf,
  meter,
  own,
  PythonError,
  Scope,
  text,
  typeOf,
  Undefined,
  type Value,
} from './values.js';

export type Expression = (scope: Scope) => Value;
interface Arguments {
  positional: { value: Expression; isSpread: boolean }[];
  keywords: { name: string | undefined; value: Expression }[];
}
export interface Call {
  whole: Expression;
  callee: Expression;
  args: Arguments;
}

/** How deep expressions and statements may stand inside each other. */
const MAX_DEPTH = 200;
const COMPARISONS = ['==', '!=', '<', '<=', '>', '>='];
const CONSTANTS = new Map<string, Value>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const NAMES: Partial<Record<Token['kind'], string>> = {
  endprint: 'end of print statement',
  endblock: 'end of statement block',
  end: 'end of template',
  int: 'integer',
};
const NO_KEYWORDS: Keywords = new Map();

export class ExpressionParser {
  protected readonly tokens: Token[];
  protected at = 0;
  /** The call that was parsed last: `{% call %}` gives it one more argument. */
  protected lastCall: Call | undefined;
  /** Names that each enclosing macro's body reads: `caller`, `kwargs` and `varargs` are there only if they are asked for. */
  protected readonly namesRead: Set<string>[] = [];
  /** Inside of an `if`, where Jinja lets a template name filters and tests that there are not, until it comes to them. */
  protected isSoft = false;
  #depth = 0;

  constructor(tokens: Token[]) {
    this.tokens = tokens;
  }

  protected get token(): Token {
    return this.tokens[this.at] ?? { kind: 'end', value: '' };
  }

  /** The next token in Jinja's words. */
  protected get shown(): string {
    const { kind, value } = this.token;
    return kind === 'op' || kind === 'name' ? value : (NAMES[kind] ?? kind);
  }

  protected is(value: string, kind: Token['kind'] = 'op'): boolean {
    return this.token.kind === kind && this.token.value === value;
  }

  protected skip(value: string, kind: Token['kind'] = 'op'): boolean {
    if (!this.is(value, kind)) return false;
    this.at++;
    return true;
  }

  protected expect(kind: Token['kind'], value?: string): string {
    const { token } = this;
    if (token.kind !== kind || (value !== undefined && token.value !== value))
      throw new TemplateSyntaxError(`expected token '${value ?? NAMES[kind] ?? kind}', got '${this.shown}'`);
    this.at++;
    return token.value;
  }

  protected nest<T>(parse: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw new TemplateSyntaxError(`it nests deeper than ${MAX_DEPTH} levels`);
    const result = parse();
    this.#depth--;
    return result;
  }

  /** One expression, or several with commas: a tuple. */
  protected tuple(withCondition = true, ends: readonly string[] = []): Expression {
    const one = (): Expression => (withCondition ? this.expression() : this.or());
    const items: Expression[] = [];
    let isTuple = false;
    while (!this.isTupleEnd(ends)) {
      items.push(one());
      if (!this.skip(',')) break;
      isTuple = true;
    }
    const [first] = items;
    if (!isTuple && first) return first;
    if (items.length === 0) throw new TemplateSyntaxError(`Expected an expression, got '${this.shown}'`);
    return tupleOf(items);
  }

  protected isTupleEnd(ends: readonly string[]): boolean {
    const { kind, value } = this.token;
    return (
      kind === 'endprint' ||
      kind === 'endblock' ||
      (kind === 'op' && value === ')') ||
      (kind === 'name' && ends.includes(value))
    );
  }

  expression(): Expression {
    return this.nest(() => this.condition());
  }

  /** What `parse` reads, with names of filters and tests checked at once or not. */
  protected softly<T>(isSoft: boolean, parse: () => T): T {
    const before = this.isSoft;
    this.isSoft = isSoft;
    const result = parse();
    this.isSoft = before;
    return result;
  }

  private condition(): Expression {
    const from = this.at;
    const value = this.or();
    if (!this.is('if', 'name') || this.isSoft) return this.conditions(value);
    this.at = from;
    return this.softly(true, () => this.conditions(this.or()));
  }

  private conditions(value: Expression): Expression {
    while (this.skip('if', 'name')) {
      const [then, test] = [value, this.or()];
      const other = this.skip('else', 'name') ? this.expression() : undefined;
      value = (scope) => {
        if (isTrue(test(scope))) return then(scope);
        return other
          ? other(scope)
          : new Undefined('the inline if-expression evaluated to false and no else section was defined.');
      };
    }
    return value;
  }

  protected or(): Expression {
    let left = this.and();
    while (this.skip('or', 'name')) {
      const [a, b] = [left, this.and()];
      left = (scope) => {
        const value = a(scope);
        return isTrue(value) ? value : b(scope);
      };
    }
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skip('and', 'name')) {
      const [a, b] = [left, this.not()];
      left = (scope) => {
        const value = a(scope);
        return isTrue(value) ? b(scope) : value;
      };
    }
    return left;
  }

  private not(): Expression {
    if (!this.skip('not', 'name')) return this.comparison();
    const value = this.nest(() => this.not());
    return (scope) => !isTrue(value(scope));
  }

  private comparison(): Expression {
    const first = this.sum();
    const rest: [operator: string, value: Expression][] = [];
    for (let operator = this.comparator(); operator !== undefined; operator = this.comparator())
      rest.push([operator, this.sum()]);
    if (rest.length === 0) return first;
    return (scope) => {
      let left = first(scope);
      for (const [operator, value] of rest) {
        const right = value(scope);
        if (!isSo(operator, left, right)) return false;
        left = right;
      }
      return true;
    };
  }

  private comparator(): string | undefined {
    const { kind, value } = this.token;
    if (kind === 'op' && COMPARISONS.includes(value)) return this.expect('op');
    if (this.skip('in', 'name')) return 'in';
    const next = this.tokens[this.at + 1];
    if (!this.is('not', 'name') || next?.kind !== 'name' || next.value !== 'in') return undefined;
    this.at += 2;
    return 'not in';
  }

  /** Operators of one precedence, from left to right. */
  private chain(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    while (this.token.kind === 'op' && operators.includes(this.token.value)) {
      const [operator, a, b] = [this.expect('op'), left, operand()];
      left = (scope) => {
        const value = a(scope);
        return binary(operator, value, b(scope));
      };
    }
    return left;
  }

  private sum(): Expression {
    return this.chain(['+', '-'], () => this.concatenation());
  }

  private concatenation(): Expression {
    const parts = [this.product()];
    while (this.skip('~')) parts.push(this.product());
    const [first] = parts;
    return parts.length === 1 && first ? first : (scope) => tilde(parts.map((part) => part(scope)));
  }

  private product(): Expression {
    return this.chain(['*', '/', '//', '%'], () => this.power());
  }

  private power(): Expression {
    return this.chain(['**'], () => this.unary());
  }

  private unary(withFilters = true): Expression {
    const sign = this.is('-') ? '-' : this.is('+') ? '+' : undefined;
    let value: Expression;
    if (sign) {
      this.at++;
      const operand = this.nest(() => this.unary(false));
      value = (scope) => negate(operand(scope), sign);
    } else value = this.primary();
    value = this.postfix(value);
    return withFilters ? this.filters(value) : value;
  }

  protected primary(): Expression {
    const { shown } = this;
    const { kind, value } = this.token;
    this.at++;
    if (kind === 'name') {
      const constant = CONSTANTS.get(value);
      if (constant !== undefined) return () => constant;
      for (const names of this.namesRead) names.add(value);
      return (scope) => scope.lookUp(value);
    }
    if (kind === 'string') {
      let whole = value;
      while (this.token.kind === 'string') whole += this.expect('string');
      const constant = own(whole);
      return () => constant;
    }
    if (kind === 'int') {
      const constant = Number(value);
      return () => constant;
    }
    if (kind === 'float') {
      const constant = new Float(Number(value));
      return () => constant;
    }
    if (kind === 'op' && value === '(') return this.nest(() => this.inParentheses());
    if (kind === 'op' && value === '[') {
      const items = this.nest(() => this.list(']', () => this.expression()));
      return (scope) => new List(items.map((item) => item(scope)));
    }
    if (kind === 'op' && value === '{') return this.nest(() => this.dict());
    throw new TemplateSyntaxError(`unexpected '${shown}'`);
  }

  private inParentheses(): Expression {
    if (this.skip(')')) return () => new List([], true);
    const value = this.tuple();
    this.expect('op', ')');
    return value;
  }

  /** Items with commas up to a bracket, which is taken. */
  private list<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.skip(end)) {
      if (items.length > 0) this.expect('op', ',');
      if (items.length > 0 && this.skip(end)) break;
      items.push(item());
    }
    return items;
  }

  private dict(): Expression {
    const entries = this.list('}', () => {
      const key = this.expression();
      this.expect('op', ':');
      return [key, this.expression()] as const;
    });
    return (scope) => new Dict(entries.map(([key, value]) => [key(scope), value(scope)]));
  }

  protected postfix(value: Expression): Expression {
    for (;;) {
      if (this.skip('.')) value = this.attribute(value);
      else if (this.skip('[')) value = this.item(value);
      else if (this.is('(')) value = this.call(value);
      else return value;
    }
  }

  private attribute(object: Expression): Expression {
    const { kind, value } = this.token;
    this.at++;
    if (kind === 'name') return (scope) => getAttribute(object(scope), value);
    if (kind === 'int') return (scope) => getItem(object(scope), Number(value));
    throw new TemplateSyntaxError('expected name or number');
  }

  private item(object: Expression): Expression {
    const parts = this.list(']', () => this.place());
    const [first] = parts;
    if (first === undefined) throw new TemplateSyntaxError("Expected an expression, got ']'");
    if (parts.length > 1) {
      const key = tupleOf(parts.map((part) => part[0] as Expression));
      return (scope) => getItem(object(scope), key(scope));
    }
    const [key] = first;
    if (first.length === 1 && key) return (scope) => getItem(object(scope), key(scope));
    return (scope) =>
      slice(
        object(scope),
        [0, 1, 2].map((i) => first[i]?.(scope) ?? null),
      );
  }

  /** What stands in brackets: a key, or the three bounds of a slice. */
  private place(): (Expression | undefined)[] {
    const bounds: (Expression | undefined)[] = [];
    for (;;) {
      bounds.push(this.is(':') || this.is(']') || this.is(',') ? undefined : this.expression());
      if (bounds.length === 3 || !this.skip(':')) break;
    }
    if (bounds.length === 2) bounds.push(undefined);
    return bounds;
  }

  private call(callee: Expression): Expression {
    const args = this.arguments();
    const whole: Expression = (scope) => {
      const function_ = callee(scope);
      return callValue(function_, ...evaluate(args, scope));
    };
    this.lastCall = { whole, callee, args };
    return whole;
  }

  protected arguments(): Arguments {
    this.expect('op', '(');
    const args: Arguments = { positional: [], keywords: [] };
    this.nest(() => this.list(')', () => this.argument(args)));
    return args;
  }

  private argument({ positional, keywords }: Arguments): void {
    if (this.skip('**')) keywords.push({ name: undefined, value: this.expression() });
    else if (this.skip('*')) positional.push({ value: this.expression(), isSpread: true });
    else if (
      this.token.kind === 'name' &&
      this.tokens[this.at + 1]?.value === '=' &&
      this.tokens[this.at + 1]?.kind === 'op'
    ) {
      const name = this.expect('name');
      this.at++;
      keywords.push({ name, value: this.expression() });
    } else if (keywords.length > 0) throw new TemplateSyntaxError('invalid syntax for function call expression');
    else positional.push({ value: this.expression(), isSpread: false });
  }

  protected filters(value: Expression): Expression {
    for (;;) {
      if (this.skip('|')) value = this.filter(value);
      else if (this.skip('is', 'name')) value = this.test(value);
      else if (this.is('(')) value = this.call(value);
      else return value;
    }
  }

  protected filter(value: Expression): Expression {
    const name = this.known('filter', isFilter);
    const args = this.is('(') ? this.arguments() : undefined;
    return (scope) => {
      meter.spend(1);
      if (!isFilter(name)) throw new PythonError(`No filter named '${name}' found.`);
      const operand = value(scope);
      return applyFilter(name, operand, ...(args ? evaluate(args, scope) : ([[], NO_KEYWORDS] as [Value[], Keywords])));
    };
  }

  /** The name of a filter or test. */
  private known(what: string, isKnown: (name: string) => boolean): string {
    let name = this.expect('name');
    while (this.skip('.')) name += `.${this.expect('name')}`;
    if (!isKnown(name) && !this.isSoft) throw new TemplateSyntaxError(`No ${what} named '${name}'.`);
    return name;
  }

  private test(value: Expression): Expression {
    const isNegated = this.skip('not', 'name');
    const name = this.known('test', isTest);
    let args: Arguments = { positional: [], keywords: [] };
    if (this.is('(')) args = this.arguments();
    else if (this.beginsOperand()) {
      if (this.is('is', 'name')) throw new TemplateSyntaxError('You cannot chain multiple tests with is');
      args.positional.push({ value: this.postfix(this.primary()), isSpread: false });
    }
    return (scope) => {
      meter.spend(1);
      if (!isTest(name)) throw new PythonError(`No test named '${name}' found.`);
      const operand = value(scope);
      return applyTest(name, operand, evaluate(args, scope)[0]) !== isNegated;
    };
  }

  private beginsOperand(): boolean {
    const { kind, value } = this.token;
    if (kind === 'op') return value === '[' || value === '{';
    return (
      ['name', 'string', 'int', 'float'].includes(kind) && !(kind === 'name' && ['else', 'or', 'and'].includes(value))
    );
  }
}

const tupleOf =
  (items: readonly Expression[]): Expression =>
  (scope) =>
    new List(
      items.map((item) => item(scope)),
      true,
    );

/** The values of a call's arguments. */
export function evaluate(args: Arguments, scope: Scope): [Value[], Keywords] {
  const positional: Value[] = [];
  for (const { value, isSpread } of args.positional) {
    if (isSpread) positional.push(...listOf(value(scope)));
    else positional.push(value(scope));
  }
  if (args.keywords.length === 0) return [positional, NO_KEYWORDS];
  const keywords = new Map<string, Value>();
  for (const { name, value } of args.keywords) {
    const item = value(scope);
    if (name !== undefined) keywords.set(name, item);
    else if (!(item instanceof Dict)) throw new PythonError(`argument after ** must be a mapping, not ${typeOf(item)}`);
    else for (const key of iterate(item)) keywords.set(text(key).s, item.get(key) ?? null);
  }
  return [positional, keywords];
}
