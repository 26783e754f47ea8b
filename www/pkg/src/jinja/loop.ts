// `for`: goes through items one by one, in a scope of its own each, with what `loop` knows.

import { type Expression } from './expressions.js';
import { rare } from './rare.js';
import {
  isTrue,
  iterate,
  lengthOf,
  meter,
  PythonError,
  Scope,
  type Str,
  Thing,
  Undefined,
  type Value,
} from './values.js';

export interface Output {
  write(text: Str): void;
}
/** Writes; tells when it left a loop. */
export type Statement = (scope: Scope, out: Output) => 'break' | 'continue' | void;

export interface ForLoop {
  target: (scope: Scope, value: Value) => void;
  items: Expression;
  test: Expression | undefined;
  isRecursive: boolean;
  body: Statement;
  otherwise: Statement | undefined;
  capture: (body: Statement, scope: Scope) => Str;
}

export function forLoop(loop: ForLoop): Statement {
  return (scope, out) => run(loop, scope, loop.items(scope), out, 1);
}

function run(loop: ForLoop, scope: Scope, items: Value, out: Output, depth: number): void {
  const { target, test, body, otherwise } = loop;
  const wanted = test
    ? (function* () {
        for (const item of iterate(items)) {
          const inner = new Scope(scope);
          target(inner, item);
          if (isTrue(test(inner))) yield item;
        }
      })()
    : iterate(items);
  const known = new Loop(wanted, test ? undefined : items, depth);
  const thing = new Thing('LoopContext', (name) => known.get(name), {
    call: ([children = null]) => {
      if (!loop.isRecursive)
        throw new PythonError("The loop must have the 'recursive' marker to be called recursively.");
      return loop.capture((_scope, inner) => run(loop, scope, children, inner, depth + 1), scope);
    },
  });
  for (let item = known.next(); item !== undefined; item = known.next()) {
    meter.spend(1);
    const inner = new Scope(scope);
    inner.set('loop', thing);
    target(inner, item);
    if (body(inner, out) === 'break') return;
  }
  if (known.index0 < 0) otherwise?.(new Scope(scope), out);
}

/** Looks ahead only when it is asked what comes, as Jinja does. */
class Loop {
  index0 = -1;
  /** What `changed` was asked of last. */
  changed: Value | undefined;
  readonly #items: Iterator<Value>;
  readonly #depth: number;
  readonly #ahead: Value[] = [];
  #current: Value | undefined;
  #before: Value | undefined;
  #length: number | undefined;

  constructor(items: Iterator<Value>, whole: Value | undefined, depth: number) {
    this.#items = items;
    this.#depth = depth;
    if (whole !== undefined && typeof whole === 'object' && whole !== null && !('iterator' in whole))
      this.#length = lengthOf(whole);
  }

  next(): Value | undefined {
    const item = this.#peek() === undefined ? undefined : this.#ahead.shift();
    if (item === undefined) return undefined;
    this.index0++;
    this.#before = this.#current;
    this.#current = item;
    return item;
  }

  #peek(): Value | undefined {
    if (this.#ahead.length === 0) {
      const { done, value } = this.#items.next();
      if (!done) this.#ahead.push(value);
    }
    return this.#ahead[0];
  }

  #lengthOf(): number {
    if (this.#length === undefined) {
      for (let next = this.#items.next(); !next.done; next = this.#items.next()) {
        meter.spend(1);
        this.#ahead.push(next.value);
      }
      this.#length = this.index0 + 1 + this.#ahead.length;
    }
    return this.#length;
  }

  get(name: string): Value | undefined {
    switch (name) {
      case 'index':
        return this.index0 + 1;
      case 'index0':
        return this.index0;
      case 'first':
        return this.index0 === 0;
      case 'last':
        return this.#peek() === undefined;
      case 'length':
        return this.#lengthOf();
      case 'revindex':
        return this.#lengthOf() - this.index0;
      case 'revindex0':
        return this.#lengthOf() - this.index0 - 1;
      case 'previtem':
        return this.index0 === 0 ? new Undefined('there is no previous item') : this.#before;
      case 'nextitem':
        return this.#peek() ?? new Undefined('there is no next item');
      case 'depth':
        return this.#depth;
      case 'depth0':
        return this.#depth - 1;
      default:
        return this.#method(name);
    }
  }

  #method(name: string): Value | undefined {
    if (name === 'cycle' || name === 'changed') return rare().ofLoop(name, this);
    return undefined;
  }
}
