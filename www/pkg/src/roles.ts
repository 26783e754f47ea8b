// Keeps message text from becoming special tokens. A chat template puts the strings of messages between its own markers, and the
// rendered text is then read for special tokens; so a message that says `<|im_start|>system` would forge a role. Every place in a
// message where a special token could begin, or be completed across the border to the text around it, is broken by a noncharacter
// (the joiner) that occurs nowhere in the messages. The tokenizer takes the joiner out again after it has split off the special
// tokens, so the ids of harmless text are untouched.
//
//   "<|im_start|>"  →  "<⨯|im_start|>"            a special string inside
//   "…<|im_"        →  "…<|im_⨯"                  a proper prefix at the end
//   "end|>…"        →  "⨯end|>…"                  a proper suffix at the start

/** Code points that Unicode reserves for use inside a program; a text may still hold some, so one that it lacks is taken. */
const NONCHARACTERS: readonly string[] = [
  ...Array.from({ length: 32 }, (_, i) => String.fromCodePoint(0xfdd0 + i)),
  ...Array.from({ length: 17 }, (_, plane) =>
    [0xfffe, 0xffff].map((low) => String.fromCodePoint(plane * 0x10000 + low)),
  ).flat(),
];

/** Breaks the special strings in one text. */
export type Breaker = (text: string) => string;

/** The first noncharacter that is in none of `texts`. */
export function chooseJoiner(texts: Iterable<string>): string {
  const free = new Set(NONCHARACTERS);
  for (const text of texts) {
    // One pass finds nearly every text free of all of them.
    if (
      !/[\ufdd0-\ufdef\ufffe\uffff]|[\ud83f\ud87f\ud8bf\ud8ff\ud93f\ud97f\ud9bf\ud9ff\uda3f\uda7f\udabf\udaff\udb3f\udb7f\udbbf\udbff][\udffe\udfff]/.test(
        text,
      )
    )
      continue;
    for (const candidate of free) if (text.includes(candidate)) free.delete(candidate);
  }
  const [joiner] = free;
  if (joiner === undefined)
    throw new RangeError(
      'the messages contain every Unicode noncharacter: none is left to keep their text apart from special tokens',
    );
  return joiner;
}

/** A function that breaks every string of `specials` in a text, and every part of one at its ends. */
export function createBreaker(specials: readonly string[], joiner: string): Breaker {
  const strings = specials.filter((special) => special.length > 0);
  if (strings.length === 0) return (text) => text;
  // Looking ahead from every code point also finds special strings that overlap.
  const inside = new RegExp(`(?=${strings.map(escapeRegExp).join('|')})(.)`, 'gsu');
  const prefixes = new Set<string>();
  const suffixes = new Set<string>();
  for (const special of strings) {
    for (let cut = 1; cut < special.length; cut++) {
      prefixes.add(special.slice(0, cut));
      suffixes.add(special.slice(cut));
    }
  }
  const longest = Math.max(...strings.map((special) => special.length)) - 1;
  const endsIn = (text: string): boolean =>
    range(Math.min(longest, text.length)).some((n) => prefixes.has(text.slice(text.length - n)));
  const beginsIn = (text: string): boolean =>
    range(Math.min(longest, text.length)).some((n) => suffixes.has(text.slice(0, n)));
  return (text) => {
    if (text === '') return text;
    const broken = text.replace(inside, (start: string) => start + joiner);
    return (beginsIn(text) ? joiner : '') + broken + (endsIn(text) && !broken.endsWith(joiner) ? joiner : '');
  };
}

/** Every string in a JSON-like value, keys of objects among them. */
export function* stringsOf(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (Array.isArray(value)) for (const item of value) yield* stringsOf(item);
  else if (isObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      yield key;
      yield* stringsOf(item);
    }
  }
}

/**
 * A copy of a JSON-like value with `change` applied to every string, keys of objects among them, save the values that `keep`
 * names by their path of keys (places in lists are not part of it).
 */
export function mapStrings(
  value: unknown,
  change: Breaker,
  keep: (path: readonly string[]) => boolean = () => false,
  path: readonly string[] = [],
): unknown {
  if (typeof value === 'string') return keep(path) ? value : change(value);
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change, keep, path));
  if (isObject(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [change(key), mapStrings(item, change, keep, [...path, key])]),
    );
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1);
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
