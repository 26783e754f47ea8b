// Engines that share a budget of memory, in Chromium: who needs more than is left is refused with the header, before the weights; whoever
// ends, however that comes, gives its share back. And calls on one engine: in their order, or refused at once. On a tiny model.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openKingletPage } from './kinglet_page.mjs';

let page;
let close;
before(async () => ({ page, close } = await openKingletPage(fileURLToPath(new URL('../golden', import.meta.url)))));
after(async () => close?.());

beforeEach(async () => {
  await page.reload();
  await page.waitForFunction('globalThis.Kinglet');
  await page.evaluate(async () => {
    const { MemoryBudget } = await import('/kinglet/index.js');
    const MODEL = '/models/tiny_full.gguf';
    const bytes = new Uint8Array(await (await fetch(MODEL)).arrayBuffer());
    /** Its first bytes, and then nothing, or its end. */
    const begun = (n, ends = false) =>
      new ReadableStream({
        start(controller) {
          controller.enqueue(bytes.slice(0, n));
          if (ends) controller.close();
        },
      });
    const load = (options, source = MODEL) => Kinglet.load(source, { device: 'cpu', ...options });
    /** What went wrong, in plain data. */
    const refused = (work) =>
      work.then(
        () => 'nothing went wrong',
        ({ name, code, message, details }) => ({ name, code, message, details }),
      );
    const sum = (memory) => Object.values(memory).reduce((a, b) => a + b, 0);
    const probe = await load();
    Object.assign(globalThis, { MemoryBudget, bytes, begun, load, refused, sum, needed: sum(probe.info.memory) });
    await probe.close();
  });
});

test('two engines share a budget; who does not fit is refused, and the other goes on', async () => {
  const got = await page.evaluate(async () => {
    const budget = new MemoryBudget(1.5 * needed);
    const one = await load({ budget });
    const shares = budget.shares;
    const answer = () => one.completions.create({ prompt: 'the', max_tokens: 4, temperature: 0 });
    const before = (await answer()).choices[0].token_ids;
    const refusal = await refused(load({ budget }));
    const after = (await answer()).choices[0].token_ids;
    const { usedBytes } = budget;
    await one.close();
    const freed = budget.usedBytes;
    const two = await load({ budget });
    const { name } = two.info;
    return { shares, refusal, before, after, usedBytes, freed, two: budget.shares.length, needed, name };
  });
  const { shares, refusal, needed, name } = got;
  assert.deepEqual(shares, [{ name, bytes: needed }]);
  assert.deepEqual([refusal.name, refusal.code], ['KingletError', 'E_MEMORY']);
  assert.deepEqual(refusal.details.shares, shares);
  assert.equal(refusal.details.usedBytes, needed);
  assert.ok(refusal.message.includes(`(${name} ${needed})`), refusal.message);
  assert.deepEqual(got.after, got.before);
  assert.deepEqual([got.usedBytes, got.freed, got.two], [needed, 0, 1]);
});

test('it is refused with the header: of the weights nothing is waited for', async () => {
  const got = await page.evaluate(async () => {
    const told = [];
    const onProgress = ({ model, loadedBytes }) => model && told.push({ ...model, loadedBytes });
    const n = bytes.length - 1000;
    const refusal = await refused(load({ budget: new MemoryBudget(1000), onProgress }, begun(n)));
    const abort = new AbortController();
    const budget = new MemoryBudget(Infinity);
    const loading = refused(load({ budget, signal: abort.signal, onProgress }, begun(n)));
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const during = budget.usedBytes;
    abort.abort();
    return { refusal, told, n, during, ended: await loading, left: budget.usedBytes };
  });
  assert.equal(got.refusal.code, 'E_MEMORY');
  assert.deepEqual(got.refusal.details.shares, []);
  assert.equal(got.told.length, 1, 'a page is not told of what is refused');
  assert.deepEqual(Object.keys(got.told[0].memory).sort(), ['buffersBytes', 'kvBytes', 'weightsBytes']);
  assert.equal(got.told[0].loadedBytes, got.n);
  assert.ok(got.during > 0);
  assert.deepEqual([got.ended.name, got.left], ['AbortError', 0]);
});

test('a load that fails gives its share back; engines without the budget are not counted', async () => {
  const got = await page.evaluate(async () => {
    const budget = new MemoryBudget(1.5 * needed);
    const short = await refused(load({ budget }, begun(bytes.length - 10, true)));
    const thrown = await refused(load({ budget, onProgress: ({ phase }) => { if (phase === 'finish') throw new Error('mine'); } }));
    const free = await load();
    const release = budget.reserve('textures', needed);
    const refusal = await refused(load({ budget }));
    release();
    const fits = await load({ budget });
    return { short, thrown, refusal, name: fits.info.name, n: budget.shares.length };
  });
  assert.equal(got.short.code, 'E_FILE_FORMAT');
  assert.equal(got.thrown.message, 'mine');
  assert.match(got.refusal.message, /\(textures \d+\)$/);
  assert.equal(got.n, 1);
});

test('calls wait in their order, or are refused at once; none waits for a reader', async () => {
  const got = await page.evaluate(async () => {
    const engine = await load();
    const create = (more, options) =>
      engine.completions.create({ prompt: 'the in on', ignore_eos: true, temperature: 0, ...more }, options);
    const order = [];
    const stream = await create({ max_tokens: 200, stream: true });
    const first = await stream.next();
    const startMs = performance.now();
    const busy = await refused(create({ max_tokens: 1 }, { whenBusy: 'fail' }));
    const busyMs = performance.now() - startMs;
    const abort = new AbortController();
    const given = refused(create({ max_tokens: 2 }, abort)).then(({ name }) => order.push(name));
    const [a, b] = [2, 3].map((max_tokens) => create({ max_tokens }).then(() => order.push(max_tokens)));
    abort.abort();
    await given;
    await Promise.all([a, b]);
    let n = first.value.choices[0].token_ids.length;
    for await (const chunk of stream) n += chunk.choices[0]?.token_ids.length ?? 0;
    const free = (await create({ max_tokens: 1 }, { whenBusy: 'fail' })).choices[0].token_ids.length;
    return { busy, busyMs, order, n, free };
  });
  assert.deepEqual([got.busy.code, got.busy.details], ['E_BUSY', { calls: 1 }]);
  assert.ok(got.busyMs < 50, `${got.busyMs} ms`);
  assert.deepEqual(got.order, ['AbortError', 2, 3]);
  assert.deepEqual([got.n, got.free], [200, 1]);
});
