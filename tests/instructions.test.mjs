// What the CPU's kernels cost, held to numbers without a clock: WebAssembly instructions for each weight and row of activations in
// their innermost loops, and around those.
// Reads the binaries that are shipped, with the names of their functions beside them, as build.sh leaves them in target/bindgen. The
// limits are in instructions.json; `node tests/instructions.test.mjs --refresh` writes what it finds there, for `git diff` to show.
//
// What counts is what a machine executes: no locals, constants and blocks, which are registers and places when compiled.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const limitsFile = new URL('instructions.json', import.meta.url);
/** What a figure may be above its limit, for other versions of the compiler's tools. */
const SLACK = 1.02;

/** Instructions that multiply, by which a kernel's loop is known, and with how many weights each does. */
const MADD = ['i16x8.relaxed_dot_i8x16_i7x16_s', 16];
const DOT_ADD = ['i32x4.relaxed_dot_i8x16_i7x16_add_s', 16];
const WIDE = ['i32x4.dot_i16x8_s', 8];
const MUL = ['f32x4.mul', 4];

/** `others`: how many of the same instructions in a loop do not multiply weights. A tile is of so many rows of activations. */
const plain = (name, types, mark, others = 0) => ({ name: `${name}::<${types}>`, mark, others });
const tile = (rows, kernel, types, mark, others = 0) =>
  plain(`<${kernel} as Tile<${types}>>::run`, `${rows}usize`, mark, others);

/** Kernels that exist once for each way of src/cpu/dots.rs. `start`: multiplications in what the sums of a row start with. */
const codes = (dots, acts, mark, start = 0) => [
  tile(1, `NibbleTile<${dots}>`, `Q40x8<Half8>, ${acts}`, mark, start),
  tile(4, `NibbleTile<${dots}>`, `Q40x8<Half8>, ${acts}`, mark),
  ...[1, 4].map((rows) => tile(rows, `NibbleTile<${dots}>`, `Q41x8<Half8>, ${acts}`, mark)),
  ...[1, 4].flatMap((rows) => [
    plain('rows_q5_0', `${dots}, ${rows}usize`, mark, rows * start),
    ...['q4_k', 'q5_1', 'q5_k', 'q6_k'].map((name) => plain(`rows_${name}`, `${dots}, ${rows}usize`, mark)),
  ]),
  ...['false, false', 'false, true', 'true, true'].map((halves) =>
    tile(4, `CodeTile<${dots}, ${halves}>`, `Codes8, ${acts}`, mark),
  ),
];
const both = [
  ...[1, 4].map((rows) => tile(rows, 'PairTile', 'Q80x8<Half8>, Act16', WIDE)),
  plain('float_row', 'Paired8, lowered', MUL),
  plain('float_row', 'Paired8, brain', MUL),
  plain('float_row', 'Single8, single', MUL),
  tile(4, 'Float', 'Single8, f32', MUL),
];
/** Q8_0 where the engine's dot products of four take any bytes. */
const bytes = [1, 4].flatMap((rows) =>
  ['true', 'false'].map((isSigned) => tile(rows, `FourTile<Bytes<${isSigned}>>`, 'Q80x8<Half8>, Act8', DOT_ADD)),
);
const KERNELS = {
  relaxed: [...codes('Madd', 'Act8', MADD), ...codes('DotAdd', 'Act8', DOT_ADD), ...bytes, ...both],
  simd: [...codes('Wide', 'Act16', WIDE, 1), ...both],
};

/** The functions of a binary, as text, by their names without paths (`nibble_row::<Madd, Q40x8<Half8>>`). */
function functionsOf(flavour) {
  const folder = new URL(`target/bindgen/${flavour}/`, root);
  const tool = fileURLToPath(new URL('scripts/node_modules/.bin/wasm-dis', root));
  const wasm = fileURLToPath(new URL('optimized.wasm', folder));
  const text = execFileSync(tool, ['--all-features', wasm], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  const [head, ...bodies] = text.split(/^ \(func \$/m);
  const names = readFileSync(new URL('functions.txt', folder), 'utf8').trim().split('\n');
  const nImports = head.match(/^ \(import .*\(func /gm).length;
  assert.equal(names.length, nImports + bodies.length, 'functions.txt is of another binary');
  const short = (line) =>
    line
      .replace(/^\d+:/, '')
      .replace(/\[[0-9a-f]+\]/g, '')
      .replace(/(\w+::)+(?=\w)/g, '');
  return new Map(bodies.map((body, i) => [short(names[nImports + i]), `(func $${body}`]));
}

/** A function's expressions as lists: [head, …atoms and lists]. */
function parse(text) {
  const open = [[]];
  for (const [token] of text.matchAll(/[()]|[^\s()]+/g)) {
    if (token === '(') open.push([]);
    else if (token !== ')') open.at(-1).push(token);
    else if (open.length > 1) open.at(-2).push(open.pop());
  }
  return open[0][0];
}

/** Every instruction below an expression. */
const instructions = (node) => (Array.isArray(node) ? [node[0], ...node.slice(1).flatMap(instructions)] : []);

/** Every loop below an expression: those that are in no other, or those that have no other in them. */
const outermost = (node) =>
  !Array.isArray(node) ? [] : node[0] === 'loop' ? [node] : node.slice(1).flatMap(outermost);
function innermost(node) {
  if (!Array.isArray(node)) return [];
  const inner = node.slice(1).flatMap(innermost);
  return inner.length === 0 && node[0] === 'loop' ? [node] : inner;
}

const FREE = /^(local\.\w+|[if]\d+\.const|v128\.const|block|loop|then|else|result|type|drop|nop)$/;
const MEMORY = /\.(load|store)/;
const SIMD = /^([if]\d+x\d+|v128)\./;
const costs = (node) => instructions(node).filter((x) => !FREE.test(x));

/**
 * What a kernel's innermost loop executes, and for how many weights. `around`: what is in loops besides, once a block or so. `calls` in
 * any loop are of what the compiler has not inlined, or of panics: checks of bounds.
 */
function count(text, { name, mark: [mark, each], others }) {
  assert.ok(text, `the binary has no function '${name}': inlined, renamed or gone`);
  const body = parse(text);
  const loops = innermost(body).map(costs);
  const nMarks = loops.map((loop) => loop.filter((x) => x === mark).length);
  const most = Math.max(...nMarks);
  assert.ok(most > others, `${name}: no innermost loop has ${mark}: ${nMarks}`);
  const loop = loops[nMarks.indexOf(most)];
  const everywhere = outermost(body).flatMap(costs);
  const found = { weights: (most - others) * each, all: loop.length, memory: 0, simd: 0, rest: 0 };
  for (const x of loop) found[MEMORY.test(x) ? 'memory' : SIMD.test(x) ? 'simd' : 'rest'] += 1;
  return { ...found, around: everywhere.length - loop.length, calls: everywhere.filter((x) => /^call/.test(x)).length };
}

/** Complains where a kernel executes more than it may. */
function hold(name, found, limit = { a_weight: 0, around: 0, calls: 0 }) {
  const held = (what, figure, most) => assert.ok(figure <= most, `${name}: ${what} ${figure}, the limit is ${most}`);
  held('instructions a weight', found.all / found.weights, limit.a_weight * SLACK);
  held('instructions around the innermost loop', found.around, limit.around * SLACK);
  held('calls in loops', found.calls, limit.calls);
}

const refresh = process.argv.includes('--refresh');
const limits = refresh ? {} : JSON.parse(readFileSync(limitsFile, 'utf8'));

for (const [flavour, kernels] of Object.entries(KERNELS)) {
  test(`instructions a weight: ${flavour}`, async (t) => {
    const functions = functionsOf(flavour);
    limits[flavour] ??= {};
    for (const kernel of kernels) {
      await t.test(kernel.name, () => {
        const found = count(functions.get(kernel.name), kernel);
        const a_weight = Number((found.all / found.weights).toFixed(3));
        console.log(`${flavour} ${kernel.name}: ${a_weight} ${JSON.stringify(found)}`);
        if (refresh) limits[flavour][kernel.name] = { a_weight, around: found.around, calls: found.calls };
        hold(kernel.name, found, limits[flavour][kernel.name]);
      });
    }
    const [gone] = Object.keys(limits[flavour]).filter((name) => !kernels.some((kernel) => kernel.name === name));
    assert.equal(gone, undefined, 'a limit is of no kernel');
  });
}

test('each of these checks can fail', () => {
  const body = (inner) =>
    `(func $0 (loop $a (local.set $1 (${MADD[0]} (v128.load (local.get $0)) (local.get $2))) ${inner}))`;
  const kernel = { name: 'a kernel', mark: MADD, others: 0 };
  const good = count(body('(br_if $a (local.get $1))'), kernel);
  assert.deepEqual(good, { weights: 16, all: 3, memory: 1, simd: 1, rest: 1, around: 0, calls: 0 });
  const limit = { a_weight: 3 / 16, around: 0, calls: 0 };
  hold('good', good, limit);
  assert.throws(() => hold('good', good), /instructions a weight/);
  assert.throws(() => hold('around', { ...good, around: 1 }, limit), /around the innermost/);
  assert.throws(() => hold('calls', count(body('(call $1)'), kernel), { ...limit, a_weight: 1 }), /calls in loops 1/);
  assert.throws(() => count(undefined, kernel), /no function 'a kernel'/);
  assert.throws(() => count(body('').replace('_s', '_u'), kernel), /no innermost loop has/);
});

if (refresh)
  after(() =>
    writeFileSync(
      limitsFile,
      `${JSON.stringify(limits, undefined, 2).replace(/\{\s+("a_w.*)\s+(.*)\s+(.*)\s+\}/g, '{ $1 $2 $3 }')}\n`,
    ),
  );
