// What a model is asked in: T5's prefixes as T5 was trained with them (Raffel et al. 2020, appendix D), words of FLAN's templates for
// flan-T5 (google-research/FLAN, templates.py), and plain words for models that chat.

import type { Manner } from './support.js';

export type Length = 'short' | 'medium' | 'long';

/** What is asked of a text, as what comes before and after it. */
export interface Prompt {
  before: string;
  after: string;
}

const SENTENCES: Record<Length, string> = {
  short: 'one short sentence',
  medium: 'a few sentences',
  long: 'a few paragraphs',
};

export function summaryPrompt(manner: Manner, length: Length): Prompt {
  if (manner === 't5') return { before: 'summarize: ', after: '' };
  if (manner === 'flan') {
    const how = length === 'short' ? 'Summarize this article in one sentence.' : 'Summarize this article:';
    return { before: `${how}\n\n`, after: '' };
  }
  return { before: `Summarize the following text in ${SENTENCES[length]}.\n\n`, after: '' };
}

export function translationPrompt(manner: Manner, from: string, to: string): Prompt {
  if (manner === 't5' || manner === 'flan') return { before: `translate ${from} to ${to}: `, after: '' };
  return {
    before: `Translate the following text from ${from} to ${to}. Answer with the translation only.\n\n`,
    after: '',
  };
}

/** What is asked of a context. */
export function answerPrompt(manner: Manner, question: string): Prompt {
  if (manner === 't5') return { before: `question: ${question} context: `, after: '' };
  if (manner === 'flan') return { before: 'Read this and answer the question\n\n', after: `\n\n${question}` };
  return { before: 'Answer the question from the following text.\n\n', after: `\n\nQuestion: ${question}` };
}

/** What a passage is put in to tell how well a question goes with it; the question is what is scored. */
export function questionPrompt(manner: Manner): Prompt {
  return manner === 't5'
    ? { before: 'context: ', after: ' question:' }
    : { before: '', after: '\n\nA question that this text answers:' };
}
