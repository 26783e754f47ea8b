import { readFile } from 'node:fs/promises';
import { Kinglet } from 'kinglet';

const params = { prompt: 'the in on at', max_tokens: 4, temperature: 0 };
const engine = await Kinglet.load('tiny.gguf', { threads: 2 });
const { choices } = await engine.completions.create(params);
const { device } = engine.info;
await engine.close();

const another = await Kinglet.load(await readFile('tiny.gguf'));
const again = await another.completions.create(params);
await another[Symbol.asyncDispose](); // what `await using` does
const { name: closed } = await another.completions.create(params).catch((error) => error);

const { code: missing } = await Kinglet.load('missing.gguf').catch((error) => error);

const [{ text, token_ids: tokens }] = choices;
console.log(JSON.stringify({ tokens, text, device, fromBytes: again.choices[0].token_ids, missing, closed }));
