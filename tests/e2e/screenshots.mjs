// Takes the pictures of README.md anew: the demo page with the default model, on a desk and on a phone, light and dark. Writes
// docs/desktop-light.png and its like. Run by hand after `./build.sh build`, with the model in .cache/models:
//
//     node tests/e2e/screenshots.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { ask, folder, openDemo } from './demo_page.mjs';

const SCREENS = {
  desktop: { viewport: { width: 1180, height: 720 } },
  phone: { viewport: { width: 390, height: 780 }, hasTouch: true },
};
const QUESTION = 'What is the capital of France, and what is it known for?';

/** A conversation, each word coloured by its probability. */
async function converse(page) {
  await page.click('#load-default');
  await page.waitForSelector('body[data-state=ready]', { timeout: 120_000 });
  await page.evaluate(() => {
    for (const [name, value] of [['max_tokens', '90'], ['temperature', '0']]) {
      const field = document.getElementById(`sampling-${name}`);
      field.value = value;
      field.dispatchEvent(new Event('input'));
    }
    document.getElementById('probabilities').click();
  });
  await ask(page, QUESTION).catch(() => undefined); // shown by tokens, it has no text to give back
  await page.waitForSelector('.answer:not([aria-busy]) .figures', { timeout: 120_000 });
  await page.evaluate(() => document.activeElement?.blur());
  await page.mouse.move(0, 0);
}

/** The same picture in fewer bytes: its data, compressed as well as may be. */
function squeeze(png) {
  const chunks = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    chunks.push({ type: png.toString('latin1', at + 4, at + 8), data: png.subarray(at + 8, at + 8 + length) });
    at += length + 12;
  }
  const pixels = inflateSync(Buffer.concat(chunks.filter(({ type }) => type === 'IDAT').map(({ data }) => data)));
  const of = (type) => chunks.find((chunk) => chunk.type === type).data;
  const written = [['IHDR', of('IHDR')], ['IDAT', deflateSync(pixels, { level: 9, memLevel: 9 })], ['IEND', Buffer.alloc(0)]];
  return Buffer.concat([png.subarray(0, 8), ...written.flatMap(([type, data]) => chunkOf(type, data))]);
}

function chunkOf(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return [length, body, sum];
}

const demo = await openDemo();
try {
  for (const [name, options] of Object.entries(SCREENS))
    for (const colorScheme of ['light', 'dark']) {
      const file = folder(`docs/${name}-${colorScheme}.png`);
      await demo.visit(
        async (page) => {
          await converse(page);
          writeFileSync(file, squeeze(await page.screenshot()));
        },
        { ...options, colorScheme, reducedMotion: 'reduce', expected: [/No available adapters/] },
      );
      console.log(`${file}: ${readFileSync(file).length} bytes`);
    }
} finally {
  await demo.close();
}
