// A few items of our own writing, in published forms, so that the page can be tried without a file. They say nothing of a model that a
// benchmark would.

export interface Sample {
  title: string;
  fileName: string;
  text: string;
}

type Question = [stem: string, choices: [string, string, string, string], answer: number];

const QUESTIONS: Question[] = [
  ['Which of these animals lays eggs?', ['a dog', 'a sparrow', 'a horse', 'a whale'], 1],
  ['What does a plant take from the soil through its roots?', ['light', 'sound', 'water', 'wind'], 2],
  ['Which of these is the hottest?', ['the Sun', 'a candle', 'a cup of tea', 'the Moon'], 0],
  [
    'What happens to water when it is cooled below zero degrees?',
    ['it boils', 'it burns', 'it glows', 'it freezes'],
    3,
  ],
  [
    'Which instrument is used to look at distant stars?',
    ['a microscope', 'a thermometer', 'a telescope', 'a scale'],
    2,
  ],
  [
    'Why does a kinglet fluff up its feathers in winter?',
    ['to keep warm', 'to swim', 'to look green', 'to sleep less'],
    0,
  ],
  ['Which part of the body pumps the blood?', ['the lungs', 'the heart', 'the stomach', 'the skin'], 1],
  ['What pulls a dropped stone to the ground?', ['magnetism', 'friction', 'electricity', 'gravity'], 3],
  ['Which of these can a magnet lift?', ['an iron nail', 'a wooden spoon', 'a glass cup', 'a rubber ball'], 0],
  ['What do bees collect from flowers?', ['sand', 'nectar', 'bark', 'stones'], 1],
  ['Which season comes after summer?', ['winter', 'spring', 'autumn', 'the dry one'], 2],
  ['What is needed for a fire to burn?', ['nitrogen', 'helium', 'salt', 'oxygen'], 3],
];

const LETTERS = ['A', 'B', 'C', 'D'];

const arc = QUESTIONS.map(([stem, texts, answer], i) =>
  JSON.stringify({
    id: `kinglet-${i + 1}`,
    question: { stem, choices: texts.map((text, c) => ({ text, label: LETTERS[c] })) },
    answerKey: LETTERS[answer],
  }),
).join('\n');

type Cause = [asks: 'cause' | 'effect', premise: string, first: string, second: string, answer: 1 | 2];

const CAUSES: Cause[] = [
  ['cause', 'The street was wet.', 'It had rained.', 'The sun was shining.', 1],
  ['effect', 'The girl dropped the glass.', 'The glass grew.', 'The glass broke.', 2],
  ['cause', 'The man put on a coat.', 'He was cold.', 'He was hungry.', 1],
  ['effect', 'The bird heard the cat.', 'It fell asleep.', 'It flew away.', 2],
  ['cause', 'The shop was closed.', 'It was a holiday.', 'It sold bread.', 1],
  ['effect', 'The boy studied hard.', 'He lost his shoes.', 'He passed the exam.', 2],
  ['cause', 'The candle went out.', 'Somebody lit it.', 'The wind blew.', 2],
  ['effect', 'The baby was tired.', 'It fell asleep.', 'It read a book.', 1],
];

const copa = `<?xml version="1.0" encoding="UTF-8"?>
<copa-corpus version="1.0">
${CAUSES.map(
  ([asks, premise, first, second, answer], i) =>
    `<item id="${i + 1}" asks-for="${asks}" most-plausible-alternative="${answer}"><p>${premise}</p><a1>${first}</a1><a2>${second}</a2></item>`,
).join('\n')}
</copa-corpus>
`;

const text = `The smallest bird of the forest sings so high that many people cannot hear it. It has a stripe of gold on its head, and it is never still. All day long it looks for food among the needles of the firs, because a bird that weighs no more than a coin has to eat almost without a pause. In the evening the birds come together on a branch, close to each other, and wait for the morning.
`;

export const SAMPLES: readonly Sample[] = [
  { title: 'Twelve questions', fileName: 'twelve questions.jsonl', text: arc },
  { title: 'Eight causes and effects', fileName: 'eight causes.xml', text: copa },
  { title: 'A short text', fileName: 'a short text.txt', text },
];
