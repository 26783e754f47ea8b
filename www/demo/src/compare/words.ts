// What two answers have in common, in words.

const SHOWN_CHARS = 40;

/** Where two answers part: at a word, so that none is cut in two. */
export function parting(a: string, b: string): string {
  if (a === '' || b === '') return '';
  if (a === b) return 'Both answers are the same.';
  let n = 0;
  while (n < a.length && a[n] === b[n]) n++;
  if (n === a.length || n === b.length) return `${n === a.length ? 'B' : 'A'} says the same, and goes on.`;
  const common = a.slice(0, n).replace(/\S*$/, '').trim();
  if (common === '') return 'The answers differ from the first word.';
  const end = common.slice(-SHOWN_CHARS).replace(/^\S*\s/, (cut) => (common.length > SHOWN_CHARS ? '' : cut));
  return `The answers part behind “${common.length > SHOWN_CHARS ? '…' : ''}${end}”.`;
}
