// The tasks that choose: fill the blank, and classify.
import { classify, fillMask } from 'kinglet/tasks';
import { el } from '../dom.js';
import { labelled, textArea, textField } from '../fields.js';
import { duration } from '../words.js';
import { BLANK, BLANK_WORDS, NEWS, NEWS_LABELS } from './examples.js';
import { bars } from './output.js';
import type { Spec } from './pane.js';
import { listOf } from './words.js';

export function filling(): Spec {
  const text = textArea(4, 'A sentence with [MASK] in the place of a word');
  const words = textField();
  const hint = el('p');
  return {
    id: 'fill',
    title: 'Fill the blank',
    task: 'fillMask',
    lead: 'Which word belongs in a sentence, and how sure the model is of it.',
    suits: 'BERT and other masked language models; a decoder can compare the words that you give',
    action: 'Fill it in',
    hint: 'The words come here, the likeliest first.',
    text,
    fields: [labelled('Sentence', text), labelled('Words to compare', words, hint)],
    example: (by) => ([text.value, words.value] = [BLANK, by === 'head' ? '' : BLANK_WORDS]),
    adapt: (by) => {
      hint.textContent =
        by === 'score'
          ? 'Separated by commas. This model reads from left to right, so it needs them.'
          : 'Separated by commas; leave it empty to see what the model thinks of.';
    },
    run: async ({ engine, signal, onProgress }, output) => {
      const started = performance.now();
      const candidates = listOf(words.value);
      const options = { signal, onProgress, ...(candidates.length > 0 && { candidates }) };
      const blanks = await fillMask(engine, text.value, options);
      output.show(
        ...blanks.flatMap((fillings, i) => [
          ...(blanks.length > 1 ? [el('h3', {}, `Blank ${i + 1}`)] : []),
          bars(
            `Blank ${i + 1}`,
            fillings.map(({ text: name, score }) => ({ name, share: score })),
          ),
        ]),
        ...(blanks.length === 1 ? [el('p', { class: 'written' }, blanks[0]?.[0]?.filled ?? '')] : []),
      );
      return duration(performance.now() - started);
    },
  };
}

export function classifying(): Spec {
  const text = textArea(6, 'A text');
  const labels = textField();
  const hint = el('p');
  return {
    id: 'classify',
    title: 'Classify',
    task: 'classify',
    lead: 'Which label fits a text. A model with labels of its own gives these; others compare the ones that you write.',
    suits: 'a classifier, a model of natural language inference, or one of embeddings such as MiniLM',
    action: 'Classify',
    hint: 'The labels come here, the best first.',
    text,
    fields: [labelled('Text', text), labelled('Labels', labels, hint)],
    example: (by) => ([text.value, labels.value] = [NEWS, by === 'head' ? '' : NEWS_LABELS]),
    adapt: (_, { engine }) => {
      const own = engine?.info.labels ?? [];
      hint.textContent =
        own.length > 0 && engine?.info.tasks.includes('classify')
          ? `Separated by commas; left empty, the model’s own: ${own.slice(0, 8).join(', ')}${own.length > 8 ? ', …' : ''}.`
          : 'Two or more, separated by commas.';
    },
    run: async ({ engine, signal, onProgress }, output) => {
      const started = performance.now();
      const wanted = listOf(labels.value);
      const options = { signal, onProgress, ...(wanted.length > 0 && { labels: wanted }) };
      const [found = []] = await classify(engine, text.value, options);
      output.show(
        bars(
          'Scores',
          found.map(({ label, score }) => ({ name: label, share: score })),
        ),
      );
      return duration(performance.now() - started);
    },
  };
}
