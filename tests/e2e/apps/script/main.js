import { Kinglet } from './node_modules/kinglet/dist/index.js';

const output = document.querySelector('output');
const engine = await Kinglet.load('/tiny.gguf');
output.title = engine.info.device.reason;
const stream = await engine.completions.create({ prompt: 'the in on at', max_tokens: 4, temperature: 0, stream: true });
for await (const { choices } of stream) output.append(choices[0]?.text ?? '');
await engine.close();
output.ariaBusy = 'false';
