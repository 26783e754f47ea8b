// dist/isolation.js on hosts that send no headers: pages become cross-origin isolated, and the engine has threads; what it must not do.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, visitQuietly } from './browser.mjs';
import { openSite } from './site.mjs';

const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const DIST = folder('www/pkg/dist/');
const SCRIPT = readFileSync(`${DIST}isolation.js`, 'utf8');
const PAGE = `<!doctype html><title>a page</title><script src="isolation.js"></script><script type="module" src="main.js"></script>`;
const MAIN = `import { Kinglet } from './kinglet/index.js'; globalThis.Kinglet = Kinglet;`;
const IMAGE = Buffer.from('R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7', 'base64');

let browser;
const sites = [];
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
  for (const site of sites) await site.close();
});

/** A site in whose folder /app/ is a page that has isolation.js. */
async function open({ script = SCRIPT, ...options } = {}) {
  const site = await openSite({
    mounts: { '/app/kinglet/': DIST, '/models/': folder('tests/golden/') },
    bare: true,
    ...options,
  });
  sites.push(site);
  const answer = (path, type, body) =>
    site.answers.set(path, (response) => response.writeHead(200, { 'content-type': type }).end(body));
  answer('/app/isolation.js', 'text/javascript', script);
  answer('/app/main.js', 'text/javascript', MAIN);
  answer('/app/', 'text/html', PAGE);
  return site;
}

/** Opens the page, waits until it is isolated (or not, after so many loads), and gives what `visit` gives. */
const visiting = (site, visit, { isolated = true, loads, ...options } = {}) =>
  visitQuietly(
    browser,
    `${site.url}/app/`,
    async (page) => {
      const n_loads = () => site.requests.filter((path) => path === '/app/').length;
      const settled = () =>
        page.evaluate(() => globalThis.crossOriginIsolated && Boolean(globalThis.Kinglet)).catch(() => false);
      for (let i = 0; i < 100 && !(isolated ? await settled() : n_loads() >= loads); i++) await page.waitForTimeout(50);
      await page.waitForTimeout(300); // were it to load again, it would now
      assert.equal(n_loads(), loads, `loads: ${site.requests}`);
      assert.equal(await page.evaluate('crossOriginIsolated'), isolated);
      return visit?.(page);
    },
    options,
  );

const generate = (page) =>
  page.evaluate(async () => {
    const engine = await Kinglet.load('/models/tiny_full.gguf', { threads: 2 });
    const { choices } = await engine.completions.create({ prompt: 'the', max_tokens: 4, temperature: 0 });
    const { threads } = engine.info.device;
    await engine.close();
    return { threads, n_tokens: choices[0].token_ids.length };
  });

test('without it, this host gives one thread', async () => {
  const site = await open({ script: '' });
  assert.equal((await visiting(site, generate, { isolated: false, loads: 1 })).threads, 1);
});

test('with it the page is isolated after one reload, the engine has two threads, and the next load needs no other', async () => {
  const site = await open();
  const got = await visiting(
    site,
    async (page) => {
      const first = await generate(page);
      await page.reload();
      await page.waitForFunction('globalThis.Kinglet');
      return [first, await generate(page), await page.evaluate('sessionStorage.length')];
    },
    { loads: 2 },
  );
  assert.deepEqual(got, [{ threads: 2, n_tokens: 4 }, { threads: 2, n_tokens: 4 }, 0]);
  assert.equal(site.requests.filter((path) => path === '/app/').length, 3);
});

test('a strict policy with Trusted Types is enough, and is kept', async () => {
  const policy =
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; require-trusted-types-for 'script'; trusted-types kinglet kinglet-isolation";
  const site = await open({ policy });
  const got = await visiting(
    site,
    async (page) => {
      const generated = await generate(page);
      const evaluated = await page.evaluate(() => {
        const script = document.createElement('script');
        try {
          script.textContent = 'globalThis.broken = true';
          return 'allowed';
        } catch (error) {
          return error.name;
        }
      });
      return { ...generated, evaluated };
    },
    { loads: 2, expected: [/TrustedScript/] },
  );
  assert.deepEqual(got, { threads: 2, n_tokens: 4, evaluated: 'TypeError' });
});

test('images of other origins still come; pages outside the folder are left alone', async () => {
  const site = await open();
  const other = await openSite({ mounts: {}, bare: true });
  sites.push(other);
  other.answers.set('/image.gif', (response) => response.writeHead(200, { 'content-type': 'image/gif' }).end(IMAGE));
  site.answers.set('/elsewhere', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>'));
  const width = await visiting(
    site,
    async (page) => {
      const width = await page.evaluate(async (src) => {
        const image = Object.assign(new Image(), { src });
        await image.decode();
        return image.naturalWidth;
      }, `${other.url}/image.gif`);
      await page.goto(`${site.url}/elsewhere`);
      assert.equal(await page.evaluate('crossOriginIsolated'), false);
      return width;
    },
    { loads: 2 },
  );
  assert.equal(width, 1);
});

test('a browser that does not know credentialless gets require-corp', async () => {
  const script = SCRIPT.replaceAll('"credentialless"', '"unknown"');
  assert.notEqual(script, SCRIPT);
  const site = await open({ script });
  assert.equal((await visiting(site, generate, { loads: 3 })).threads, 2);
});

test('a browser that isolates nothing: it says so, and does not load the page for ever', async () => {
  const site = await open({ script: SCRIPT.replaceAll('"cross-origin-embedder-policy"', '"x-nothing"') });
  const warning = /isolation\.js: the page is not cross-origin isolated, and works on one thread/;
  const heard = [];
  const watch = (page) => page.on('console', (message) => heard.push(message.text()));
  const got = await visiting(site, generate, { isolated: false, loads: 3, expected: [warning], watch });
  assert.equal(got.threads, 1);
  assert.ok(
    heard.some((text) => warning.test(text)),
    `${heard}`,
  );
});

test('a host that sends the headers: nothing is registered', async () => {
  const site = await open({ isolated: true });
  const count = () => navigator.serviceWorker.getRegistrations().then((all) => all.length);
  assert.equal(await visiting(site, (page) => page.evaluate(count), { loads: 1 }), 0);
});

test('what docs/packaging.md says takes it away does', async () => {
  const site = await open();
  await visiting(
    site,
    async (page) => {
      site.answers.set('/app/isolation.js', (response) =>
        response.writeHead(200, { 'content-type': 'text/javascript' }).end('self.registration?.unregister()'),
      );
      const registered = () =>
        page.evaluate(() => navigator.serviceWorker.getRegistrations().then((all) => all.length));
      assert.equal(await registered(), 1);
      await page.reload(); // the browser looks whether the file is another one
      for (let i = 0; i < 100 && (await registered()) > 0; i++) await page.waitForTimeout(50);
      await page.reload();
      assert.equal(await page.evaluate('crossOriginIsolated'), false);
    },
    { loads: 2 },
  );
});
