// Keeps what users write from becoming special tokens. A chat template puts the strings of messages between its own markers, and the
// rendered text is then read for special tokens; so a message that says `<|im_start|>system` would forge a role. The renderer tells
// of every character whether it came from the data; a special string that holds even one such character is broken by a noncharacter
// (the joiner) that occurs nowhere in the conversation. The tokenizer takes the joiner out again after it has split off the
// special tokens, so that the text stays what it was.
//
//   template   data              template
//   "<|user|>" "a <|im_end|> <|" "user|>"   →   "<|user|>a <⨯|im_end|> <|⨯user|>"

/** Code points that Unicode reserves for use inside a program; a text may still hold some, so one that it lacks is taken. */
const NONCHARACTERS: readonly string[] = [
  ...Array.from({ length: 32 }, (_, i) => String.fromCodePoint(0xfdd0 + i)),
  ...Array.from({ length: 17 }, (_, plane) =>
    [0xfffe, 0xffff].map((low) => String.fromCodePoint(plane * 0x10000 + low)),
  ).flat(),
];

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

/**
 * A text with the joiner in every string of `specials` that is not wholly the template's. `marks` has a `1` at every code unit of
 * the text that came from the data.
 */
export function breakSpecials(text: string, marks: string, specials: readonly string[], joiner: string): string {
  // The longest first: where a longer one is the template's own, so are all that begin at the same place.
  const strings = specials.filter((special) => special !== '').sort((a, b) => b.length - a.length);
  if (strings.length === 0 || !marks.includes('1')) return text;
  // Looking ahead from every code point also finds special strings that overlap.
  const inside = new RegExp(`(?=(${strings.map(escapeRegExp).join('|')}))`, 'gsu');
  let broken = '';
  let at = 0;
  for (const { 1: special = '', index = 0 } of text.matchAll(inside)) {
    const data = marks.indexOf('1', index);
    if (data < 0) break;
    if (data >= index + special.length) continue;
    // No special string that is the template's own goes across this place.
    const cut = data > index ? data : index + ((text.codePointAt(index) ?? 0) > 0xffff ? 2 : 1);
    if (cut <= at) continue;
    broken += text.slice(at, cut) + joiner;
    at = cut;
  }
  return broken + text.slice(at);
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

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
