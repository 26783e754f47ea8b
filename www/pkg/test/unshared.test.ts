// The bit of a binary that says that its memory is shared, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { unshareMemory } from '../src/unshared.js';
import { compileWasm, createMemory } from '../src/wasm-module.js';

const HEADER = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const section = (id: number, ...bytes: number[]): number[] => [id, bytes.length, ...bytes];
const text = (value: string): number[] => [value.length, ...Buffer.from(value)];
const named = (field: string, ...rest: number[]): number[] => [...text('env'), ...text(field), ...rest];

const MEMORY = named('memory', 2, 3, 1, 0x80, 1); // shared, 1 to 128 pages
/** Before the memory, one import of every other kind. */
const OTHERS = [
  named('f', 0, 0),
  named('t', 1, 0x70, 1, 1, 0x80, 1),
  named('u', 1, 0x70, 0, 1),
  named('g', 3, 0x7f, 0),
];

/** `add(n)`: adds atomically to the word at 0, gives what was there before. */
function moduleOf(imports: number[][], before: number[] = []): Uint8Array<ArrayBuffer> {
  const body = [0, 0x41, 0, 0x20, 0, 0xfe, 0x1e, 2, 0, 0x0b];
  return new Uint8Array([
    ...HEADER,
    ...before,
    ...section(1, 2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f),
    ...section(2, imports.length, ...imports.flat()),
    ...section(3, 1, 1),
    ...section(7, 1, ...text('add'), 0, 1),
    ...section(10, 1, body.length, ...body),
  ]);
}

function run(bytes: Uint8Array<ArrayBuffer>, memory: WebAssembly.Memory): number[] {
  const table = (initial: number, maximum?: number) =>
    new WebAssembly.Table({ element: 'anyfunc', initial, ...(maximum && { maximum }) });
  const env = { memory, f: () => {}, t: table(1, 128), u: table(1), g: 7 };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
  const add = exports['add'] as (n: number) => number;
  return [add(5), add(1), add(0)];
}

test('after the change a module runs on memory that is not shared, atomic instructions and all', () => {
  const before = section(0, ...text('name'), 1, 2, 3);
  for (const [imports, ahead] of [
    [[...OTHERS, MEMORY], []],
    [[OTHERS[0] ?? [], MEMORY, ...OTHERS.slice(1)], before],
  ] as const) {
    const bytes = moduleOf([...imports], [...ahead]);
    assert.throws(() => run(bytes, new WebAssembly.Memory({ initial: 1, maximum: 128 })), /shared/);
    const changed = bytes.slice();
    unshareMemory(changed);
    assert.equal(changed.filter((byte, i) => byte !== bytes[i]).length, 1, 'one byte');
    assert.deepEqual(run(changed, new WebAssembly.Memory({ initial: 1, maximum: 128 })), [0, 5, 6]);
    const again = changed.slice();
    unshareMemory(again);
    assert.deepEqual(again, changed, 'what is not shared stays as it is');
  }
});

test('what is no such module is refused in words', () => {
  const good = moduleOf([...OTHERS, MEMORY]);
  const refusals: [Uint8Array, RegExp][] = [
    [new Uint8Array(), /begin/],
    [Buffer.from('<!doctype html>'), /begin/],
    [new Uint8Array(HEADER), /no imports/],
    [moduleOf(OTHERS), /imports no memory/],
    [moduleOf([named('x', 9, 0), MEMORY]), /unknown kind/],
    [new Uint8Array([...HEADER, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), /32 bits/],
    [new Uint8Array([...HEADER, 2, 20, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]), /too early/],
  ];
  for (const [bytes, message] of refusals) assert.throws(() => unshareMemory(bytes.slice()), message);
  const memoryAt = Buffer.from(good).indexOf('memory') + 'memory'.length;
  for (let length = HEADER.length + 1; length <= memoryAt + 1; length++)
    assert.throws(() => unshareMemory(good.slice(0, length)), /too early|no imports/, `cut to ${length} bytes`);
});

test('a file that is not the binary: E_NETWORK, whichever memory it was to have', async () => {
  const { fetch } = globalThis;
  try {
    for (const shared of [true, false]) {
      globalThis.fetch = async () => new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } });
      await assert.rejects(compileWasm('http://localhost/kinglet_simd.wasm', shared), (error: unknown) => {
        assert.ok(error instanceof KingletError && error.code === 'E_NETWORK');
        assert.match(error.message, /kinglet_simd\.wasm is not the wasm file/);
        return true;
      });
      globalThis.fetch = async () =>
        new Response(moduleOf([...OTHERS, MEMORY]), { headers: { 'content-type': 'application/wasm' } });
      const module = await compileWasm('http://localhost/kinglet_simd.wasm', shared);
      const exports = WebAssembly.Module.exports(module);
      assert.deepEqual(exports, [{ name: 'add', kind: 'function' }]);
    }
  } finally {
    globalThis.fetch = fetch;
  }
});

test('the maximum is stepped down until the browser grants it', () => {
  const { Memory } = WebAssembly;
  const asked: number[] = [];
  const granting = (most: number) =>
    class extends Memory {
      constructor(descriptor: WebAssembly.MemoryDescriptor) {
        asked.push(descriptor.maximum ?? 0);
        if ((descriptor.maximum ?? 0) > most) throw new RangeError('could not allocate');
        super(descriptor);
      }
    };
  try {
    for (const shared of [true, false]) {
      WebAssembly.Memory = granting(16_384);
      asked.length = 0;
      const { buffer } = createMemory(3, shared);
      assert.deepEqual(asked, [65_536, 49_152, 32_768, 16_384]);
      assert.equal(buffer instanceof SharedArrayBuffer, shared);
      WebAssembly.Memory = granting(0);
      assert.throws(
        () => createMemory(3, shared),
        (error: unknown) =>
          error instanceof KingletError && error.code === 'E_MEMORY' && error.details['neededBytes'] === 3 * 65_536,
      );
    }
  } finally {
    WebAssembly.Memory = Memory;
  }
});
