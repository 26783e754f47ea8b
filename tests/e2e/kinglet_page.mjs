// An empty page with the built package as `Kinglet`, and a folder of models under /models/: for tests and measurements that need no app.
import { fileURLToPath } from 'node:url';
import { launch } from './browser.mjs';
import { openSite } from './site.mjs';

const DIST = fileURLToPath(new URL('../../www/pkg/dist/', import.meta.url));
const PAGE = `<!doctype html><title>kinglet</title><script type="module">
  import { Kinglet, KingletError } from '/kinglet/index.js';
  Object.assign(globalThis, { Kinglet, KingletError });
</script>`;

/** The page's site; its further options are `openSite`'s. */
export async function openKingletSite(models, options = {}) {
  const site = await openSite({ mounts: { '/kinglet/': DIST, '/models/': models }, isolated: true, ...options });
  site.answers.set('/', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE));
  return site;
}

/** Resolves to `{ page, close() }`, in Chromium. `args`: further flags of the browser. */
export async function openKingletPage(models, { args = [], isolated = true } = {}) {
  const site = await openKingletSite(models, { isolated });
  const browser = await launch({ args });
  const page = await browser.newPage();
  await page.goto(`${site.url}/`);
  await page.waitForFunction('globalThis.Kinglet');
  return {
    page,
    close: async () => {
      await browser.close();
      await site.close();
    },
  };
}
