// Writes json/*.gguf: what vocabularyFromTokenizerJson makes of json/*.json. `npm test` in www/pkg has to have compiled it.
//   node write_headers.mjs
import fs from 'node:fs';
import { vocabularyFromTokenizerJson } from '../../../www/pkg/test/build/src/tokenizer-json.js';

const folder = new URL('json/', import.meta.url);
for (const name of fs.readdirSync(folder).filter((name) => name.endsWith('.json'))) {
  const { tokenizer, config } = JSON.parse(fs.readFileSync(new URL(name, folder), 'utf8'));
  fs.writeFileSync(new URL(name.replace('.json', '.gguf'), folder), vocabularyFromTokenizerJson(tokenizer, config));
}
