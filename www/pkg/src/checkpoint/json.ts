// JSON from outside: read within limits, with its errors named by file and path. Pure.

import { KingletError } from '../errors.js';

export type Json = Record<string, unknown>;

/** Parses bytes; E_FILE_FORMAT for what is no JSON, or an object that has a key twice (what a reader then takes is anybody's guess). */
export function parseJson(file: string, bytes: Uint8Array): unknown {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    json = JSON.parse(text);
  } catch (cause) {
    throw malformed(file, 'this is no JSON', cause);
  }
  if (countKeys(text) !== keysOf(json)) throw malformed(file, 'an object has a key twice');
  return json;
}

/** Keys as they are written. In JSON a string before a colon is a key, and nothing else is. */
function countKeys(text: string): number {
  let n = 0;
  for (const [, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"([ \t\r\n]*:)?/gs)) n += colon === undefined ? 0 : 1;
  return n;
}

/** Keys as they were understood. */
function keysOf(json: unknown): number {
  let n = 0;
  const left: unknown[] = [json];
  while (left.length > 0) {
    const value = left.pop();
    if (typeof value !== 'object' || value === null) continue;
    const items = Object.values(value);
    if (!Array.isArray(value)) n += items.length;
    for (const item of items) left.push(item);
  }
  return n;
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function malformed(file: string, what: string, cause?: unknown): KingletError {
  return new KingletError('E_FILE_FORMAT', `${file}: ${what}`, {
    details: { file },
    ...(cause !== undefined && { cause }),
  });
}

/** A value for a message: one short line. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
