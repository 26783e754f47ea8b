// Chromium, Firefox and WebKitGTK by one road: plain W3C WebDriver, spoken over HTTP to each browser's own driver. What a page's console
// complained of is read where each browser tells it. The environment names what is not found by itself (scripts/setup.sh).
//
// A driver is started anew where its port was taken in between; nothing else is tried twice.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const START_LIMIT_MS = 60_000;
/** One command of a driver, which may load a model and generate. */
const COMMAND_LIMIT_MS = 120_000;
/** A port that was free a moment ago may be taken before the driver has it. */
const STARTS = 3;

const isRoot = process.getuid?.() === 0;
const found = (...paths) => paths.find((path) => path && existsSync(path)) ?? paths.at(-1);

/** How each browser is started, and how it tells what was written to consoles. */
const BROWSERS = {
  chromium: () => ({
    command: found(process.env.CHROMEDRIVER, '/usr/bin/chromedriver'),
    args: (port) => [`--port=${port}`],
    capabilities: {
      browserName: 'chrome',
      'goog:loggingPrefs': { browser: 'ALL' },
      'goog:chromeOptions': {
        binary: found(process.env.KINGLET_CHROMIUM, '/usr/bin/chromium'),
        args: ['--headless', '--disable-dev-shm-usage', ...(isRoot ? ['--no-sandbox'] : [])],
      },
    },
    complaints: async (session) => {
      const entries = await session.call('POST', '/se/log', { type: 'browser' });
      return entries.filter(({ level }) => ['WARNING', 'SEVERE'].includes(level)).map(({ message }) => message);
    },
  }),
  firefox: ({ preferences = {} }) => ({
    command: found(process.env.KINGLET_GECKODRIVER, '/usr/bin/geckodriver'),
    args: (port) => ['--port', port, '--websocket-port', '0'],
    capabilities: {
      browserName: 'firefox',
      'moz:firefoxOptions': {
        binary: found(process.env.KINGLET_FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox'),
        args: ['-headless'],
        // Without icons: that a page has none is an error on the browser's own console.
        prefs: { 'devtools.console.stdout.content': true, 'browser.chrome.site_icons': false, ...preferences },
      },
    },
    complaints: (session) => session.logLines(/^(console\.(error|warn)|JavaScript (error|warning)):/),
  }),
  webkit: ({ environment = {} }) => ({
    command: found(process.env.KINGLET_WEBKITDRIVER, '/usr/bin/WebKitWebDriver'),
    args: (port) => [`--port=${port}`],
    needsDisplay: true,
    environment: {
      GDK_BACKEND: 'x11',
      // As root it cannot make its sandbox. It opens only pages of these tests.
      ...(isRoot ? { WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1' } : {}),
      ...environment,
    },
    capabilities: {
      browserName: 'MiniBrowser',
      'webkitgtk:browserOptions': {
        binary: found(
          process.env.KINGLET_MINIBROWSER,
          '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser',
          '/usr/libexec/webkit2gtk-4.1/MiniBrowser',
        ),
        args: ['--automation'],
      },
    },
    // Under automation it tells nobody of its consoles: the page's own is listened to from when its scripts have run, the workers' not.
    listen: () => {
      globalThis.complaints = [];
      const complain = (...what) => globalThis.complaints.push(what.map(String).join(' '));
      Object.assign(console, { error: complain, warn: complain });
      addEventListener('error', ({ message }) => complain(message));
      addEventListener('unhandledrejection', ({ reason }) => complain(reason));
    },
    complaints: (session) => session.run(() => globalThis.complaints),
  }),
};

/**
 * Opens a browser: `chromium`, `firefox` (with `preferences`) or `webkit` (with `environment` variables of JavaScriptCore). Resolves to
 * a {@link Session}; one that does not come says what the driver wrote.
 */
export async function openBrowser(name, options = {}) {
  const browser = BROWSERS[name](options);
  const display = browser.needsDisplay ? await openDisplay() : undefined;
  let last;
  for (let start = 0; start < STARTS; start++) {
    const driver = new Driver(browser, await freePort(), display?.name);
    try {
      await driver.isReady();
      return await Session.open(driver, browser, display);
    } catch (thrown) {
      last = new Error(`${name} did not start: ${thrown.message}\n${driver.log()}`, { cause: thrown });
      driver.end();
      if (driver.hadPort) break; // something else is wrong, and would be again
    }
  }
  display?.end();
  throw last;
}

/** One window of a browser. */
class Session {
  #driver;
  #browser;
  #display;
  #path;
  /** Length of the driver's log when the page was opened. */
  #logStart = 0;
  /** The browser's, as it tells it. */
  version;

  static async open(driver, browser, display) {
    const session = new Session();
    session.#driver = driver;
    session.#browser = browser;
    session.#display = display;
    const alwaysMatch = browser.capabilities;
    const opened = await driver.call('POST', '/session', { capabilities: { alwaysMatch } }, START_LIMIT_MS);
    session.#path = `/session/${opened.sessionId}`;
    session.version = opened.capabilities.browserVersion;
    await session.call('POST', '/timeouts', { script: COMMAND_LIMIT_MS, pageLoad: START_LIMIT_MS });
    return session;
  }

  /** A command of this session, such as `('GET', '/title')`. */
  call(method, path, body) {
    return this.#driver.call(method, this.#path + path, body);
  }

  /** Opens `url` and waits until `globalThis[global]` is there. */
  async goTo(url, global) {
    this.#logStart = this.#driver.log().length;
    await this.call('POST', '/url', { url });
    await this.waitFor((global) => globalThis[global] !== undefined, global);
    if (this.#browser.listen) await this.run(this.#browser.listen);
  }

  /** Runs `work(...args)` in the page and gives what it resolves to; what it throws is thrown, with the driver's log. */
  async run(work, ...args) {
    const script = `
      const done = arguments[arguments.length - 1];
      Promise.resolve().then(() => (${work})(...${JSON.stringify(args)})).then(
        (value) => done({ value }),
        (error) => done({ error: String(error) + '\\n' + String(error?.stack ?? '') }),
      );`;
    const { value, error } = await this.call('POST', '/execute/async', { script, args: [] });
    if (error !== undefined) throw new Error(`in the page: ${error}\n${this.#driver.log().slice(this.#logStart)}`);
    return value;
  }

  /** Until `predicate(...args)` holds in the page. */
  async waitFor(predicate, ...args) {
    const before = Date.now();
    while (!(await this.run(predicate, ...args))) {
      if (Date.now() - before > COMMAND_LIMIT_MS)
        throw new Error(`${predicate} did not come true\n${this.#driver.log().slice(this.#logStart)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** The window as PNG. */
  async screenshot() {
    return Buffer.from(await this.call('GET', '/screenshot'), 'base64');
  }

  /** Errors and warnings on the consoles of the page and its workers since it was opened. */
  complaints() {
    return this.#browser.complaints(this);
  }
  /** Of what the browser wrote since the page was opened, the lines that match. */
  logLines(pattern) {
    const lines = this.#driver.log().slice(this.#logStart).split('\n');
    return lines.filter((line) => pattern.test(line));
  }

  /** Ends the browser, the driver and the display. */
  async close() {
    try {
      await this.#driver.call('DELETE', this.#path);
    } finally {
      this.#driver.end();
      this.#display?.end();
    }
  }
}

/** A driver's process, and the browser's below it. */
class Driver {
  #process;
  #port;
  #folder = mkdtempSync(join(tmpdir(), 'kinglet-driver-'));
  #ended;
  /** It has answered on its port. */
  hadPort = false;

  constructor({ command, args, environment }, port, display) {
    this.#port = port;
    // Each has its own home: nothing of the user's is read or written.
    const home = { HOME: this.#folder, TMPDIR: this.#folder, XDG_RUNTIME_DIR: this.#folder };
    const output = openSync(join(this.#folder, 'log'), 'a');
    this.#process = spawnGroup(command, args(port).map(String), {
      env: { ...process.env, ...home, ...environment, ...(display && { DISPLAY: display }) },
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    this.#ended = new Promise((resolve) => {
      this.#process.on('error', (error) => resolve(`${command}: ${error.message}`));
      this.#process.on('exit', (code, signal) => resolve(`${command} has ended (${code ?? signal})`));
    });
  }

  /** What driver and browser wrote. */
  log() {
    return readFileSync(join(this.#folder, 'log'), 'utf8');
  }

  async isReady() {
    const ended = this.#ended.then((why) => {
      throw new Error(why);
    });
    const answers = async () => {
      for (const before = Date.now(); Date.now() - before < START_LIMIT_MS;) {
        const status = await this.call('GET', '/status').catch(() => undefined);
        if (status?.ready) return;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      throw new Error(`no answer within ${START_LIMIT_MS} ms`);
    };
    await Promise.race([answers(), ended]);
    this.hadPort = true;
  }

  async call(method, path, body, limitMs = COMMAND_LIMIT_MS + START_LIMIT_MS) {
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, {
      method,
      headers: { 'content-type': 'application/json; charset=utf-8' },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(limitMs),
    });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${value?.error}: ${value?.message}`);
    return value;
  }

  end() {
    endGroup(this.#process);
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** An X server without a screen, on a display number that it finds free itself. */
async function openDisplay() {
  const server = spawnGroup('Xvfb', ['-displayfd', '3', '-screen', '0', '1280x1024x24', '-nolisten', 'tcp'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  const number = await new Promise((resolve, reject) => {
    server.on('error', reject);
    server.on('exit', (code) => reject(new Error(`Xvfb has ended (${code})`)));
    server.stdio[3].once('data', (text) => resolve(String(text).trim()));
  });
  return { name: `:${number}`, end: () => endGroup(server) };
}

/** Processes with all that they start; none outlives this one. */
const groups = new Set();
function spawnGroup(command, args, options) {
  const child = spawn(command, args, { ...options, detached: true });
  groups.add(child);
  return child;
}
function endGroup(child) {
  if (!groups.delete(child) || child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All of it has gone.
  }
}
process.on('exit', () => groups.forEach(endGroup));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
