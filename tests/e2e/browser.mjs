// Starts the browser for end-to-end tests, and opens pages that may complain of nothing. The environment names it (KINGLET_CHROMIUM, set by build.sh).
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const CANDIDATES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Command-line options with which Chromium has WebGPU on a machine without a GPU: SwiftShader plays one. */
export const SOFTWARE_GPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
];

/** What `{ skip: NOT_LONG }` marks is run by `./build.sh soak` alone: each load of a model on a GPU in software takes seconds. */
export const NOT_LONG = process.env.KINGLET_LONG === '1' ? false : 'run by ./build.sh soak';

/** A headless Chromium. As root it has no sandbox; `args` are further command-line options. */
export function launch({ args = [] } = {}) {
  const executablePath = process.env.KINGLET_CHROMIUM ?? CANDIDATES.find((path) => existsSync(path));
  if (!executablePath) throw new Error('no Chromium: set KINGLET_CHROMIUM, or run ./build.sh test, which installs it');
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath, args: [...sandbox, '--disable-dev-shm-usage', ...args] });
}

/**
 * Opens `url` in a context of its own, gives what `visit(page, problems)` gives, and holds that nothing was complained of: no error or
 * warning on the console, no exception, nothing that `visit` or `watch` adds to `problems`, save what the patterns `expected` name.
 * `watch(page, problems)` is called before the page opens, `prepare` runs in it before its own scripts, `global` is a name to wait for;
 * further options are the context's.
 */
export async function visitQuietly(browser, url, visit, { expected = [], watch, prepare, global, ...options } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const problems = [];
  page.on('console', (message) => {
    // A page without an icon is asked for one all the same.
    if (message.location().url.endsWith('/favicon.ico')) return;
    if (['error', 'warning'].includes(message.type())) problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  watch?.(page, problems);
  if (prepare) await page.addInitScript(prepare);
  try {
    await page.goto(url);
    if (global) await page.waitForFunction(`globalThis.${global}`, null, { timeout: 20_000 });
    const value = await visit(page, problems);
    assert.deepEqual(
      problems.filter((text) => !expected.some((pattern) => pattern.test(text))),
      [],
    );
    return value;
  } finally {
    await context.close();
  }
}
