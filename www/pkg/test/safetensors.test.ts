import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { headerLength, LENGTH_BYTES, MAX_HEADER_BYTES, readHeader } from '../src/checkpoint/safetensors.js';
import { KingletError } from '../src/errors.js';
import { bytesOf, NAMES } from './checkpoints.js';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (json: unknown): ReturnType<typeof readHeader> =>
  readHeader('m.safetensors', encode(typeof json === 'string' ? json : JSON.stringify(json)));
const entry = (begin: number, end: number, shape = [(end - begin) / 2], dtype = 'F16') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

function refused(work: () => unknown, code: string, pattern: RegExp): void {
  assert.throws(work, (error) => {
    assert.ok(error instanceof KingletError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    assert.ok(error.message.startsWith('m.safetensors: '), error.message);
    assert.ok(error.message.length < 400, error.message);
    return true;
  });
}

describe('a good header', () => {
  test('tensors in the order of their bytes, empty ones and scalars too, whatever the order of the keys', () => {
    const found = read({
      c: entry(12, 12, [0, 7]),
      __metadata__: { format: 'pt' },
      b: entry(4, 12, [2, 2]),
      a: entry(0, 4),
      scalar: { dtype: 'F64', shape: [], data_offsets: [12, 20] },
    });
    assert.deepEqual(
      found.map(({ name, nBytes }) => [name, nBytes]),
      [
        ['a', 4],
        ['b', 8],
        ['c', 0],
        ['scalar', 8],
      ],
    );
    assert.deepEqual(found[1], { name: 'b', dtype: 'F16', shape: [2, 2], nBytes: 8 });
  });

  test('none, spaces behind it, names that mean something elsewhere', () => {
    assert.deepEqual(read('{}'), []);
    assert.deepEqual(read('{}        '), []);
    const odd = read(
      '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\"}:":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}',
    );
    assert.deepEqual(
      odd.map(({ name }) => name),
      ['__proto__', '"}:'],
    );
  });

  test('those that transformers wrote', () => {
    for (const name of NAMES.filter((name) => name !== 'llama-sharded')) {
      const bytes = bytesOf(name, 'model.safetensors');
      const n = headerLength('m', bytes);
      const tensors = readHeader('m', bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + n));
      const total = tensors.reduce((sum, { nBytes }) => sum + nBytes, 0);
      assert.equal(LENGTH_BYTES + n + total, bytes.length, name);
    }
  });
});

test('the length', () => {
  const length = (n: bigint): number => {
    const bytes = new Uint8Array(LENGTH_BYTES);
    new DataView(bytes.buffer).setBigUint64(0, n, true);
    return headerLength('m.safetensors', bytes);
  };
  assert.equal(length(2n), 2);
  assert.equal(length(BigInt(MAX_HEADER_BYTES)), MAX_HEADER_BYTES);
  for (const n of [0n, 1n]) refused(() => length(n), 'E_FILE_FORMAT', /a header of \d bytes/);
  for (const n of [BigInt(MAX_HEADER_BYTES) + 1n, 2n ** 53n, 2n ** 64n - 1n])
    refused(() => length(n), 'E_FILE_LIMIT', /is over the limit of 100000000/);
  const begins = (text: string): number => headerLength('m.safetensors', encode(text.padEnd(LENGTH_BYTES)));
  refused(() => begins('version https://git-lfs'), 'E_FILE_FORMAT', /pointer of Git LFS/);
  refused(() => begins('GGUF\x03\0\0\0'), 'E_FILE_FORMAT', /this is a GGUF file/);
  refused(() => begins('<!DOCTYPE html>'), 'E_FILE_FORMAT', /a page, or an archive of PyTorch/);
  refused(() => begins('PK\x03\x04____'), 'E_FILE_FORMAT', /a page, or an archive of PyTorch/);
});

test('what is wrong with a header is said, with the file and the tensor', () => {
  const format = 'E_FILE_FORMAT';
  const bad: [json: unknown, pattern: RegExp, code?: string][] = [
    ['', /does not begin with \{/],
    [' {}', /does not begin with \{/],
    ['[]', /does not begin with \{/],
    ['{', /this is no JSON/],
    ['{}x', /this is no JSON/],
    [`{"a":${'['.repeat(100_000)}`, /this is no JSON/],
    ['{"a":1,"a":1}', /a key twice/],
    [
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      /a key twice/,
    ],
    ['{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', /a key twice/],
    ['{"__metadata__":{"a":"b","a":"c"}}', /a key twice/],
    [{ __metadata__: { a: 1 } }, /__metadata__ is no object of strings/],
    [{ __metadata__: [] }, /__metadata__ is no object of strings/],
    [{ a: [] }, /tensor "a": is \[\]/],
    [{ a: { ...entry(0, 2), dtype: 5 } }, /tensor "a": dtype is 5/],
    [{ a: { ...entry(0, 2), dtype: 'F24' } }, /the type "F24" is unknown/, 'E_UNSUPPORTED_QUANT'],
    [{ a: { ...entry(0, 2), dtype: 'toString' } }, /the type "toString" is unknown/, 'E_UNSUPPORTED_QUANT'],
    [{ a: { ...entry(0, 2), shape: 1 } }, /shape is 1/],
    [{ a: { ...entry(0, 2), shape: [-1] } }, /shape is \[-1\]/],
    [{ a: { ...entry(0, 2), shape: [0.5] } }, /shape is \[0.5\]/],
    [{ a: { ...entry(0, 2), shape: ['1'] } }, /shape is \["1"\]/],
    [{ a: { ...entry(0, 2), shape: Array(9).fill(1) } }, /shape is \[1,1/],
    [{ a: { ...entry(0, 2), shape: [2 ** 30, 2 ** 30] } }, /is too large/],
    [{ a: { ...entry(0, 2), data_offsets: [0] } }, /data_offsets is \[0\]/],
    [{ a: { ...entry(0, 2), data_offsets: [0, 2, 4] } }, /data_offsets is/],
    [{ a: { ...entry(0, 2), data_offsets: [0, 2 ** 60] } }, /data_offsets is/],
    [{ a: { ...entry(2, 0), shape: [1] } }, /-2 bytes for \[1\] of F16, expected 2/],
    [{ a: entry(0, 4, [1]) }, /4 bytes for \[1\] of F16, expected 2/],
    [{ a: { dtype: 'F4', shape: [3], data_offsets: [0, 2] } }, /2 bytes for \[3\] of F4, expected 1.5/],
    [{ a: entry(2, 4) }, /tensor "a" at 2 leaves a hole of 2 bytes/],
    [{ a: entry(0, 4), b: entry(6, 8) }, /tensor "b" at 6 leaves a hole of 2 bytes/],
    [{ a: entry(0, 4), b: entry(2, 6) }, /tensor "b" at 2 overlaps the one before it/],
    [{ a: entry(0, 4), b: entry(0, 4) }, /tensor "[ab]" at 0 overlaps/],
    [{ ['x'.repeat(5000)]: entry(2, 4) }, /tensor "x+… at 2/],
  ];
  for (const [json, pattern, code = format] of bad) refused(() => read(json), code, pattern);
  refused(() => readHeader('m.safetensors', Uint8Array.of(0x7b, 0xff, 0x7d)), format, /this is no JSON/);
  const many = Object.fromEntries(Array.from({ length: 100_001 }, (_, i) => [i, entry(0, 0, [0])]));
  refused(() => read(many), 'E_FILE_LIMIT', /100001 tensors are over the limit of 100000/);
});

test('whatever the bytes, it gives tensors without holes or blames the file', () => {
  let state = 7;
  const below = (n: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % n;
  };
  const bytes = bytesOf('llama', 'model.safetensors');
  const good = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + headerLength('m', bytes)).subarray(0);
  const outcomes = new Map<string, number>();
  for (let i = 0; i < 3000; i++) {
    const changed = Uint8Array.from(good);
    for (let n = 1 + below(3); n > 0; n--) {
      const at = below(changed.length);
      const pick = [below(256), 0x22, 0x30 + below(10), 0x2c, 0x7d];
      changed[at] = pick[below(pick.length)] ?? 0;
    }
    let outcome = 'tensors';
    try {
      const tensors = readHeader(
        'm.safetensors',
        changed.subarray(0, below(20) === 0 ? below(changed.length) : undefined),
      );
      for (const { nBytes, shape } of tensors)
        assert.ok(Number.isSafeInteger(nBytes) && nBytes >= 0 && shape.every(Number.isSafeInteger));
    } catch (error) {
      assert.ok(error instanceof KingletError, String(error));
      assert.match(error.code, /^E_(FILE_FORMAT|FILE_LIMIT|UNSUPPORTED_QUANT)$/);
      outcome = error.code;
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  for (const outcome of ['tensors', 'E_FILE_FORMAT', 'E_UNSUPPORTED_QUANT'])
    assert.ok((outcomes.get(outcome) ?? 0) > 10, `${outcome}: ${[...outcomes].join(' ')}`);
});
