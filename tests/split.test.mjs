// The splitter of modules (scripts/split) on a small one: both parts together answer as the whole does, whichever of them calls, and the
// second part comes when it is called for, once, and to the first part that it was made with.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'kinglet-split-'));
after(() => rmSync(folder, { recursive: true }));

/** `$far` and `$farther` are moved, which call each other, what stays, by a pointer, and have a global and the memory. `$small` is no larger than a stub. */
const text = (constant) => `(module
  (import "env" "memory" (memory 1 1))
  (import "env" "load" (func $load))
  (type $pair (func (param i64 i32) (result i64)))
  (table $functions 3 3 funcref)
  (table $others 1 externref)
  (global $count (mut i32) (i32.const 0))
  (elem (table $functions) (i32.const 1) func $far $near)
  (func $load_later (export "load_later") (call $load))
  (func $near (type $pair) (i64.add (local.get 0) (i64.extend_i32_u (local.get 1))))
  (func $far (type $pair)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i64.mul (i64.const ${constant}) (call $farther (local.get 0) (local.get 1))))
  (func $farther (type $pair)
    (i64.add (i64.load (i32.const 8))
      (i64.add (call $near (local.get 0) (local.get 1)) (call_indirect $functions (type $pair) (local.get 0) (local.get 1) (i32.const 2)))))
  (func (export "direct") (param i64 i32) (result i64) (call $far (local.get 0) (local.get 1)))
  (func (export "pointed") (param i64 i32 i32) (result i64)
    (call_indirect $functions (type $pair) (local.get 0) (local.get 1) (local.get 2)))
  (func (export "count") (result i32) (global.get $count))
  (func $small (export "small") (param i64) (result i64) (i64.add (local.get 0) (i64.const 1))))`;
const NAMES = 'load\nload_later\nnear\nfar\nfarther\ndirect\npointed\ncount\nsmall';

/** The three modules. */
function split(name, constant) {
  const file = (end) => join(folder, `${name}${end}`);
  writeFileSync(file('.wat'), text(constant));
  const features = ['--enable-reference-types', '--enable-bulk-memory'];
  execFileSync(at('scripts/node_modules/.bin/wasm-as'), [...features, file('.wat'), '-o', file('.wasm')]);
  writeFileSync(file('.names'), NAMES.split('\n').map((one, i) => `${i}:${one}`).join('\n'));
  writeFileSync(file('.later'), '# moved\nfar*\nsmall\n');
  const out = ['_first.wasm', '_later.wasm'].map(file);
  execFileSync(at('target/split/release/split'), [file('.wasm'), file('.names'), file('.later'), ...out]);
  return ['.wasm', '_first.wasm', '_later.wasm'].map((end) => new WebAssembly.Module(readFileSync(file(end))));
}

function instantiate(module, load) {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  new BigInt64Array(memory.buffer)[1] = 1000n;
  return new WebAssembly.Instance(module, { env: { memory, load } }).exports;
}

/** What the second part imports: what the first exports, and by a number what stands there in its table of functions (later.ts). */
const importsOf = (first) => ({ first: new Proxy(first, { get: (all, name) => all[name] ?? all['.t'].get(+name) }) });

const ask = ({ direct, pointed, count }) => [direct(5n, 7), pointed(6n, 8, 1), pointed(6n, 8, 2), count()];

test('both parts answer as the whole, and the second is called for once', () => {
  const [whole, first, later] = split('one', 3);
  const wanted = ask(instantiate(whole, () => assert.fail('nothing is to be loaded')));
  assert.deepEqual(wanted, [3n * (1000n + 12n + 12n), 3n * (1000n + 14n + 14n), 14n, 2]);
  let n_loaded = 0;
  const exports = instantiate(first, () => {
    n_loaded++;
    new WebAssembly.Instance(later, importsOf(exports));
  });
  assert.equal(exports.pointed(6n, 8, 2), 14n, 'what stays works without it');
  assert.equal(exports.small(6n), 7n, 'what is as small as a stub stays');
  assert.equal(n_loaded, 0);
  assert.deepEqual(ask(exports), wanted);
  assert.equal(n_loaded, 1);
  const eager = instantiate(first, () => assert.fail('it is there'));
  new WebAssembly.Instance(later, importsOf(eager));
  assert.deepEqual(ask(eager), wanted);
});

test('a second part of another build is refused', () => {
  const [, first] = split('one', 3);
  const [, , later] = split('other', 4);
  const exports = instantiate(first, () => new WebAssembly.Instance(later, importsOf(exports)));
  assert.throws(() => exports.direct(5n, 7), TypeError, 'the first has no global of that name');
});

test('what is moved is gone from the first part, but for a stub where that calls it', () => {
  const [whole, first] = split('one', 3);
  const functions = (name) => {
    const text = execFileSync(at('scripts/node_modules/.bin/wasm-dis'), ['--all-features', join(folder, name)], { encoding: 'utf8' });
    return text.split(/^ \(func /m).slice(1);
  };
  assert.deepEqual(WebAssembly.Module.exports(whole).map(({ name }) => name), ['load_later', 'direct', 'pointed', 'count', 'small']);
  assert.equal(WebAssembly.Module.exports(first).filter(({ kind }) => kind === 'function').length, 5, 'no more names than that');
  // load_later, near, direct, pointed, count, small; a stub of far, none of farther; and what that calls to have the second part.
  assert.equal(functions('one_first.wasm').length, 8);
  assert.equal(functions('one_first.wasm').filter((body) => /i64\.mul|i64\.load/.test(body)).length, 0);
  assert.equal(functions('one_later.wasm').filter((body) => /i64\.mul|i64\.load/.test(body)).length, 2);
});

test('names of functions that the module does not have, and a module without a way to load, are refused', () => {
  const tool = at('target/split/release/split');
  const run = (...given) => execFileSync(tool, given, { stdio: 'pipe' });
  split('one', 3);
  const [wasm, names, later] = ['one.wasm', 'one.names', 'one.later'].map((name) => join(folder, name));
  writeFileSync(join(folder, 'many.names'), '99:far\n');
  assert.throws(() => run(wasm, join(folder, 'many.names'), later, join(folder, 'a'), join(folder, 'b')), /the module has 9 functions/);
  writeFileSync(join(folder, 'plain.wat'), '(module (import "env" "memory" (memory 1)) (table 1 funcref))');
  execFileSync(at('scripts/node_modules/.bin/wasm-as'), [join(folder, 'plain.wat'), '-o', join(folder, 'plain.wasm')]);
  assert.throws(() => run(join(folder, 'plain.wasm'), names, later, join(folder, 'a'), join(folder, 'b')), /exports no load_later/);
});
