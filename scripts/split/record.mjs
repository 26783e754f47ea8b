// Writes later/FLAVOUR.txt: what of the engine did not run while models were loaded and answered, and so need not come before the first token.
// Chromium says which functions it compiles, and compiles each when it is called first. To be run again when the budget of bytes to the
// first token is passed, or tests/e2e/first_token.test.mjs says that something was fetched too early.
//   node scripts/split/record.mjs MODEL.gguf…       or without models: from what was recorded last (target/recorded-FLAVOUR.json)
// The models: the default one, tests/models/stories260K.gguf, and of tests/measure/random_models.py llama-small, qwen3-small and gemma-3-small
// as Q4_0 and Q8_0 (stories260K is F16). They run on the binaries of ./build.sh pack, as those were before they were split.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, SOFTWARE_GPU } from '../../tests/e2e/browser.mjs';
import { serveWatched } from '../../tests/e2e/gpu/page.mjs';
import { holdBackEnd, openSite, sendSlowly } from '../../tests/e2e/site.mjs';
import { alike, isGlue, shortest, withoutHashes } from './names.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const FLAVOURS = ['simd', 'relaxed', 'gpu'];
const models = process.argv.slice(2).map((path) => resolve(path));

/** Runs in the page: two turns of a chat, one by chance and one to the end, as the demo page has them. */
async function chat({ url, options }) {
  const { Kinglet } = await import('/kinglet/index.js');
  let phase;
  const onProgress = (event) => {
    // What is held back comes when a GPU has had the time to be tuned.
    if (phase === 'check' && event.phase === 'download') setTimeout(() => fetch('/release'), 3000);
    phase = event.phase;
  };
  const engine = await Kinglet.load(url, { ...options, onProgress });
  const messages = [{ role: 'user', content: 'Tell me of a bird that lives in the north. Ünï → 北, 12 times!' }];
  for (const sampling of [{ temperature: 0 }, { temperature: 0.8, top_p: 0.9, seed: 1 }, {}]) {
    const request = { max_tokens: 12, stream: true, stream_options: { include_usage: true }, ...sampling };
    const answer = engine.info.chatTemplate
      ? await engine.chat.completions.create({ messages, ...request })
      : await engine.completions.create({ prompt: 'Once upon a time, Lily', ...request });
    let text = '';
    for await (const { choices } of answer) text += choices[0]?.delta?.content ?? choices[0]?.text ?? '';
    messages.push({ role: 'assistant', content: text }, { role: 'user', content: 'And then?' });
  }
  const { device, simd, threads } = engine.info;
  await engine.close();
  return JSON.stringify({ device: device?.kind ?? device, simd, threads });
}

/** Chromium, with what it writes to its output going to `log`. */
function launchLogging(folder, log) {
  const wrapper = join(folder, 'chromium.sh');
  const chromium = process.env.KINGLET_CHROMIUM ?? '/usr/bin/chromium';
  writeFileSync(wrapper, `#!/bin/sh\nexec ${chromium} "$@" >>${log}\n`);
  chmodSync(wrapper, 0o755);
  const trace = '--js-flags=--trace-wasm-compilation-times --wasm-lazy-compilation --no-wasm-tier-up';
  return launch({ args: [trace, ...SOFTWARE_GPU], executablePath: wrapper });
}

async function record(flavour) {
  const folder = mkdtempSync(join(tmpdir(), 'kinglet-record-'));
  const log = join(folder, 'compiled.txt');
  const mounts = { '/kinglet/': join(root, 'www/pkg/dist'), '/': folder };
  for (const [i, model] of models.entries()) mounts[`/models/${i}/`] = dirname(model);
  const site = await openSite({ mounts, isolated: true });
  const whole = readFileSync(join(root, `target/bindgen/${flavour}/optimized.wasm`));
  site.answers.set(`/kinglet_${flavour}.wasm`, (response) =>
    response.writeHead(200, { 'content-type': 'application/wasm' }).end(whole),
  );
  site.answers.set('/blank', (response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>'),
  );
  // What the engine does while it waits for bytes runs only where it has to.
  for (const model of models) site.answers.set(basename(model), sendSlowly(20));
  serveWatched(site);
  const browser = await launchLogging(folder, log);
  // One that is taken for hardware is tuned.
  const tuned = { device: 'webgpu', workerUrl: '/kinglet/watched.js?hardware' };
  const on = flavour === 'gpu' ? tuned : { device: 'cpu', wasmUrl: `/kinglet/kinglet_${flavour}.wasm` };
  // A GPU in software takes its time, and formats are a matter of shaders there.
  for (const model of flavour === 'gpu' ? models.filter((path) => /stories|Q8_0/.test(path)) : models) {
    for (const threads of flavour === 'gpu' ? [undefined] : [1, undefined]) {
      const page = await browser.newPage();
      await page.goto(`${site.url}/blank`);
      const url = `/models/${models.indexOf(model)}/${basename(model)}`;
      // The second time what was found of a GPU is known.
      for (let visits = flavour === 'gpu' ? 2 : 1; visits > 0; visits--) {
        if (flavour === 'gpu') holdBackEnd(site, basename(model));
        console.log(flavour, basename(model), await page.evaluate(chat, { url, options: { ...on, threads } }));
      }
      await page.close();
    }
  }
  await browser.close();
  await site.close();
  const ran = new Set(
    readFileSync(log, 'utf8')
      .match(/^Compiled function 0x[0-9a-f]+#\d+/gm)
      .map((line) => Number(line.split('#')[1])),
  );
  const names = readFileSync(join(root, `target/bindgen/${flavour}/functions.txt`), 'utf8')
    .trimEnd()
    .split('\n');
  rmSync(folder, { recursive: true });
  console.log(`${flavour}: ${ran.size} functions of ${names.length} ran`);
  return names.map((line, i) => ({ name: withoutHashes(line.slice(line.indexOf(':') + 1)), ran: ran.has(i) }));
}

const recorded = (flavour) => join(root, `target/recorded-${flavour}.json`);
for (const flavour of FLAVOURS) {
  if (models.length > 0) writeFileSync(recorded(flavour), JSON.stringify(await record(flavour)));
  const all = JSON.parse(readFileSync(recorded(flavour), 'utf8'));
  const ran = new Set(all.filter((one) => one.ran).map((one) => alike(one.name)));
  const [first, later] = [new Set(), new Set()];
  for (const { name } of all) (ran.has(alike(name)) || isGlue(name) ? first : later).add(name);
  const head =
    '# What of this binary is fetched later: names of functions, * for all that begin so. Written by record.mjs.';
  const lines = [head, ...shortest(later, first)];
  writeFileSync(new URL(`later/${flavour}.txt`, import.meta.url), `${lines.join('\n')}\n`);
  console.log(`${flavour}: ${lines.length} lines for ${later.size} functions`);
}
