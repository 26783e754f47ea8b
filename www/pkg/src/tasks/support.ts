// Which tasks a model can do, and how: decided by what `engine.info` says of it. The words of a refusal are those of the error.

import { KingletError } from '../errors.js';
import type { Info } from '../types.js';
import type { Support, TaskEngine, TaskName } from './types.js';

/**
 * How a model is asked to write. `chat`: it follows instructions, in its chat template. `flan`: an encoder-decoder that follows
 * instructions. `t5`: an encoder-decoder that knows the prefixes of T5. `base`: it only goes on with a text. `none`: it does not write.
 */
export type Manner = 'chat' | 'flan' | 't5' | 'base' | 'none';

/** An encoder-decoder does not say what it was trained with; of those that this is in the name of it is known. */
const FLAN = /flan/i;

export function mannerOf({ tasks, chatTemplate, template, name }: Info): Manner {
  if (!tasks.includes('generate')) return 'none';
  if (!tasks.includes('remember')) return chatTemplate === 'plain' ? 'base' : 'chat';
  if (template.source === 'file') return 'chat';
  return FLAN.test(name) ? 'flan' : 't5';
}

/** Whether the head looks at a query and a passage, and says how well they go together. */
export const isRanker = ({ tasks, labels }: Info): boolean => tasks.includes('classify') && labels.length === 1;

/** Which label of a model of natural language inference says that the second text follows from the first; -1 where it is no such model. */
export const entailment = ({ tasks, labels }: Info): number =>
  tasks.includes('classify') && labels.length <= 3 ? labels.findIndex((label) => /^entail/i.test(label)) : -1;

/** What the loaded model can do, and how. */
export function support({ info }: Pick<TaskEngine, 'info'>): Record<TaskName, Support> {
  const has = (task: Info['tasks'][number]): boolean => info.tasks.includes(task);
  const manner = mannerOf(info);
  const no = (reason: string): Support => ({ by: null, reason: `${kindOf(info, manner)}: ${reason}` });
  const writes = (what: string): Support => {
    if (manner === 'none') return no(`it does not write. To ${what} takes a model that follows instructions, or T5`);
    if (manner === 'base')
      return no(`it was not trained to follow instructions. To ${what} takes a model that was, or T5`);
    return { by: manner === 't5' ? 'prefix' : 'prompt' };
  };
  const embeds = (what: string): Support =>
    has('embed') ? { by: 'embedding' } : no(`it gives no embeddings. To ${what} takes a model such as MiniLM`);
  const isDecoder = has('generate') && !has('remember');
  return {
    complete: isDecoder
      ? { by: 'prompt' }
      : no(
          manner === 'none'
            ? 'it does not write. To go on with a text takes a decoder, such as SmolLM2'
            : 'it answers a text and does not go on with it. That takes a decoder, such as SmolLM2',
        ),
    summarize: writes('summarize'),
    translate: writes('translate'),
    answer: writes('answer'),
    classify: has('classify')
      ? { by: 'head' }
      : has('generate')
        ? { by: 'score' }
        : has('embed')
          ? { by: 'embedding' }
          : no('it has no labels, does not write and gives no embeddings, so it cannot choose among labels'),
    tag: has('label') ? { by: 'head' } : no('it does not label words. That takes a token classifier'),
    fillMask: has('fill-mask')
      ? { by: 'head' }
      : isDecoder
        ? { by: 'score' }
        : no('it does not fill in blanks. That takes a masked language model, such as BERT'),
    embed: embeds('embed'),
    search: embeds('search'),
    rerank: isRanker(info) ? { by: 'head' } : embeds('rerank'),
  };
}

/** What a model is, in words. */
function kindOf({ name, architecture, tasks }: Info, manner: Manner): string {
  const kinds = {
    chat: 'a model that chats',
    flan: 'an encoder-decoder',
    t5: 'an encoder-decoder',
    base: 'a base model, which goes on with a text',
    none: `an encoder, which can ${tasks.join(', ')}`,
  };
  return `${name || architecture} is ${kinds[manner]}`;
}

/** How the model does a task. @throws KingletError E_UNSUPPORTED_TASK with the reason. */
export function supported(engine: Pick<TaskEngine, 'info'>, task: TaskName): Exclude<Support['by'], null> {
  const found = support(engine)[task];
  if (found.by !== null) return found.by;
  const { architecture, tasks } = engine.info;
  throw new KingletError('E_UNSUPPORTED_TASK', found.reason, { details: { task, architecture, tasks } });
}
