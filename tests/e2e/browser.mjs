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

/** A headless Chromium. As root it has no sandbox; `args` are further command-line options, `executablePath` is for another program. */
export const launch = ({ args = [], ...options } = {}) => chromium.launch({ ...startOf(args), ...options });

/** A headless Chromium, as a context, with the extension in `folder`; `profile` is an empty folder. */
export const launchWithExtension = (folder, profile) =>
  chromium.launchPersistentContext(profile, {
    ...startOf([`--disable-extensions-except=${folder}`, `--load-extension=${folder}`]),
    ignoreDefaultArgs: ['--disable-extensions'],
  });

function startOf(args) {
  const executablePath = process.env.KINGLET_CHROMIUM ?? CANDIDATES.find((path) => existsSync(path));
  if (!executablePath) throw new Error('no Chromium: set KINGLET_CHROMIUM, or run ./build.sh test, which installs it');
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return { executablePath, args: [...sandbox, '--disable-dev-shm-usage', ...args] };
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

const LONGEST_TASK_MS = 50;

/**
 * As `visitQuietly`; besides, the page asks no other origin for anything, and no task of its main thread takes over 50 ms of processor
 * time, as Chromium's trace gives it: by the clock a task also lasts while other programs have the processor.
 */
export function visitWatched(browser, url, visit, options = {}) {
  const { origin } = new URL(url);
  const watch = (page, problems) =>
    page.on('request', (request) => {
      const asked = new URL(request.url());
      if (asked.protocol !== 'blob:' && asked.origin !== origin) problems.push(`request to ${asked.origin}`);
    });
  const traced = (page) => withoutLongTasks(browser, page, () => visit(page));
  const permissions = ['clipboard-read', 'clipboard-write'];
  return visitQuietly(browser, url, traced, { watch, viewport: { width: 1280, height: 800 }, permissions, ...options });
}

/** Runs `work`, during which no task of the page's main thread may take more than `longestMs` of processor time. */
export async function withoutLongTasks(browser, page, work, longestMs = LONGEST_TASK_MS) {
  let trace;
  await browser.startTracing(page, { categories: ['-*', 'toplevel', '__metadata'] });
  try {
    await work();
  } finally {
    trace = await browser.stopTracing();
  }
  assert.deepEqual(longTasks(trace, longestMs), [], `processor time of tasks of the page over ${longestMs} ms`);
}

/** The tasks of pages' main threads that took too much processor time. */
function longTasks(trace, longestMs) {
  const { traceEvents } = JSON.parse(trace.toString());
  const thread = (event) => `${event.pid}/${event.tid}`;
  const isMain = (event) => event.name === 'thread_name' && event.args.name === 'CrRendererMain';
  const mains = new Set(traceEvents.filter(isMain).map(thread));
  const tasks = traceEvents.filter(
    (event) => event.name === 'ThreadControllerImpl::RunTask' && mains.has(thread(event)),
  );
  assert.ok(
    tasks.some((task) => task.tdur > 0),
    'the trace has tasks with their processor time',
  );
  const long = tasks.filter((task) => task.tdur / 1000 > longestMs);
  return long.map(
    ({ tdur, dur, args }) => `${tdur / 1000} ms (${dur / 1000} by the clock) in ${args.src_func}, ${args.src_file}`,
  );
}

/**
 * What of the page a screen reader could not make sense of, in words; empty where all is well: controls, images and landmarks without a
 * name, ids that are there twice, references to ids that are not there, headings that leave out a level.
 */
export const inaccessible = (page) =>
  page.evaluate(() => {
    const seen = (element) => element.checkVisibility({ visibilityProperty: true });
    const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
    const byIds = (ids) => ids.split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? '').join(' ');
    const nameOf = (element) =>
      [
        element.getAttribute('aria-label') ?? '',
        byIds(element.getAttribute('aria-labelledby') ?? ''),
        [...(element.labels ?? [])].map((label) => label.textContent).join(' '),
        /^(BUTTON|A|SUMMARY)$/.test(element.tagName) ? element.textContent : '',
      ].some((name) => name.trim() !== '');
    const say = (element) => `${element.tagName.toLowerCase()}#${element.id}.${element.className}`;
    const problems = [];
    const named = 'button, a[href], summary, input, textarea, select, nav, [role=img], [role=progressbar], [role=group], table';
    for (const element of all(named))
      if (!nameOf(element) && !element.caption && !element.closest('details')) problems.push(`${say(element)} has no name`);
    for (const element of all('img:not([alt])')) problems.push(`${say(element)} has no alt`);
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
    for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push(`the id ${id} is there twice`);
    for (const name of ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for'])
      for (const element of document.querySelectorAll(`[${name}]`))
        for (const id of element.getAttribute(name).split(/\s+/))
          if (!ids.includes(id)) problems.push(`${say(element)} points at ${id}, which is not there`);
    // What is beside the content begins anew.
    const levels = all('main :is(h1, h2, h3, h4)').map(({ tagName }) => Number(tagName[1]));
    levels.forEach((level, i) => {
      if (level > (levels[i - 1] ?? 0) + 1) problems.push(`a heading of level ${level} follows one of ${levels[i - 1] ?? 0}`);
    });
    return problems;
  });
