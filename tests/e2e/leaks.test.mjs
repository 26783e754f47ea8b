// A hundred conversations with one engine, and twenty engines one after the other: the memory of WebAssembly and the page's JavaScript heap
// are afterwards what they were. On the demo page a conversation leaves its line in the list. On tiny models; what Chromium's processes take
// in all, package.test.mjs looks at.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, visitQuietly } from './browser.mjs';
import { loadSmall, openDemo } from './demo_page.mjs';
import { openKingletSite } from './kinglet_page.mjs';

/** What is garbage is not collected to the last byte, and code is compiled on the way. A conversation that stayed is some kB. */
const HEAP_MARGIN_BYTES = 200_000;

/** Of the list of conversations: an item, a link, its text, a button. */
const NODES_OF_A_LINE = 6;
const BYTES_OF_A_LINE = 3000;

/** Before a worker's own code: keeps an eye on the memories that it makes. */
const WATCH = `{
  const { Memory } = WebAssembly;
  globalThis.memories = [];
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor) {
      super(descriptor);
      if (descriptor.initial > 1) globalThis.memories.push(this);
    }
  };
}
`;

let browser;
let site;
before(async () => {
  browser = await launch();
  site = await openKingletSite(fileURLToPath(new URL('../golden', import.meta.url)));
  site.answers.set('/kinglet/worker.js', (response, path) =>
    response.writeHead(200, { 'content-type': 'text/javascript' }).end(WATCH + readFileSync(path, 'utf8')),
  );
});
after(async () => {
  await browser?.close();
  await site?.close();
});

const visiting = (visit) =>
  visitQuietly(browser, `${site.url}/`, async (page) => visit(page, await page.context().newCDPSession(page)), { global: 'Kinglet' });

/** Bytes of the page's JavaScript objects, after a collection. */
async function heapBytes(inspector) {
  for (let i = 0; i < 3; i++) await inspector.send('HeapProfiler.collectGarbage');
  return (await inspector.send('Runtime.getHeapUsage')).usedSize;
}

/** What Chromium counts of a page, such as its `Nodes`, or `JSEventListeners` on anything. */
async function count(inspector, what) {
  await inspector.send('Performance.enable');
  const { metrics } = await inspector.send('Performance.getMetrics');
  return metrics.find(({ name }) => name === what).value;
}

/** Bytes of WebAssembly's memories in all workers. Threads, which have a `#` in their address, share that of the engine's, and sleep. */
async function wasmBytes(page) {
  const workers = page.workers().filter((worker) => !worker.url().includes('#'));
  const all = await Promise.all(
    workers.map((worker) => worker.evaluate(() => (globalThis.memories ?? []).map(({ buffer }) => buffer.byteLength))),
  );
  return all.flat().reduce((sum, bytes) => sum + bytes, 0);
}

/** In the page: conversations of three turns each, streamed; of every fifth the last answer is stopped. */
async function converse(n, first = 0) {
  const words = ['the', 'in', 'on', 'at', 'hello'];
  for (let i = first; i < first + n; i++) {
    const messages = [];
    for (let turn = 0; turn < 3; turn++) {
      messages.push({ role: 'user', content: `${words[i % 5]} ${i} ${words[turn]}` });
      const stream = await engine.chat.completions.create({ messages, max_tokens: 8, seed: i, ignore_eos: true, stream: true });
      let content = '';
      for await (const chunk of stream) {
        content += chunk.choices[0]?.delta.content ?? '';
        if (i % 5 === 4 && turn === 2 && content !== '') break;
      }
      messages.push({ role: 'assistant', content });
    }
    globalThis.kept?.push(new Array(10_000).fill(i));
  }
}

/** The page's heap and WebAssembly's memory before and after a hundred conversations. */
async function conversations(page, inspector) {
  await page.evaluate(async () => (globalThis.engine = await Kinglet.load('/models/tiny_full.gguf', { threads: 2 })));
  await page.evaluate(converse, 10);
  const before = { heap: await heapBytes(inspector), wasm: await wasmBytes(page) };
  await page.evaluate(`(${converse})(100, 10)`);
  const after = { heap: await heapBytes(inspector), wasm: await wasmBytes(page) };
  await page.evaluate(() => engine.close());
  return { before, after };
}

test('a hundred conversations leave nothing', () =>
  visiting(async (page, inspector) => {
    const { before, after } = await conversations(page, inspector);
    assert.ok(before.wasm > 1_000_000, `the memory that is watched is the engine's: ${before.wasm} bytes`);
    assert.equal(after.wasm, before.wasm);
    assert.ok(after.heap < before.heap + HEAP_MARGIN_BYTES, `${before.heap} → ${after.heap} bytes`);
  }));

test('what a page keeps is seen', () =>
  visiting(async (page, inspector) => {
    await page.evaluate(() => (globalThis.kept = []));
    const { before, after } = await conversations(page, inspector);
    assert.ok(after.heap > before.heap + HEAP_MARGIN_BYTES, `${before.heap} → ${after.heap} bytes`);
  }));

test('twenty engines leave nothing', () =>
  visiting(async (page, inspector) => {
    const cycles = (n) =>
      page.evaluate(async (n) => {
        for (let i = 0; i < n; i++) {
          const engine = await Kinglet.load('/models/tiny_full.gguf', { threads: 2 });
          await engine.completions.create({ prompt: 'the in on at', max_tokens: 4 });
          await engine.close();
          (globalThis.engines ??= []).push(new WeakRef(engine));
        }
      }, n);
    const settled = async () => {
      for (let i = 0; i < 100 && page.workers().length > 0; i++) await page.waitForTimeout(100);
      const heap = await heapBytes(inspector);
      const n_engines = await page.evaluate(() => engines.filter((engine) => engine.deref()).length);
      const n_listeners = await count(inspector, 'JSEventListeners');
      return { heap, wasm: await wasmBytes(page), n_workers: page.workers().length, n_engines, n_listeners };
    };
    await cycles(10); // code is compiled meanwhile
    const before = await settled();
    await cycles(20);
    const after = await settled();
    assert.deepEqual([after.n_workers, after.n_engines, after.wasm], [0, 0, 0]);
    assert.equal(after.n_listeners, before.n_listeners);
    assert.ok(after.heap < before.heap + HEAP_MARGIN_BYTES, `${before.heap} → ${after.heap} bytes`);
  }));

/** In the demo page: new conversations of one question each, by its controls. */
async function chat(n, first) {
  const byId = (id) => document.getElementById(id);
  const until = async (holds) => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  for (let i = first; i < first + n; i++) {
    document.activeElement.blur();
    byId('new-chat').click();
    await until(() => document.activeElement === byId('message'));
    byId('message').value = `Once upon a time ${i}`;
    byId('composer').requestSubmit();
    await until(() => document.querySelector('.answer:not([aria-busy]) .figures')?.textContent);
    await until(() => !document.body.hasAttribute('data-busy'));
  }
}

test('on the demo page a hundred conversations leave a line each', async () => {
  const demo = await openDemo();
  try {
    await demo.visit(
      async (page) => {
        await loadSmall(page, { tokens: 4 });
        const inspector = await page.context().newCDPSession(page);
        const look = async () => {
          const heap = await heapBytes(inspector);
          const [nodes, listeners] = [await count(inspector, 'Nodes'), await count(inspector, 'JSEventListeners')];
          return { heap, nodes, listeners, lines: await page.locator('#conversations li').count() };
        };
        await page.evaluate(`(${chat})(20, 0)`);
        const before = await look();
        await page.evaluate(`(${chat})(100, 20)`);
        const after = await look();
        assert.deepEqual([before.lines, after.lines], [20, 120]);
        const said = `${JSON.stringify(before)} → ${JSON.stringify(after)}`;
        assert.ok(after.nodes <= before.nodes + 100 * NODES_OF_A_LINE, said);
        assert.ok(after.listeners <= before.listeners + 110, said);
        assert.ok(after.heap < before.heap + HEAP_MARGIN_BYTES + 100 * BYTES_OF_A_LINE, said);
      },
      { expected: [/No available adapters/] },
    );
  } finally {
    await demo.close();
  }
});
