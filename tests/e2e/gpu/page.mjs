// What the end-to-end tests of WebGPU share: the browser with its software GPU, a site with the package as build.sh has left it
// and the committed small model, and pages that are watched.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { visitQuietly } from '../browser.mjs';
import { openSite } from '../site.mjs';

export const folder = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

const PAGE = `<!doctype html><title>kinglet on WebGPU</title><script type="module">
import * as kinglet from '/kinglet/index.js';
globalThis.kinglet = kinglet;
</script>`;

/** A site with the package under /kinglet/, the watched worker beside its own, and the model at /model.gguf. */
export async function openGpuSite(options = {}) {
  const site = await openSite({ mounts: { '/kinglet/': folder('www/pkg/dist') }, isolated: true, ...options });
  const answer = (path, type, body) =>
    site.answers.set(path, (response) =>
      response.writeHead(200, { 'content-type': type, 'content-length': body.length }).end(body),
    );
  answer('/index.html', 'text/html', Buffer.from(PAGE));
  answer('/model.gguf', 'application/octet-stream', readFileSync(folder('tests/models/stories260K.gguf')));
  serveWatched(site);
  return site;
}

/** Puts the watched worker, `watched.js`, beside that of the package under /kinglet/. */
export function serveWatched(site) {
  for (const [path, name] of [
    ['/kinglet/watch.js', 'watch.js'],
    ['/kinglet/watched.js', 'worker.js'],
  ]) {
    const text = readFileSync(folder(`tests/e2e/gpu/${name}`));
    site.answers.set(path, (response) => response.writeHead(200, { 'content-type': 'text/javascript' }).end(text));
  }
}

/**
 * Opens a page, runs `visit(page)`, and holds that nothing was complained of, in the page or in the watched worker, save what
 * `expected` names.
 */
export function visiting(browser, site, visit, { expected = [], url = `${site.url}/index.html` } = {}) {
  const watched = async (page, problems) => {
    const value = await visit(page);
    for (const worker of page.workers().filter(isWatched)) await worker.evaluate('gpuWatch.settled()').catch(() => {}); // a closed one has told already
    await page.waitForTimeout(50); // what a worker tells is on its way
    problems.push(...(await page.evaluate('problems')));
    return value;
  };
  return visitQuietly(browser, url, watched, { expected, prepare, global: 'kinglet' });
}

/** An engine's. The threads, where the CPU computes, run the same script, and hear nothing while they wait for work. */
const isWatched = (worker) => /\/kinglet\/watched\.js[^#]*$/.test(worker.url());

/** The watched worker of the engine that runs in this page. */
export function workerOf(page) {
  const [worker, ...others] = page.workers().filter(isWatched);
  assert.ok(worker && others.length === 0, `${1 + others.length} watched workers`);
  return worker;
}

/** What the watched worker has seen so far. */
export const seen = (page) =>
  workerOf(page).evaluate(async () => {
    await gpuWatch.settled();
    const { made, live, submits, dispatches, altered, problems } = gpuWatch;
    return structuredClone({ made, live, submits, dispatches, altered, problems });
  });

/** In the page, before its own script: loading with faults, and what tests use to look at errors. */
function prepare() {
  globalThis.load = (device, faults = '', more = {}) =>
    globalThis.kinglet.Kinglet.load('/model.gguf', { device, workerUrl: `/kinglet/watched.js${faults}`, ...more });
  globalThis.caught = async (work) => {
    try {
      await work();
      return { code: 'nothing was thrown' };
    } catch (error) {
      return { name: error?.name, code: error?.code, message: error?.message, details: error?.details };
    }
  };
  globalThis.problems = [];
  new BroadcastChannel('gpu-watch').onmessage = ({ data }) => {
    if (data.problem) globalThis.problems.push(data.problem);
    else globalThis.buffers = data;
  };
}
