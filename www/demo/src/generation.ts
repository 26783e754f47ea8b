// One answer of the model, piece by piece: to a conversation, or going on from an answer that has begun. What differs between the
// calls of the package ends here.
import type {
  ChatCompletionChunk,
  ChatMessage,
  CompletionChunk,
  CompletionLogprobs,
  CompletionParams,
  Info,
  Timings,
  Usage,
} from 'kinglet';
import type { Alternative, Token } from './conversations/types.js';
import { answersSingly } from './facts.js';
import type { Engine } from './loader.js';
import type { Sampling } from './settings.js';
import { PlainProblem } from './words.js';

/** Alternatives that are shown for each token. */
export const N_ALTERNATIVES = 6;

export interface Asked {
  /** Questions and answers by turns, a question last; before them the system prompt, if any. */
  messages: ChatMessage[];
  sampling: Sampling;
  /** Whether the probabilities of tokens are wanted too. */
  probabilities: boolean;
  /** An answer that has begun, which goes on: its text, and its tokens where this very model wrote them. */
  begun?: { text: string; ids?: readonly number[] };
}

export interface Piece {
  text: string;
  tokens: Token[];
  usage?: Usage;
  timings?: Timings;
  /** With the last piece. */
  end?: 'stop' | 'length';
}

/** Two models with the same key have the same tokens. */
export const modelKey = ({ architecture, name, parameters, quantization, vocabularySize }: Info): string =>
  [architecture, name, parameters, quantization, vocabularySize].join(' · ');

/** Whether a model can go on with an answer that has begun: an encoder-decoder begins anew with each. */
export const canGoOn = ({ tasks }: Pick<Info, 'tasks'>): boolean =>
  tasks.includes('generate') && !tasks.includes('remember');

export async function* generate(engine: Engine, asked: Asked, signal: AbortSignal): AsyncGenerator<Piece> {
  for await (const { choices, usage, timings } of await open(engine, asked, signal)) {
    const [choice] = choices;
    const text = (choice && ('delta' in choice ? choice.delta.content : choice.text)) ?? '';
    yield {
      text,
      tokens: choice ? tokensOf(choice, text) : [],
      ...(usage && { usage }),
      ...(timings && { timings }),
      ...(choice?.finish_reason && { end: choice.finish_reason }),
    };
  }
}

const COMMON = { stream: true as const, stream_options: { include_usage: true } };

async function open(
  engine: Engine,
  { messages, sampling, probabilities, begun }: Asked,
  signal: AbortSignal,
): Promise<AsyncIterable<ChatCompletionChunk | CompletionChunk>> {
  const scored = probabilities ? { logprobs: N_ALTERNATIVES } : {};
  if (begun) {
    const prompt = await promptOf(engine, messages, begun);
    const params: CompletionParams = { prompt, ...sampling, ...scored };
    params.max_tokens ??= Math.max(1, engine.info.contextLength - prompt.length);
    // The package's own stop for models without a template, which its chat call sets.
    if (engine.info.chatTemplate === 'plain') params.stop = ['\nUser:'];
    return engine.completions.create({ ...params, ...COMMON }, { signal });
  }
  // A model that knows no conversations answers what was asked last, by itself.
  if (answersSingly(engine.info)) {
    const asked = messages.at(-1)?.content;
    const prompt = typeof asked === 'string' ? asked : '';
    return engine.completions.create({ prompt, ...sampling, ...scored, ...COMMON }, { signal });
  }
  const withTop = probabilities ? { logprobs: true, top_logprobs: N_ALTERNATIVES } : {};
  return engine.chat.completions.create({ messages, ...sampling, ...withTop, ...COMMON }, { signal });
}

type Choice = ChatCompletionChunk['choices'][number] | CompletionChunk['choices'][number];

/** The tokens of a chunk: at most one, as streams bring them. */
function tokensOf({ token_ids, logprobs }: Choice, text: string): Token[] {
  const [id] = token_ids;
  if (id === undefined) return [];
  if (!logprobs) return [{ id, text }];
  if ('content' in logprobs) {
    const [first] = logprobs.content;
    if (!first) return [{ id, text }];
    const top = first.top_logprobs.map(({ id, token, logprob }) => ({ id, text: token, logprob }));
    return [{ id, text, logprob: first.logprob, top }];
  }
  const top = alternativesAt(logprobs, 0);
  const logprob = logprobs.token_logprobs[0];
  return [{ id, text, ...(typeof logprob === 'number' && { logprob }), top }];
}

/** What could have stood in a place of a text, the likeliest first. (An object has its keys that read like numbers before the others.) */
export function alternativesAt(
  { top_logprobs, top_token_ids }: Pick<CompletionLogprobs, 'top_logprobs' | 'top_token_ids'>,
  place: number,
): Alternative[] {
  const ids = top_token_ids[place] ?? {};
  return Object.entries(top_logprobs[place] ?? {})
    .map(([text, logprob]) => ({ text, logprob, ...(ids[text] !== undefined && { id: ids[text] }) }))
    .sort((a, b) => b.logprob - a.logprob);
}

/**
 * The tokens of a conversation whose last answer has begun. The package's chat call always opens a new turn, so the turn is opened
 * by the template here, and what stands of the answer is put behind it.
 */
export async function promptOf(
  engine: Engine,
  messages: ChatMessage[],
  { text, ids }: NonNullable<Asked['begun']>,
): Promise<number[]> {
  await checkMarks(engine, [...messages.map(({ content }) => String(content ?? '')), ...(ids ? [] : [text])]);
  const addSpecial = engine.info.template.source === 'default';
  const opened = await engine.tokenize(await engine.applyChatTemplate(messages), { addSpecial, parseSpecial: true });
  return [...opened, ...(ids ?? (await engine.tokenize(text, { addSpecial: false })))];
}

/**
 * The text of a template does not tell a mark that the template wrote from one in a message. So a conversation that holds such marks is
 * not gone on with: what somebody wrote must never become the beginning of a turn.
 */
async function checkMarks(engine: Engine, texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    const [read, plain] = await Promise.all([
      engine.tokenize(text, { addSpecial: false, parseSpecial: true }),
      engine.tokenize(text, { addSpecial: false }),
    ]);
    if (String(read) !== String(plain))
      throw new PlainProblem(
        'MARKS_IN_TEXT',
        'This conversation holds text that reads like the model’s own marks, so this answer cannot be gone on with. It can be made anew.',
      );
  }
}
