// Probabilities of answers that are there already, and answers that begin with another token in the place of one.
import type { Alternative, Token } from './conversations/types.js';
import { alternativesAt, type Asked, N_ALTERNATIVES, promptOf } from './generation.js';
import type { Engine } from './loader.js';
import { PlainProblem } from './words.js';

/** The tokens of an answer with their probabilities, worked out afterwards by the model that is loaded. */
export async function score(
  engine: Engine,
  { messages, begun }: Pick<Asked, 'messages'> & Required<Pick<Asked, 'begun'>>,
  signal: AbortSignal,
): Promise<Token[]> {
  const ids = begun.ids ?? (await engine.tokenize(begun.text, { addSpecial: false }));
  const prompt = await promptOf(engine, messages, { text: begun.text, ids });
  const { choices } = await engine.completions.create(
    { prompt, echo: true, max_tokens: 0, logprobs: N_ALTERNATIVES },
    { signal },
  );
  const all = choices[0]?.logprobs;
  if (!all) throw new Error('the engine gave no probabilities');
  const first = prompt.length - ids.length;
  return ids.map((id, i) => {
    const logprob = all.token_logprobs[first + i];
    return {
      id,
      text: all.tokens[first + i] ?? '',
      ...(typeof logprob === 'number' && { logprob }),
      top: alternativesAt(all, first + i),
    };
  });
}

/**
 * The beginning of an answer up to a token, with an alternative in that token's place. `isEnd`: the alternative was to end the answer there.
 */
export async function startWith(
  engine: Engine,
  { tokens, index, chosen: { text, id, logprob } }: { tokens: readonly Token[]; index: number; chosen: Alternative },
): Promise<{ tokens: Token[]; isEnd: boolean }> {
  const kept = tokens.slice(0, index);
  const before = kept.map(({ id }) => id);
  const found = await tokenOf(engine, before, { text, id });
  if (found === 'end') return { tokens: kept, isEnd: true };
  if (!found)
    throw new PlainProblem(
      'PART_OF_CHARACTER',
      'This token is only a part of a character, so nothing can begin with it.',
    );
  const { top = [] } = tokens[index] ?? {};
  const [first, ...others] = found.ids.map((id) => ({ id, text: '', top: [] }));
  const begun = first ? [{ ...first, text, logprob, top }] : [];
  return { tokens: [...kept, ...begun, ...others], isEnd: false };
}

/**
 * The token that adds this text behind others: the one with this id, or where none was kept, one that spells it. `end`: the text is a
 * mark of the model's own, with which an answer ends. Undefined where nothing spells it, as with a part of a character.
 */
async function tokenOf(
  engine: Engine,
  before: readonly number[],
  { text, id }: { text: string; id: number | undefined },
): Promise<{ ids: number[] } | 'end' | undefined> {
  const only = { addSpecial: false };
  const [plain, read, line] = await Promise.all([
    engine.tokenize(text, only),
    engine.tokenize(text, { ...only, parseSpecial: true }),
    engine.tokenize('\n', only),
  ]);
  if (read.length === 1 && String(read) !== String(plain)) return 'end';
  // Some vocabularies put a space before the first word of a text: behind a line's end they do not.
  const behindLine = (await engine.tokenize(`\n${text}`, only)).slice(line.length);
  const spelled = await engine.detokenize([...before]);
  const spells = async (ids: number[]): Promise<boolean> => {
    const whole = ids.length > 0 ? await engine.detokenize([...before, ...ids]) : '';
    return before.length > 0 ? whole === spelled + text : whole.trimStart() === text.trimStart() && whole !== '';
  };
  const known = id === undefined ? [plain, behindLine].sort((a, b) => a.length - b.length) : [[id]];
  for (const ids of known) if (await spells(ids)) return { ids };
  return undefined;
}
