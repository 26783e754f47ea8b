// The tasks that write a text: summarize, translate, answer.
import { answer, summarize, translate } from 'kinglet/tasks';
import { el } from '../dom.js';
import { Choice, labelled, textArea, textField } from '../fields.js';
import { ARTICLE, QUESTION, SENTENCE } from './examples.js';
import type { Spec } from './pane.js';
import { writtenFigures } from './words.js';

export function summarizing(): Spec {
  const text = textArea(12, 'A text of any length');
  const length = new Choice(
    'How long',
    [
      ['short', 'Short'],
      ['medium', 'Medium'],
      ['long', 'Long'],
    ] as const,
    'short',
  );
  return {
    id: 'summarize',
    title: 'Summarize',
    task: 'summarize',
    lead: 'What a text says, in fewer words. A text longer than the model can hold is read in parts, to its end.',
    suits: 'flan-T5 and T5, or a model that follows instructions',
    action: 'Summarize',
    hint: 'The summary comes here.',
    text,
    fields: [labelled('Text', text), length.element],
    example: () => {
      text.value = ARTICLE;
      length.value = 'short';
    },
    run: async ({ engine, signal, onProgress }, output) => {
      const onText = (piece: string) => output.write(piece);
      return writtenFigures(await summarize(engine, text.value, { length: length.value, signal, onProgress, onText }));
    },
  };
}

const LANGUAGES = ['English', 'German', 'French', 'Romanian', 'Spanish', 'Italian', 'Portuguese', 'Dutch', 'Polish'];

export function translating(): Spec {
  const text = textArea(8, 'What is to be translated');
  const [from, to] = [languages('English'), languages('German')];
  const swap = el('button', { type: 'button', class: 'quiet', 'aria-label': 'Swap the languages' }, '⇄');
  swap.addEventListener('click', () => ([from.value, to.value] = [to.value, from.value]));
  return {
    id: 'translate',
    title: 'Translate',
    task: 'translate',
    lead: 'From one language to another. T5 was trained with English, German, French and Romanian.',
    suits: 'T5 and flan-T5, or a large model that follows instructions',
    action: 'Translate',
    hint: 'The translation comes here.',
    text,
    fields: [
      el('div', { class: 'row languages' }, labelled('From', from), swap, labelled('To', to)),
      labelled('Text', text),
    ],
    example: () => ([from.value, to.value, text.value] = ['English', 'German', SENTENCE]),
    run: async ({ engine, signal, onProgress }, output) => {
      const onText = (piece: string) => output.write(piece);
      const options = { from: from.value, to: to.value, signal, onProgress, onText };
      return writtenFigures(await translate(engine, text.value, options));
    },
  };
}

const languages = (chosen: string): HTMLSelectElement =>
  el('select', {}, ...LANGUAGES.map((name) => el('option', { selected: name === chosen }, name)));

export function answering(): Spec {
  const question = textField('A question');
  const context = textArea(10, 'The text that has the answer; or nothing');
  return {
    id: 'answer',
    title: 'Answer',
    task: 'answer',
    lead: 'A question about a text. Of a long text, the part that the question goes with best is read.',
    suits: 'flan-T5 and T5, or a model that follows instructions',
    action: 'Answer',
    hint: 'The answer comes here.',
    text: context,
    fields: [labelled('Question', question), labelled('Text', context)],
    example: () => ([question.value, context.value] = [QUESTION, ARTICLE]),
    run: async ({ engine, signal, onProgress }, output) => {
      const text = context.value.trim() === '' ? undefined : context.value;
      const asked = { question: question.value, ...(text !== undefined && { context: text }) };
      const onText = (piece: string) => output.write(piece);
      const found = await answer(engine, asked, { signal, onProgress, onText });
      if (text !== undefined && found.source && found.chunks > 1) {
        const { start, end } = found.source;
        output.add(
          el(
            'details',
            {},
            el('summary', {}, 'From this part of the text'),
            el('blockquote', { class: 'fine' }, text.slice(start, end).trim()),
          ),
        );
      }
      return writtenFigures(found);
    },
  };
}
