// What the tasks page says in small print, and how it reads what was typed. No DOM.
import type { Timings, Usage } from 'kinglet';
import type { Support } from 'kinglet/tasks';
import { count, duration, plainError, type PlainError } from '../words.js';

/** "58 tokens · 41.2 tok/s · 220 read in 180 ms · 3 parts · cut at the limit". */
export function writtenFigures(written: {
  usage: Usage;
  timings: Timings;
  chunks: number;
  finish_reason: string | null;
}): string {
  const { usage, timings, chunks, finish_reason } = written;
  const { prompt_n, prompt_ms, predicted_n, predicted_ms } = timings;
  const n = usage.completion_tokens;
  const said = [n === 1 ? '1 token' : `${count(n)} tokens`];
  if (predicted_n > 0 && predicted_ms > 0) said.push(`${((1000 * predicted_n) / predicted_ms).toFixed(1)} tok/s`);
  if (prompt_n > 0) said.push(`${count(prompt_n)} read in ${duration(prompt_ms)}`);
  if (chunks > 1) said.push(`${count(chunks)} parts`);
  if (finish_reason === 'length') said.push('cut at the limit');
  return said.join(' · ');
}

/** "sport, politics , , sport" → ["sport", "politics"]; lines separate too. */
export const listOf = (text: string): string[] => [
  ...new Set(
    text
      .split(/[,\n]/)
      .map((part) => part.trim())
      .filter(Boolean),
  ),
];

export interface Note {
  title: string;
  text: string;
}

const TITLE_CHARS = 60;

/** Notes are separated by empty lines; what a note is called is how it begins. */
export const notesOf = (text: string): Note[] =>
  text
    .split(/\n[^\S\n]*\n\s*/)
    .map((part) => part.trim())
    .filter(Boolean)
    .map((part) => ({ title: titleOf(part), text: part }));

function titleOf(text: string): string {
  const line = text.split('\n', 1)[0] ?? '';
  if (line.length <= TITLE_CHARS) return line;
  const cut = line.slice(0, TITLE_CHARS);
  return `${cut.slice(0, cut.lastIndexOf(' ') > 0 ? cut.lastIndexOf(' ') : TITLE_CHARS)}…`;
}

/** 0.934 → "93 %"; what is not quite nothing is "< 1 %". */
export function percent(share: number): string {
  if (share > 0 && share < 0.01) return '< 1 %';
  return `${Math.round(100 * share)} %`;
}

const HOW: Record<Exclude<Support['by'], null>, string> = {
  head: 'This model was trained for this.',
  prefix: 'This model is asked with the words that T5 was trained with.',
  prompt: 'This model is asked in plain words; a small one often gets it wrong.',
  score: 'This model was not trained for this: it tells how probable it finds each choice.',
  embedding: 'This model tells how near texts are in what they mean.',
};

/** How the loaded model does a task, or why it does not. */
export const supportLine = (support: Support): string => (support.by === null ? `${support.reason}.` : HOW[support.by]);

/** What went wrong with a task. */
export function taskError(error: unknown): PlainError {
  const plain = plainError(error);
  if (plain.code === 'E_CONTEXT_OVERFLOW')
    return { ...plain, text: 'This is longer than the model can hold. Shorten it, or load a model with more context.' };
  if (plain.code === 'E_UNSUPPORTED_TASK' || plain.code === 'RangeError' || plain.code === 'TypeError')
    return { ...plain, text: sentence(plain.detail) };
  if (plain.code === 'E_FILE_FORMAT')
    return { ...plain, text: 'This is not an index of notes that this model can read.' };
  return plain;
}

const sentence = (text: string): string => `${text[0]?.toUpperCase() ?? ''}${text.slice(1).replace(/\.?$/, '.')}`;
