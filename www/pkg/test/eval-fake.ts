// A model for the tests of kinglet/eval: tokens are code units; each costs a hundredth of its code, and a space nothing; a continuation is greedy when it has
// no "z".

import { KingletError } from '../src/errors.js';
import type { ScoringEngine } from '../src/eval/index.js';
import type { Continuation, Info, ScoredContinuation, Task } from '../src/types.js';

export const codesOf = (text: string | readonly number[]): number[] =>
  typeof text === 'string' ? Array.from(text, (c) => c.charCodeAt(0)) : [...text];

export class FakeModel implements ScoringEngine {
  readonly info: Info;
  /** The items of each call. */
  readonly calls: (readonly (readonly Continuation[])[])[] = [];
  /** Each call takes so long for each item. */
  msPerItem = 0;
  /** What the call of this number, from 0, rejects with. */
  rejects: { call: number; error: unknown } | undefined;

  constructor(contextLength = 1000, tasks: Task[] = ['generate']) {
    this.info = {
      architecture: 'fake',
      name: 'Fake 1',
      parameters: 7,
      quantization: 'F32',
      fileBytes: 28,
      tasks,
      labels: [],
      embeddingLength: 1,
      contextLength,
      vocabularySize: 65536,
      chatTemplate: 'plain',
      template: { source: 'default', known: false },
      notices: [],
      device: { kind: 'cpu', threads: 2, simd: 'relaxed', reason: 'a test' },
      memory: {},
      build: '0.0.0 fake',
    };
  }

  async tokenize(text: string): Promise<number[]> {
    return codesOf(text);
  }

  async score(
    items: readonly (readonly Continuation[])[],
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<ScoredContinuation[][]> {
    signal?.throwIfAborted();
    const { rejects } = this;
    if (rejects?.call === this.calls.length) throw rejects.error;
    this.calls.push(items);
    const all = items.flat();
    if (all.some(({ context, continuation }) => context.length + continuation.length > this.info.contextLength))
      throw new KingletError('E_CONTEXT_OVERFLOW', 'too long');
    if (this.info.tasks.includes('remember') && items.some((item) => new Set(item.map((c) => c.context)).size > 1))
      throw new KingletError('E_UNSUPPORTED_TASK', 'several contexts');
    if (this.msPerItem > 0) await new Promise((done) => setTimeout(done, this.msPerItem * items.length));
    signal?.throwIfAborted();
    return items.map((item) => item.map(scored));
  }
}

function scored({ continuation }: Continuation): ScoredContinuation {
  const token_ids = codesOf(continuation);
  const token_logprobs = token_ids.map((id) => (id === 32 ? 0 : -id / 100));
  return {
    token_ids,
    token_logprobs,
    logprob: token_logprobs.reduce((sum, x) => sum + x, 0),
    is_greedy: !token_ids.includes('z'.charCodeAt(0)),
  };
}
