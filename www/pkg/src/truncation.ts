// `truncation: 'auto'`: of a conversation that is longer than the context, which messages the prompt is made of. Called by chat.ts.

import type { ChatMessage } from './types.js';

/**
 * The prompt of the messages, or where it is longer than `limit` tokens that of the system messages at the beginning and as many of the newest
 * turns as make it no longer; of the newest turn, whatever its length. `truncated`: how many messages that leaves out. A turn
 * begins with a message of the user.
 */
export async function fit(
  messages: ChatMessage[],
  render: (messages: ChatMessage[]) => Promise<Uint32Array>,
  limit: number,
): Promise<{ prompt: Uint32Array; truncated: number }> {
  const { n_head, turns } = partsOf(messages);
  const without = async (n_turns: number) => {
    const truncated = (turns[n_turns] ?? n_head) - n_head;
    return { prompt: await render(newest(messages, truncated)), truncated };
  };
  const all = await without(0);
  if (all.prompt.length <= limit || turns.length < 2) return all;
  let [least, most] = [1, turns.length - 1];
  let best = await without(most);
  if (best.prompt.length > limit) return best;
  while (least < most) {
    const middle = (least + most) >> 1;
    const some = await without(middle);
    if (some.prompt.length > limit) least = middle + 1;
    else [most, best] = [middle, some];
  }
  return best;
}

/** The messages without so many of the oldest that are no system messages of the beginning. */
export function newest(messages: ChatMessage[], n_truncated: number): ChatMessage[] {
  const { n_head } = partsOf(messages);
  return [...messages.slice(0, n_head), ...messages.slice(n_head + n_truncated)];
}

/** How many messages belong to no turn, and where turns begin; what comes before the first message of the user is one, too. */
function partsOf(messages: ChatMessage[]): { n_head: number; turns: number[] } {
  const first = messages.findIndex(({ role }) => role !== 'system' && role !== 'developer');
  const n_head = first < 0 ? messages.length : first;
  return {
    n_head,
    turns: [...messages.keys()].filter((i) => i === n_head || (i > n_head && messages[i]?.role === 'user')),
  };
}
