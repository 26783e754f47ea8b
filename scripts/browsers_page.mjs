// Writes the table of docs/browsers.md from what the tests of three browsers found (target/browsers.json, which `./build.sh test browsers`
// leaves):
//
//     node scripts/browsers_page.mjs
import { readFileSync, writeFileSync } from 'node:fs';

const file = (name) => new URL(`../${name}`, import.meta.url);
const PAGE = file('docs/browsers.md');
const BEGIN = '<!-- written by scripts/browsers_page.mjs -->';
const END = '<!-- end -->';
/** By the names of the tests. */
const NAMES = {
  chromium: 'Chromium',
  firefox: 'Firefox ESR',
  webkit: 'WebKitGTK',
  'webkit, JSC_useSharedArrayBuffer': 'WebKitGTK with shared memory, as Safari has it',
};
const COLUMNS = [
  'browser',
  'version',
  'binary',
  'threads, isolated',
  'threads, not isolated',
  'shared memory refused',
  'granted up to 1 GiB only',
  'WebGPU offered',
  'demo page',
];

const { date, browsers } = JSON.parse(readFileSync(file('target/browsers.json'), 'utf8'));
const yes = (is) => (is ? 'yes' : 'no');

function row({ name, version, lives, webgpu, page }) {
  // The first is what the browser gets by itself.
  const threads = (isolated, refused) => {
    const same = lives.filter((life) => life.isolated === isolated && life.refused === refused);
    if (same.length === 0) throw new Error(`${name}: the tests have not all passed`);
    return [...new Set(same.map((life) => life.threads))].join(' or ');
  };
  const cells = [
    threads(true, null),
    threads(false, null),
    threads(true, 'memory that is shared'),
    threads(true, 'a shared maximum of more than 1 GiB'),
  ];
  const builds = [...new Set(lives.map(({ build }) => build))];
  const binary = builds.length > 1 ? `${builds[0]} (also ${builds.slice(1).join(', ')})` : builds[0];
  return [NAMES[name] ?? name, version, binary, ...cells, yes(webgpu), page ? 'answers, stops, keeps' : 'not tried'];
}

const line = (cells) => `| ${cells.join(' | ')} |`;
const table = [line(COLUMNS), `|${'---|'.repeat(COLUMNS.length)}`, ...browsers.map((one) => line(row(one)))].join('\n');
const page = readFileSync(PAGE, 'utf8');
const [before, rest] = page.split(BEGIN);
const [, after] = rest.split(END);
writeFileSync(
  PAGE,
  `${before}${BEGIN}\n\nFound on ${date}, two threads asked for; every cell is a test that has passed.\n\n${table}\n\n${END}${after}`,
);
