// The package's types: as a project with any of TypeScript's ways of resolving finds them, by attw; calls that compile and calls that must
// not; and OpenAI's own. Reads the tarball as build.sh has left it.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
const { version, exports } = JSON.parse(readFileSync(join(root, 'www/pkg/package.json'), 'utf8'));
const tarball = join(root, `dist/kinglet-${version}.tgz`);

/** A project with the package as npm unpacks it, and OpenAI's client. */
let project;
before(() => {
  project = mkdtempSync(join(tmpdir(), 'kinglet-types-'));
  const modules = join(project, 'node_modules');
  mkdirSync(join(modules, 'kinglet'), { recursive: true });
  execFileSync('tar', ['-xzf', tarball, '--strip-components=1', '-C', join(modules, 'kinglet')]);
  symlinkSync(join(here, 'node_modules/openai'), join(modules, 'openai'));
  for (const name of ['calls.ts', 'openai.ts', 'tsconfig.json']) cpSync(join(here, name), join(project, name));
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
});
after(() => rmSync(project, { recursive: true, force: true }));

function compile(...options) {
  const tsc = join(root, 'www/pkg/node_modules/typescript/bin/tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, '--pretty', 'false', ...options], {
    cwd: project,
    encoding: 'utf8',
  });
  return { status, stdout };
}

test('attw: every entry is found, with its types', () => {
  // What is no module has no types.
  const excluded = Object.keys(exports).filter((name) => name.endsWith('.wasm'));
  const attw = join(here, 'node_modules/.bin/attw');
  // The package is ESM, and needs a resolution that reads `exports`: TypeScript's `node16`, `nodenext` or `bundler`.
  const options = [
    '--profile',
    'esm-only',
    '--no-color',
    '--no-emoji',
    '--format',
    'ascii',
    '--exclude-entrypoints',
    ...excluded.map((name) => name.slice(2)),
  ];
  const { status, stdout } = spawnSync(attw, [tarball, ...options], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
  for (const name of ['kinglet', 'kinglet/tasks', 'kinglet/eval'])
    assert.ok(stdout.includes(`"${name}"\n\nnode16 (from ESM): OK`), stdout);
});

test('calls that compile do, others do not; answers and parameters are those of OpenAI', () => {
  assert.deepEqual(compile(), { status: 0, stdout: '' });
});

test('the same as a bundler resolves, and with every declaration checked', () => {
  assert.deepEqual(compile('--module', 'esnext', '--moduleResolution', 'bundler'), { status: 0, stdout: '' });
  const bare = {
    files: ['calls.ts'],
    compilerOptions: { strict: true, module: 'nodenext', target: 'es2022', noEmit: true, types: [] },
  };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(bare));
  assert.deepEqual(compile(), { status: 0, stdout: '' });
});

test('these checks can fail', () => {
  const calls = readFileSync(join(project, 'calls.ts'), 'utf8');
  writeFileSync(join(project, 'calls.ts'), calls.replaceAll('// @ts-expect-error', '//'));
  const { status, stdout } = compile();
  assert.notEqual(status, 0);
  const n_expected = calls.split('@ts-expect-error: ').length - 1;
  assert.equal(new Set(stdout.match(/^calls\.ts\(\d+/gm)).size, n_expected, stdout);
});
