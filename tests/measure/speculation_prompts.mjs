// Ten prompts for speculation.mjs: answers that copy most of the prompt, some, or none of it. Written for this repository.

const PASSAGE = `The harbour of Elmsworth was built in 1874, when the railway reached the coast. For forty years it was the busiest port \
between the two capes, and most of the grain of the county left from its two long piers. The storm of November 1913 broke the northern \
pier in three places. It was never mended, because the new port at Carrow had opened the year before. Today the southern pier is used by \
anglers and by a small ferry that runs from May to September, and the old customs house is a museum with a fine collection of maps.`;

const CODE = `function total(items) {
  let sum = 0;
  for (const item of items) {
    if (item.price < 0) {
      throw new RangeError('a price is negative');
    }
    sum += item.price * item.count;
  }
  return sum;
}

function average(items) {
  if (items.length === 0) {
    return 0;
  }
  return total(items) / items.length;
}`;

const CONFIG = `server.host = 127.0.0.1
server.port = 8080
server.timeout_seconds = 30
database.host = db.example.org
database.port = 5432
database.user = reader
database.pool_size = 12
cache.enabled = true
cache.size_megabytes = 256`;

const LIST = ['walnut', 'cherry', 'maple', 'birch', 'spruce', 'alder', 'hornbeam', 'juniper', 'linden', 'rowan', 'sycamore', 'hazel'];

export const PROMPTS = [
  {
    name: 'repeat a passage',
    prompt: `Repeat the following text exactly, word for word, and add nothing.\n\n${PASSAGE}`,
  },
  {
    name: 'change code a little',
    prompt: `Rewrite this code. Change the name "total" to "totalPrice" and leave everything else as it is. Answer with the code only.\n\n${CODE}`,
  },
  {
    name: 'correct a paragraph',
    prompt: `Correct the spelling mistakes in this text and write out the whole corrected text.\n\n${PASSAGE.replace('busiest', 'busyest').replace('northern', 'nothern').replace('collection', 'colection')}`,
  },
  {
    name: 'JSON from text',
    prompt: `Extract the facts from this text as JSON with the keys "name", "built", "storm", "ferry_season", "museum".\n\n${PASSAGE}`,
  },
  {
    name: 'sort a list',
    prompt: `Write these words as a numbered list in alphabetical order, one per line:\n\n${LIST.join('\n')}`,
  },
  {
    name: 'config to JSON',
    prompt: `Translate this configuration to JSON:\n\n${CONFIG}`,
  },
  {
    name: 'rows to a table',
    prompt: `Format this as a Markdown table with the columns Name, City and Year:\n\nAda Brook, Elmsworth, 1974\nTom Carrow, Northgate, 1981\nIda Stone, Elmsworth, 1969\nPaul Rivers, Southwick, 1990\nNora Field, Northgate, 1977\nSam Hill, Easton, 1985\nEve Marsh, Southwick, 1993`,
  },
  {
    name: 'quote to answer',
    prompt: `Answer the question with the sentence of the text that says it.\n\nText: ${PASSAGE}\n\nQuestion: What happened to the northern pier, and why was it never mended?`,
  },
  {
    name: 'summarise',
    prompt: `Summarise this text in two sentences.\n\n${PASSAGE}`,
  },
  {
    name: 'free chat',
    prompt: 'What should I think about before I plant a small vegetable garden behind my house?',
  },
];
