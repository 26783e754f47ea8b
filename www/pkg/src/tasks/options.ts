// Checks what the tasks are given, before any work: TypeError, RangeError, E_UNSUPPORTED_FEATURE for an option that there is none of.
// What goes on to the engine as it is (a temperature, say) the engine checks.

import { KingletError } from '../errors.js';

const TASK = ['signal', 'onProgress'];
const WRITE = [...TASK, 'onText', 'max_tokens', 'temperature', 'num_beams'];
const KNOWN: Record<string, string[]> = {
  complete: [...WRITE, 'stop'],
  summarize: [...WRITE, 'length'],
  translate: [...WRITE, 'from', 'to'],
  answer: WRITE,
  classify: [...TASK, 'labels', 'template'],
  tag: TASK,
  fillMask: [...TASK, 'top', 'candidates'],
  embed: [...TASK, 'dimensions', 'as'],
  rerank: [...TASK, 'top'],
  create: ['metadata'],
  add: TASK,
  search: ['signal', 'top', 'minScore'],
};

/** Checks what options of a call have in common. */
export function checkOptions(call: string, options: object): void {
  if (typeof options !== 'object' || options === null) throw new TypeError('options must be an object');
  const bag = options as Record<string, unknown>;
  const unknown = Object.keys(bag).find((name) => bag[name] !== undefined && !KNOWN[call]?.includes(name));
  if (unknown !== undefined)
    throw new KingletError('E_UNSUPPORTED_FEATURE', `${call} has no option ${JSON.stringify(unknown)}`, {
      details: { parameter: unknown },
    });
  const { signal } = bag;
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw new TypeError('signal must be an AbortSignal');
  for (const name of ['onProgress', 'onText'])
    if (bag[name] !== undefined && typeof bag[name] !== 'function') throw new TypeError(`${name} must be a function`);
  whole(bag['max_tokens'], 'max_tokens', 1);
  (signal as AbortSignal | undefined)?.throwIfAborted();
}

/** A whole number, or undefined. */
export function whole(value: unknown, name: string, least: number, most = 2 ** 31 - 1): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number`);
  if (!Number.isInteger(value) || value < least || value > most)
    throw new RangeError(`${name} is ${value}, not a whole number in ${least}…${most}`);
  return value;
}

/** A text that says something. */
export function checkText(text: unknown, name = 'text'): string {
  if (typeof text !== 'string') throw new TypeError(`${name} must be a string`);
  if (text.trim() === '') throw new RangeError(`${name} is empty`);
  return text;
}

/** A text or several, as a list. */
export function checkTexts(texts: unknown, name = 'texts'): string[] {
  const list: unknown = typeof texts === 'string' ? [texts] : texts;
  if (!Array.isArray(list)) throw new TypeError(`${name} must be a string or a list of strings`);
  list.forEach((text: unknown, i) => {
    if (typeof text !== 'string') throw new TypeError(`${name}[${i}] must be a string`);
  });
  return list as string[];
}

/** Names that differ from each other, at least `least` of them. */
export function checkNames(names: unknown, name: string, least: number): string[] {
  if (!Array.isArray(names)) throw new TypeError(`${name} must be a list of strings`);
  names.forEach((one: unknown, i) => checkText(one, `${name}[${i}]`));
  if (names.length < least) throw new RangeError(`${name} has ${names.length}, not at least ${least}`);
  if (new Set(names).size < names.length) throw new RangeError(`${name} has one twice`);
  return names as string[];
}

/** One of a few words, or undefined. */
export function oneOf<T extends string>(value: unknown, name: string, values: readonly T[]): T | undefined {
  if (value === undefined) return undefined;
  if (!values.includes(value as T))
    throw new RangeError(`${name} is ${JSON.stringify(value)}, not one of ${values.join(', ')}`);
  return value as T;
}
