// An engine for the tests of kinglet/tasks: a token is a word with the white space before it, the answers are a function's. It is
// stricter than the real one: a decoder's prompt has to leave room for the whole answer that was asked for.

import { KingletError } from '../src/errors.js';
import type { TaskEngine } from '../src/tasks/index.js';
import type {
  ChatMessage,
  Classification,
  EncoderInput,
  FilledMask,
  FinishReason,
  Info,
  LabelledToken,
  Task,
} from '../src/types.js';

export interface FakeOptions {
  tasks?: Task[];
  contextLength?: number;
  name?: string;
  labels?: string[];
  chatTemplate?: Info['chatTemplate'];
  templateSource?: 'file' | 'default';
  /** What the model says to a prompt. */
  say?: (prompt: string) => string;
  /** ln P of a continuation. */
  logprob?: (context: string, continuation: string) => number;
  /** Logits of labels. */
  judge?: (text: string, pair: string | undefined) => number[];
  /** Label of a token of a text. */
  labelOf?: (word: string) => string;
  /** An embedding of a text, of any length. */
  embed?: (text: string) => number[];
  /** ln P of a token in a mask. */
  fill?: (tokens: string[], at: number, candidate: string) => number;
  /** Called with each answer; a promise holds it up. */
  onCall?: () => Promise<void> | void;
  /** No tokens at the ends. */
  bare?: boolean;
}

interface Asked {
  prompt: string;
  max_tokens: number;
  params: Record<string, unknown>;
}

const FIRST = '[CLS]';
const LAST = '[SEP]';
const MASK = '[MASK]';
const DIMENSION = 4;

export const ENCODER_DECODER: FakeOptions = { tasks: ['generate', 'remember'], chatTemplate: 'plain' };
export const BASE: FakeOptions = { chatTemplate: 'plain' };
export const CHAT: FakeOptions = { chatTemplate: 'file', templateSource: 'file' };

/** The words of a text, each with the white space before it; what stands at the end belongs to the last. */
export const wordsOf = (text: string): string[] => text.match(/\s*\S+(?:\s+$)?/g) ?? [];

export function fakeEngine(options: FakeOptions = {}) {
  const tasks = options.tasks ?? ['generate'];
  const contextLength = options.contextLength ?? 64;
  const isEncoder = !tasks.includes('generate');
  const words: string[] = [FIRST, LAST, MASK, '</s>'];
  const idOf = (word: string): number => {
    const at = words.indexOf(word);
    return at >= 0 ? at : words.push(word) - 1;
  };
  const asked: Asked[] = [];
  const embedded: string[][] = [];
  const labelled: string[] = [];
  const scored: { context: string; continuation: string }[][] = [];
  const classified: { text: string; pair: string | undefined }[] = [];
  const overflow = (requestedTokens: number): KingletError =>
    new KingletError('E_CONTEXT_OVERFLOW', `${requestedTokens} tokens of ${contextLength}`, {
      details: { requestedTokens, availableTokens: contextLength },
    });
  const ends = (ids: number[]): number[] =>
    options.bare ? ids : isEncoder ? [0, ...ids, 1] : tasks.includes('remember') ? [...ids, 3] : ids;
  const textOf = (input: EncoderInput): { text: string; pair: string | undefined } =>
    typeof input === 'string'
      ? { text: input, pair: undefined }
      : 'text' in input
        ? { text: input.text, pair: input.text_pair }
        : { text: input.map((id) => words[id]).join(''), pair: undefined };
  const turn = async (signal: AbortSignal | undefined): Promise<void> => {
    signal?.throwIfAborted();
    let onAbort = (): void => {};
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal?.reason);
    });
    signal?.addEventListener('abort', onAbort);
    await Promise.race([options.onCall?.(), aborted]);
    signal?.removeEventListener('abort', onAbort);
    signal?.throwIfAborted();
  };

  /** The pieces of an answer, and why it ended. */
  async function answer(prompt: string, params: Record<string, unknown>, signal: AbortSignal | undefined) {
    const max_tokens = params['max_tokens'] as number;
    asked.push({ prompt, max_tokens, params });
    const n_prompt = ends(wordsOf(prompt).map(idOf)).length;
    const n_all = tasks.includes('remember') ? n_prompt : n_prompt + max_tokens;
    if (n_all > contextLength) throw overflow(n_all);
    await turn(signal);
    const pieces = wordsOf(options.say?.(prompt) ?? 'yes');
    const finish_reason: FinishReason = pieces.length > max_tokens ? 'length' : 'stop';
    const shown = pieces.slice(0, max_tokens);
    const usage = {
      prompt_tokens: n_prompt,
      completion_tokens: shown.length,
      total_tokens: n_prompt + shown.length,
      prompt_tokens_details: { cached_tokens: 0 },
    };
    const timings = { prompt_n: n_prompt, prompt_ms: 1, predicted_n: shown.length, predicted_ms: 2 };
    return { pieces: shown, finish_reason, usage, timings };
  }

  const template = (messages: ChatMessage[]): string =>
    messages.map(({ role, content }) => `<|${role}|> ${content as string}`).join(' ') + ' <|assistant|>';

  const create =
    (isChat: boolean) =>
    async (params: Record<string, unknown>, { signal }: { signal?: AbortSignal } = {}) => {
      const prompt = isChat ? template(params['messages'] as ChatMessage[]) : (params['prompt'] as string);
      const { pieces, finish_reason, usage, timings } = await answer(prompt, params, signal);
      const choice = (text: string) => (isChat ? { message: { role: 'assistant', content: text } } : { text });
      const delta = (text: string) => (isChat ? { delta: { content: text } } : { text });
      if (params['stream'] !== true)
        return { choices: [{ ...choice(pieces.join('')), finish_reason }], usage, timings };
      return (async function* () {
        for (const piece of pieces) yield { choices: [{ ...delta(piece), finish_reason: null }], usage: null };
        yield { choices: [{ ...delta(''), finish_reason }], usage: null, timings };
        yield { choices: [], usage, timings };
      })();
    };

  const engine = {
    info: {
      architecture: 'fake',
      name: options.name ?? 'fake',
      tasks,
      labels: options.labels ?? [],
      embeddingLength: DIMENSION,
      contextLength,
      chatTemplate: options.chatTemplate ?? 'plain',
      template: { source: options.templateSource ?? 'default', known: false },
    },
    tokenize: async (text: string, { addSpecial = true, parseSpecial = false } = {}) => {
      const pieces = parseSpecial ? text.split(/(\s*\[MASK\])/).flatMap((part) => wordsOf(part)) : wordsOf(text);
      const ids = pieces.map((piece) => (parseSpecial && piece.trim() === MASK ? 2 : idOf(piece)));
      return addSpecial ? ends(ids) : ids;
    },
    applyChatTemplate: async (messages: ChatMessage[]) => template(messages),
    chat: { completions: { create: create(true) } },
    completions: { create: create(false) },
    embeddings: {
      create: async ({ input }: { input: string[] }, { signal }: { signal?: AbortSignal } = {}) => {
        embedded.push(input);
        for (const text of input) {
          const n = wordsOf(text).length + 2;
          if (n > contextLength) throw overflow(n);
        }
        await turn(signal);
        const vectors = input.map((text) => (options.embed ?? (() => [1, 0, 0, 0]))(text));
        return { data: vectors.map((vector) => ({ embedding: vector.map((x) => x / Math.hypot(...vector)) })) };
      },
    },
    classify: async (texts: EncoderInput[], { signal }: { signal?: AbortSignal } = {}): Promise<Classification[][]> => {
      await turn(signal);
      return texts.map(textOf).map(({ text, pair }) => {
        const n = wordsOf(text).length + (pair === undefined ? 2 : wordsOf(pair).length + 3);
        if (n > contextLength) throw overflow(n);
        classified.push({ text, pair });
        const logits = options.judge?.(text, pair) ?? [0];
        const sum = logits.reduce((all, logit) => all + Math.exp(logit), 0);
        return logits
          .map((logit, i) => ({
            label: options.labels?.[i] ?? '',
            logit,
            score: logits.length === 1 ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit) / sum,
          }))
          .sort((a, b) => b.logit - a.logit);
      });
    },
    label: async (texts: string[], { signal }: { signal?: AbortSignal } = {}): Promise<LabelledToken[][]> => {
      await turn(signal);
      return texts.map((text) => {
        labelled.push(text);
        // A token is at most four characters of a word.
        const tokens = Array.from(text.matchAll(/[\p{L}\p{N}]{1,4}|[^\s\p{L}\p{N}]/gu), ({ 0: word, index }) => ({
          token: idOf(word),
          start: index,
          end: index + word.length,
          label: options.labelOf?.(word) ?? 'O',
          score: 0.5,
          logits: new Float32Array(),
        }));
        if (wordsOf(text).length + 2 > contextLength) throw overflow(wordsOf(text).length + 2);
        const end = { token: 0, start: null, end: null, label: 'O', score: 1, logits: new Float32Array() };
        return [end, ...tokens, end];
      });
    },
    fillMask: async (
      inputs: number[][],
      { top = 5, only, signal }: { top?: number; only?: number[]; signal?: AbortSignal } = {},
    ): Promise<FilledMask[][][]> => {
      await turn(signal);
      return inputs.map((ids) => {
        if (ids.length > contextLength) throw overflow(ids.length);
        const tokens = ids.map((id) => words[id] ?? '');
        const places = ids.flatMap((id, i) => (id === 2 ? [i] : []));
        return places.map((at) =>
          (only ?? words.map((_, id) => id))
            .map((id) => {
              const logprob = options.fill?.(tokens, at, words[id] ?? '') ?? -1;
              return { token: id, text: words[id] ?? '', logprob, score: Math.exp(logprob) };
            })
            .sort((a, b) => b.logprob - a.logprob)
            .slice(0, only ? only.length : top),
        );
      });
    },
    score: async (
      items: { context: string; continuation: string }[][],
      { signal, onProgress }: { signal?: AbortSignal; onProgress?: (p: { done: number; total: number }) => void } = {},
    ) => {
      const all = [];
      for (const [i, item] of items.entries()) {
        await turn(signal);
        scored.push(item);
        all.push(
          item.map(({ context, continuation }) => {
            const [n_context, n_continuation] = [wordsOf(context).length, wordsOf(continuation).length];
            const n = tasks.includes('remember') ? Math.max(n_context, n_continuation) + 1 : n_context + n_continuation;
            if (n > contextLength) throw overflow(n);
            const logprob = options.logprob?.(context, continuation) ?? -1;
            return { logprob, token_logprobs: [logprob], token_ids: [0], is_greedy: false };
          }),
        );
        onProgress?.({ done: i + 1, total: items.length });
      }
      return all;
    },
  };
  return { engine: engine as unknown as TaskEngine, asked, embedded, labelled, scored, classified };
}

/** Told of progress, and that it goes as it should: `total` stays, `done` does not fall, and at the end they are equal. */
export function progressWatch() {
  const seen: { done: number; total: number }[] = [];
  return {
    onProgress: (progress: { done: number; total: number }) => void seen.push(progress),
    seen,
    isSound: (): boolean =>
      seen.length > 0 &&
      seen.every(
        ({ done, total }, i) => total === seen[0]?.total && done >= (seen[i - 1]?.done ?? 0) && done <= total,
      ) &&
      seen.at(-1)?.done === seen.at(-1)?.total,
  };
}
