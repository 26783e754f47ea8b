// Perplexity of a text through the public API in Chromium, as llama.cpp's tool of that name computes it:
//
//     node tests/measure/perplexity.mjs <model.gguf> <text file> [n_chunks] [cpu | webgpu] [f16 | q8_0 | f32]
//
// The whole text is encoded and cut into chunks of 512 tokens; the tokens 257…511 of each chunk are scored. (A model that wants
// a beginning of sequence would get it in place of each chunk's first token; the tokenizer puts it before the text.)
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { openScorer, perplexity } from './scoring.mjs';

const CHUNK_TOKENS = 512;
const CONTEXT_TOKENS = CHUNK_TOKENS / 2;

const [model, text, chunks = '20', device = 'cpu', kvType = 'f16'] = process.argv.slice(2);
if (!text) throw new Error('usage: perplexity.mjs <model.gguf> <text file> [n_chunks] [cpu | webgpu] [f16 | q8_0 | f32]');

const started = performance.now();
const scorer = await openScorer(resolve(model), { device, kvType });
try {
  console.log(scorer.info.name, scorer.info.quantization, scorer.info.device);
  const ids = await scorer.tokenize(readFileSync(text, 'utf8'));
  const first = (await scorer.tokenize(''))[0];
  const scored = [];
  for (let i = 0; i < Number(chunks) && (i + 1) * CHUNK_TOKENS <= ids.length; i++) {
    const chunk = ids.slice(i * CHUNK_TOKENS, (i + 1) * CHUNK_TOKENS);
    if (first !== undefined) chunk[0] = first;
    scored.push(...(await scorer.score(chunk)).slice(CONTEXT_TOKENS + 1));
    console.log(`[${i + 1}] ${perplexity(scored).toFixed(4)}`);
  }
  console.log(
    `perplexity ${perplexity(scored).toFixed(4)} of ${scored.length} tokens, ${((performance.now() - started) / 1000).toFixed(0)} s`,
  );
} finally {
  await scorer.close();
}
