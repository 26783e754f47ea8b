// What answers to chat and plain completions have in common: ids, usage, timings, and the stream of chunks with its
// back-pressure. Used by chat.ts and completions.ts.

import type { GenerateEvent } from './abi.js';
import type { Generation } from './core.js';
import type { GenerateOutput } from './protocol.js';
import type { Stream, Timings, Usage } from './types.js';

type EndEvent = Extract<GenerateEvent, { type: 'end' }>;

/** What stands at the top of every answer and chunk. */
export interface Head<O extends string> {
  id: string;
  object: O;
  created: number;
  model: string;
}

export function head<O extends string>(prefix: string, object: O, model: string): Head<O> {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
  return { id: `${prefix}-${random}`, object, created: Math.floor(Date.now() / 1000), model };
}

export function usageOf({ usage }: EndEvent): Usage {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}

export function timingsOf(output: GenerateOutput, { usage }: EndEvent): Timings {
  const { draftedTokens = 0, acceptedTokens = 0 } = usage;
  return {
    prompt_n: output.promptN,
    prompt_ms: output.promptMs,
    predicted_n: output.predictedN,
    predicted_ms: output.predictedMs,
    ...(draftedTokens > 0 && { draft_n: draftedTokens, draft_n_accepted: acceptedTokens }),
  };
}

/** Every event in order, the last one (`end`) returned instead. */
export async function* eventsOf(generation: Generation): AsyncGenerator<Exclude<GenerateEvent, EndEvent>, EndEvent> {
  let end: EndEvent | undefined;
  for (let event = await generation.next(); event; event = await generation.next()) {
    if (event.type === 'end') end = event;
    else yield event;
  }
  // The worker ends every generation with this event, or with an error that `next` has thrown.
  return end as EndEvent;
}

/** Who is told of every chunk that is read, and once of the end: `failed` where reading it has thrown. */
export interface StreamWatcher<T> {
  chunk(chunk: T): void;
  end(failed: boolean): void;
}

/** The chunks of a generation as callers read them. Ending the iteration early ends the generation. */
export class ChunkStream<T> implements Stream<T> {
  readonly #chunks: AsyncGenerator<T, undefined>;
  readonly #generation: Generation;
  readonly #watcher: StreamWatcher<T> | undefined;

  constructor(generation: Generation, chunks: AsyncGenerator<T, undefined>, watcher?: StreamWatcher<T>) {
    this.#generation = generation;
    this.#chunks = chunks;
    this.#watcher = watcher;
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    try {
      const step = await this.#chunks.next();
      if (step.done) this.#watcher?.end(false);
      else this.#watcher?.chunk(step.value);
      return step;
    } catch (thrown) {
      this.#watcher?.end(true);
      throw thrown;
    }
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#watcher?.end(false);
    // First, so that a `next` that waits for a token comes back; what it would have thrown is nobody's error.
    this.#generation.cancel(new DOMException('the stream was ended', 'AbortError'));
    await this.#chunks.return(undefined).catch(() => {});
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  toReadableStream(): ReadableStream<T> {
    return new ReadableStream<T>(
      {
        pull: async (controller) => {
          const { done, value } = await this.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: async () => void (await this.return()),
      },
      { highWaterMark: 0 },
    );
  }
}

const decoder = new TextDecoder();

/** A token's own text; bytes that are no whole character become U+FFFD. */
export function pieceOf(event: Extract<GenerateEvent, { type: 'token' }>): string {
  return event.bytes === undefined ? event.text : decoder.decode(Uint8Array.from(event.bytes));
}
