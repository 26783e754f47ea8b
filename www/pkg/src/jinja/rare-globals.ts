// Functions that few templates call: `joiner`, `cycler`, two of `loop`, and fields of a date; a part of rare.ts.

import { padded, strftime } from './globals.js';
import type { LoopState } from './rare.js';
import { Fn, isEqual, List, own, PythonError, Thing, type Value } from './values.js';

export function joiner(args: readonly Value[]): Value {
  let isUsed = false;
  return new Thing('Joiner', () => undefined, {
    call: () => {
      const between = isUsed ? (args[0] ?? own(', ')) : own('');
      isUsed = true;
      return between;
    },
  });
}

export function cycler(items: readonly Value[]): Value {
  if (items.length === 0) throw new PythonError('at least one item has to be provided');
  let at = 0;
  const methods: Record<string, () => Value> = {
    next: () => items[at++ % items.length] ?? null,
    reset: () => {
      at = 0;
      return null;
    },
  };
  return new Thing('Cycler', (name) => {
    if (name === 'current') return items[at % items.length];
    const call = Object.hasOwn(methods, name) ? methods[name] : undefined;
    return call && new Fn('method', call);
  });
}

/** `loop.cycle` and `loop.changed`. */
export function ofLoop(name: 'cycle' | 'changed', loop: LoopState): Value {
  const call: Fn['call'] = (args) => {
    if (name === 'cycle') {
      if (args.length === 0) throw new PythonError('no items for cycling given');
      return args[loop.index0 % args.length] ?? null;
    }
    const now = new List([...args], true);
    const isSame = loop.changed !== undefined && isEqual(loop.changed, now);
    loop.changed = now;
    return !isSame;
  };
  return new Thing('method', () => undefined, { call });
}

/** What a field of a date's format is made by; undefined where there is no such field. */
export function field(letter: string, now: Date): (() => string) | undefined {
  const [year, month, day, hour] = [now.getFullYear(), now.getMonth(), now.getDate(), now.getHours()];
  const dayOfYear = Math.round((Date.UTC(year, month, day) - Date.UTC(year, 0, 1)) / 864e5) + 1;
  const week = (begins: number): number => Math.floor((dayOfYear + 6 - ((now.getDay() - begins + 7) % 7)) / 7);
  const fields: Record<string, () => string> = {
    y: () => padded(year % 100),
    e: () => padded(day, 2, ' '),
    j: () => padded(dayOfYear, 3),
    I: () => padded(hour % 12 || 12),
    f: () => padded(now.getMilliseconds() * 1000, 6),
    p: () => (hour < 12 ? 'AM' : 'PM'),
    h: () => strftime('%b', now),
    w: () => String(now.getDay()),
    u: () => String(now.getDay() || 7),
    U: () => padded(week(0)),
    W: () => padded(week(1)),
    n: () => '\n',
    t: () => '\t',
    '%': () => '%',
    // Made of others:
    F: () => strftime('%Y-%m-%d', now),
    T: () => strftime('%H:%M:%S', now),
    X: () => strftime('%H:%M:%S', now),
    R: () => strftime('%H:%M', now),
    D: () => strftime('%m/%d/%y', now),
    x: () => strftime('%m/%d/%y', now),
    c: () => strftime('%a %b %e %H:%M:%S %Y', now),
    r: () => strftime('%I:%M:%S %p', now),
    // Without the padding, as in glibc:
    '-d': () => String(day),
    '-m': () => String(month + 1),
    '-H': () => String(hour),
    '-I': () => String(hour % 12 || 12),
  };
  return Object.hasOwn(fields, letter) ? fields[letter] : undefined;
}
