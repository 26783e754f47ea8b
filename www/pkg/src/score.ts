// engine.score: how probable continuations of texts are. The page checks; the worker makes tokens of the texts (score-tokens.ts)
// and computes.

import type { Core } from './core.js';
import { checkScore } from './params.js';
import type { Continuation, ScoredContinuation, ScoreOptions } from './types.js';

export async function score(
  core: Core,
  items: readonly (readonly Continuation[])[],
  options: ScoreOptions = {},
): Promise<ScoredContinuation[][]> {
  core.checkOpen();
  core.checkTask('generate', 'score');
  const input = checkScore(items, options, core.info.vocabularySize);
  const scores: (ScoredContinuation | undefined)[][] = input.map((item) => item.map(() => undefined));
  const missing = input.map((item) => item.length);
  let done = 0;
  await core.score(input, options, (events) => {
    for (const { group, span, tokens, logprobs, isGreedy } of events) {
      const item = scores[group];
      if (!item) continue;
      item[span] = {
        logprob: logprobs.reduce((sum, logprob) => sum + logprob, 0),
        token_logprobs: logprobs,
        token_ids: Array.from(tokens),
        is_greedy: isGreedy,
      };
      missing[group] = (missing[group] ?? 0) - 1;
      if (missing[group] !== 0) continue;
      done += 1;
      options.onItem?.(group, item as ScoredContinuation[]);
      options.onProgress?.({ done, total: input.length });
    }
  });
  return scores as ScoredContinuation[][];
}
