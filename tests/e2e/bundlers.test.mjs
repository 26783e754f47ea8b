// The packed package in an app of every kind, each a first page of a few lines: with the bundlers' defaults, by an import map from
// another origin, in Vite's dev server, in Next.js, and in Node.js (React is in guides.test.mjs). Each generates the tokens that the engine
// gives natively, with and without cross-origin isolation. What the package does beyond that is in package.test.mjs.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildApp, installApp, packPackage } from './apps.mjs';
import { launch, visitQuietly } from './browser.mjs';
import { ISOLATION, openSite } from './site.mjs';

const golden = (name) => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
const MODEL = golden('tiny_full.gguf');
const [{ tokens: GREEDY }] = JSON.parse(readFileSync(golden('page_tokens.json'), 'utf8')).cases;
/** What a site allows that allows little. Node.js and the bundlers' dev servers have no such thing. */
const POLICY =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; require-trusted-types-for 'script'; trusted-types kinglet";
const DONE = 'output[aria-busy=false]';

let packed;
let browser;
/** The text of the tokens. */
let expected;
const closing = [];

before(async () => {
  packed = packPackage();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const site of closing) await site.close();
  if (packed) rmSync(packed.folder, { recursive: true, force: true });
});

async function serve(folder, options = {}) {
  const site = await openSite({ mounts: { '/': folder }, ...options });
  site.answers.set('/tiny.gguf', (response) => response.writeHead(200).end(readFileSync(MODEL)));
  closing.push(site);
  return site;
}

/** Opens the first page, waits until it is done, and holds that it wrote what it should on as many threads as it may have. */
async function assertWorks(url, { isolated, ...options }) {
  const read = async (page, problems) => {
    await page.waitForSelector(DONE, { timeout: 20_000, state: 'attached' }).catch((timeout) => {
      throw new Error(`the page is not done; it said: ${problems.join('\n')}`, { cause: timeout });
    });
    return page.$eval('output', (output) => ({ text: output.textContent, reason: output.title }));
  };
  const { text, reason } = await visitQuietly(browser, url, read, options);
  assert.equal(text, expected);
  assert.match(reason, isolated ? /[2-9] threads/ : /1 thread: the page is not cross-origin isolated/);
}

describe('Node.js', () => {
  let app;
  before(() => {
    app = installApp(packed, 'node');
    copyFileSync(MODEL, join(app, 'tiny.gguf'));
  });

  test('a script: the same tokens, with threads, and it ends by itself', () => {
    const said = execFileSync(process.execPath, ['main.js'], { cwd: app, encoding: 'utf8', timeout: 30_000 });
    const { tokens, text, device, fromBytes, missing, closed } = JSON.parse(said);
    assert.deepEqual(tokens, GREEDY.slice(0, 4));
    assert.deepEqual(fromBytes, tokens);
    assert.equal(device.threads, 2);
    assert.equal(device.simd, Number(process.versions.node.split('.')[0]) >= 21 ? 'relaxed' : 'simd128');
    assert.equal(missing, 'E_NETWORK');
    assert.equal(closed, 'InvalidStateError');
    expected = text;
  });

  test('nothing is added to the globals of the program', () => {
    const program = `const before = Object.getOwnPropertyNames(globalThis); await import('kinglet');
      console.log(JSON.stringify(Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name))));`;
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', program], { cwd: app, encoding: 'utf8' });
    assert.deepEqual(JSON.parse(said), []);
  });
});

test('every module can be imported where there is neither a page nor Node.js, as when a server renders', () => {
  const dist = pathToFileURL(join(packed.folder, 'node/node_modules/kinglet/dist/'));
  const program = `for (const name of ['index', 'tasks/index', 'eval/index']) await import(new URL(name + '.js', '${dist}'));
    const { Kinglet } = await import(new URL('index.js', '${dist}'));
    console.log(typeof Kinglet.load);`;
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  assert.equal(said, 'function\n');
});

for (const name of ['script', 'esbuild', 'rollup', 'webpack', 'next']) {
  describe(name, () => {
    let folder;
    before(() => {
      const app = installApp(packed, name, name === 'next' ? {} : { page: 'page' });
      folder = name === 'script' ? app : buildApp(app);
      if (folder !== app && name !== 'next') copyFileSync(join(app, 'index.html'), join(folder, 'index.html'));
    });
    test('every worker is there', () => {
      const dist = join(packed.folder, 'node/node_modules/kinglet/dist');
      const files = readdirSync(folder, { recursive: true }).filter((file) => file.endsWith('.js'));
      // Bundlers may minify them once more: long words stay.
      const read = (file) => [...new Set(readFileSync(file, 'utf8').match(/\b[a-z]{9,}\b/gi))].sort().join();
      const copied = files.map((file) => read(join(folder, file)));
      for (const file of readdirSync(dist).filter((file) => /worker\.js$/.test(file)))
        assert.ok(copied.includes(read(join(dist, file))), file);
    });
    for (const isolated of [true, false]) {
      test(isolated ? 'isolated' : 'not isolated', async () => {
        // Next.js has scripts of its own in the page, for which a policy needs hashes.
        const site = await serve(folder, { isolated, policy: name === 'next' ? undefined : POLICY });
        await assertWorks(site.url, { isolated });
      });
    }
  });
}

describe('an import map', () => {
  for (const isolated of [true, false]) {
    test(`the package from another origin, ${isolated ? 'isolated' : 'not isolated'}`, async () => {
      const host = await serve(join(packed.folder, 'node/node_modules'));
      const app = installApp(packed, 'importmap', { page: 'page' });
      const page = readFileSync(join(app, 'index.html'), 'utf8');
      assert.ok(page.includes('https://cdn.example/'));
      const own = page.replace('https://cdn.example', host.url);
      writeFileSync(join(app, 'index.html'), own);
      const map = createHash('sha256')
        .update(/<script type="importmap">([^]*?)<\/script>/.exec(own)[1])
        .digest('base64');
      const policy = POLICY.replace("script-src 'self'", `script-src 'self' 'sha256-${map}' ${host.url}`);
      const more = `connect-src 'self' ${host.url}; worker-src blob: ${host.url}`;
      const site = await serve(app, { isolated, policy: `${policy}; ${more}` });
      await assertWorks(site.url, { isolated });
      const fromHost = host.requests.filter((path) => path.startsWith('/kinglet/dist/'));
      for (const file of ['index.js', 'worker.js', 'template-worker.js', 'kinglet_relaxed.wasm'])
        assert.ok(fromHost.includes(`/kinglet/dist/${file}`), file);
      assert.ok(!site.requests.some((path) => path.includes('kinglet')), `${site.requests}`);
    });
  }
});

describe("Vite's dev server", () => {
  let app;
  before(() => {
    app = installApp(packed, 'vite', { page: 'page' });
    mkdirSync(join(app, 'public'));
    copyFileSync(MODEL, join(app, 'public/tiny.gguf'));
    copyFileSync(fileURLToPath(new URL('apps/page/index.html', import.meta.url)), join(app, 'index.html'));
  });
  for (const isolated of [true, false]) {
    test(isolated ? 'isolated' : 'not isolated', async () => {
      const { createServer } = await import(pathToFileURL(join(app, 'node_modules/vite/dist/node/index.js')));
      const headers = isolated ? ISOLATION : {};
      const server = await createServer({ root: app, logLevel: 'error', server: { port: 0, headers } });
      closing.push(server);
      await server.listen();
      await assertWorks(server.resolvedUrls.local[0], { isolated });
    });
  }
});
