// completions.create in OpenAI's legacy shape: a prompt as text or tokens, with echo and scoring.

import type { Alternative, GenerateEvent } from './abi.js';
import { ChunkStream, eventsOf, head, pieceOf, timingsOf, usageOf } from './answer.js';
import type { Core, Generation } from './core.js';
import { KingletError } from './errors.js';
import { checkCompletion } from './params.js';
import type {
  CallOptions,
  Completion,
  CompletionChunk,
  CompletionLogprobs,
  CompletionParams,
  FinishReason,
  Stream,
} from './types.js';

export interface Completions {
  create(params: CompletionParams & { stream: true }, options?: CallOptions): Promise<Stream<CompletionChunk>>;
  create(params: CompletionParams & { stream?: false | null }, options?: CallOptions): Promise<Completion>;
  create(params: CompletionParams, options?: CallOptions): Promise<Completion | Stream<CompletionChunk>>;
}

export async function createCompletion(
  core: Core,
  params: CompletionParams,
  options: CallOptions = {},
): Promise<Completion | Stream<CompletionChunk>> {
  core.checkOpen();
  core.checkTask('generate', 'completions.create');
  const { request, stream, includeUsage } = checkCompletion(params, core.info.vocabularySize);
  if (request.echo && core.isEncoderDecoder)
    throw new KingletError('E_UNSUPPORTED_TASK', 'echo: an encoder-decoder does not score its prompt');
  const prompt = typeof params.prompt === 'string' ? params.prompt : Uint32Array.from(params.prompt);
  const generation = await core.generate(request, () => core.textPrompt(prompt, options.signal), stream, options);
  return stream
    ? new ChunkStream(generation, chunks(generation, core.info.name, includeUsage))
    : whole(generation, core.info.name);
}

/** One choice as it grows. `text` counts for the offsets of the next tokens. */
class GrowingChoice {
  text = '';
  #n_chars = 0;

  /** Takes tokens and gives their logprobs in the legacy form; `text` grows by what they show. */
  take(
    shown: string,
    tokens: { piece: string; logprob: number | null; top: Alternative[] | undefined }[],
    withLogprobs: boolean,
  ): CompletionLogprobs | null {
    this.text += shown;
    if (!withLogprobs) return null;
    const result = noLogprobs();
    for (const { piece, logprob, top } of tokens) {
      const byText = (name: 'logprob' | 'id'): Record<string, number> | null =>
        top && logprob !== null ? Object.fromEntries(top.map((other) => [other.text, other[name]])) : null;
      result.tokens.push(piece);
      result.token_logprobs.push(logprob);
      result.top_logprobs.push(byText('logprob'));
      result.top_token_ids.push(byText('id'));
      result.text_offset.push(this.#n_chars);
      this.#n_chars += piece.length;
    }
    return result;
  }
}

interface Piece {
  index: number;
  text: string;
  logprobs: CompletionLogprobs | null;
  token_ids: number[];
  finish_reason: FinishReason | null;
}

/** What an event adds to which choices. */
function piecesOf(event: GenerateEvent, growing: GrowingChoice[], withLogprobs: boolean): Piece[] {
  const piece = (
    index: number,
    text: string,
    tokens: Parameters<GrowingChoice['take']>[1],
    rest: Partial<Piece> = {},
  ): Piece => ({
    index,
    text,
    logprobs: growing[index]?.take(text, tokens, withLogprobs) ?? null,
    token_ids: [],
    finish_reason: null,
    ...rest,
  });
  switch (event.type) {
    case 'echo': {
      const tokens = event.texts.map((text, i) => ({
        piece: text,
        logprob: event.logprobs[i] ?? null,
        top: event.top?.[i],
      }));
      return growing.map((_, index) => piece(index, event.texts.join(''), tokens));
    }
    case 'token':
      return [
        piece(event.choice, event.text, [{ piece: pieceOf(event), logprob: event.logprob ?? null, top: event.top }], {
          token_ids: [event.id],
        }),
      ];
    case 'done':
      return [{ ...piece(event.choice, event.text, []), logprobs: null, finish_reason: event.reason }];
    default:
      return [];
  }
}

async function whole(generation: Generation, model: string): Promise<Completion> {
  const withLogprobs = generation.request.logprobs !== undefined;
  const growing = generation.generated.map(() => new GrowingChoice());
  const choices = generation.generated.map((token_ids, index) => ({
    index,
    text: '',
    finish_reason: 'stop' as FinishReason,
    logprobs: withLogprobs ? noLogprobs() : null,
    token_ids,
  }));
  const events = eventsOf(generation);
  for (let step = await events.next(); ; step = await events.next()) {
    if (step.done) {
      return {
        ...head('cmpl', 'text_completion', model),
        choices,
        usage: usageOf(step.value),
        timings: timingsOf(generation.output, step.value),
      };
    }
    for (const piece of piecesOf(step.value, growing, withLogprobs)) {
      const choice = choices[piece.index];
      if (!choice) continue;
      choice.text += piece.text;
      if (piece.finish_reason) choice.finish_reason = piece.finish_reason;
      if (choice.logprobs && piece.logprobs) append(choice.logprobs, piece.logprobs);
    }
  }
}

const noLogprobs = (): CompletionLogprobs => ({
  tokens: [],
  token_logprobs: [],
  top_logprobs: [],
  top_token_ids: [],
  text_offset: [],
});

function append(to: CompletionLogprobs, more: CompletionLogprobs): void {
  for (const name of Object.keys(to) as (keyof CompletionLogprobs)[]) (to[name] as unknown[]).push(...more[name]);
}

async function* chunks(
  generation: Generation,
  model: string,
  includeUsage: boolean,
): AsyncGenerator<CompletionChunk, undefined> {
  const withLogprobs = generation.request.logprobs !== undefined;
  const growing = generation.generated.map(() => new GrowingChoice());
  const top = head('cmpl', 'text_completion', model);
  let n_open = generation.request.n;
  let last: CompletionChunk | undefined;
  const events = eventsOf(generation);
  for (let step = await events.next(); ; step = await events.next()) {
    if (step.done) {
      const timings = timingsOf(generation.output, step.value);
      if (last) yield { ...last, timings };
      if (includeUsage) yield { ...top, choices: [], usage: usageOf(step.value), timings };
      return undefined;
    }
    for (const piece of piecesOf(step.value, growing, withLogprobs)) {
      const chunk: CompletionChunk = { ...top, choices: [piece], ...(includeUsage ? { usage: null } : {}) };
      // The last one waits for the timings, which are known with the end.
      if (piece.finish_reason && --n_open === 0) last = chunk;
      else yield chunk;
    }
  }
}
