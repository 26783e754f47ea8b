import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { describeModel, type DescribedModel } from '../src/model-files.js';
import { checkLoad } from '../src/params.js';

const BASE = 'http://host/models/';
const SUM = 'a'.repeat(64);
const blob = new Blob(['x']);

function model(
  source: unknown,
  more: { sha256?: string | Record<string, string>; headers?: Record<string, string> } = {},
) {
  const described = describeModel(source, more.headers ?? {}, more.sha256, BASE);
  described.dispose();
  return described;
}
function files({ descriptor }: DescribedModel) {
  assert.equal(descriptor.kind, 'files');
  return descriptor.kind === 'files' ? descriptor : assert.fail();
}
const names = (described: DescribedModel) => files(described).files.map(({ name }) => name);
const urls = (described: DescribedModel) =>
  files(described).files.map(({ source }) => (source.kind === 'url' ? source.url : source.kind));

describe('a URL', () => {
  test('of any part stands for all of them; query and case stay', () => {
    for (const no of ['00001', '00002', '00003']) {
      const described = model(`big%20one-${no}-of-00003.gguf?key=a%2Fb#c`, { headers: { 'x-key': '1' } });
      assert.deepEqual(
        urls(described),
        [1, 2, 3].map((i) => `http://host/models/big%20one-0000${i}-of-00003.gguf?key=a%2Fb#c`),
      );
      assert.deepEqual(names(described)[0], 'big one-00001-of-00003.gguf');
      assert.equal(files(described).siblings, true);
      assert.ok(files(described).files.every(({ source }) => source.kind === 'url' && source.headers['x-key'] === '1'));
    }
  });

  test('that names no part, or a part that there cannot be, is one file', () => {
    for (const name of [
      'model.gguf',
      'x-00001-of-00001.gguf',
      'x-00000-of-00003.gguf',
      'x-00004-of-00003.gguf',
      'x-00001-of-99999.gguf',
      'x-1-of-3.gguf',
      '-00001-of-00003.gguf/other.gguf',
      'x-00001-of-00003.gguf.part',
    ])
      assert.equal(model(name).descriptor.kind, 'url', name);
    assert.equal(model('blob:http://host/x-00001-of-00003.gguf').descriptor.kind, 'url');
  });
});

describe('several files', () => {
  test('a list of files, a list of blobs, a record of every kind', () => {
    const one = new File(['x'], 'b.gguf');
    assert.deepEqual(names(model([one, new File(['x'], 'a.gguf')])), ['b.gguf', 'a.gguf']);
    assert.deepEqual(names(model([blob, blob])), ['file 1', 'file 2']);
    const described = model({
      files: {
        'a.gguf': 'a.gguf?x',
        'b.gguf': new URL('http://other/b'),
        'c.gguf': blob,
        'd.gguf': new Uint8Array(3),
        'e.gguf': new ArrayBuffer(3),
        'f.gguf': new ReadableStream(),
      },
    });
    assert.deepEqual(urls(described), [
      'http://host/models/a.gguf?x',
      'http://other/b',
      'blob',
      'port',
      'port',
      'port',
    ]);
    assert.equal(described.transfer.length, 3);
    assert.equal(files(described).siblings, false);
  });

  test('one file is read as if it were alone, unless its name says that it is a part', () => {
    for (const source of [[blob], [new File(['x'], 'a.gguf')], { files: { 'a.gguf': blob } }, new File([''], 'a.gguf')])
      assert.equal(model(source).descriptor.kind, 'blob');
    assert.deepEqual(names(model(new File(['x'], 'a-00001-of-00002.gguf'))), ['a-00001-of-00002.gguf']);
    assert.deepEqual(names(model({ files: { 'a-00002-of-00002.gguf': 'x' } })), ['a-00002-of-00002.gguf']);
  });

  test("a tokenizer's files are known by name", () => {
    const described = files(
      model({ files: { 'x/model.gguf': blob, 'x/tokenizer.json': blob, 'x/tokenizer_config.json': blob } }),
    );
    assert.equal(described.files.length, 1);
    assert.equal(described.tokenizer?.name, 'x/tokenizer.json');
    assert.equal(described.tokenizerConfig?.name, 'x/tokenizer_config.json');
  });

  test('what is no model is said so, and a locked stream ends those before it', () => {
    const locked = new ReadableStream();
    locked.getReader();
    for (const bad of [
      [],
      ['a.gguf'],
      [blob, null],
      { files: {} },
      { files: null },
      { files: [blob] },
      { files: { 'a.gguf': 5 } },
      { files: { 'tokenizer.json': blob } },
      { files: { 'a.gguf': blob, 'tokenizer_config.json': blob } },
      { files: { 'a.gguf': new Uint8Array(1), 'b.gguf': locked } },
    ])
      assert.throws(() => model(bad), TypeError);
    assert.throws(() => model([blob, blob], { headers: { a: 'b' } }), /headers only make sense/);
    model({ files: { 'a.gguf': blob, 'b.gguf': 'b' } }, { headers: { a: 'b' } });
  });
});

describe('checksums', () => {
  const two = { files: { 'a.gguf': blob, 'b.gguf': blob } };

  test('one for a file, by name for several', () => {
    assert.equal(model(blob, { sha256: SUM.toUpperCase() }).sha256, SUM);
    assert.equal(model('x/a.gguf?y', { sha256: { 'a.gguf': SUM } }).sha256, SUM);
    assert.equal(model(new File(['x'], 'a.gguf'), { sha256: { 'a.gguf': SUM } }).sha256, SUM);
    const part = model(new File(['x'], 'a-00001-of-00002.gguf'), { sha256: SUM });
    assert.equal(files(part).files[0]?.sha256, SUM);
    const sums = { 'a.gguf': SUM, 'b.gguf': 'b'.repeat(64) };
    assert.deepEqual(
      files(model(two, { sha256: sums })).files.map((file) => file.sha256),
      Object.values(sums),
    );
  });

  test('every file has one, and no other has', () => {
    assert.throws(() => model(two, { sha256: SUM }), TypeError);
    assert.throws(() => model(blob, { sha256: { 'a.gguf': SUM } }), /has no name/);
    assert.throws(() => model(two, { sha256: { 'a.gguf': SUM } }), /no checksum for "b.gguf"/);
    assert.throws(() => model(two, { sha256: { 'a.gguf': SUM, 'b.gguf': SUM, 'c.gguf': SUM } }), /names "c.gguf"/);
    assert.throws(() => model('a.gguf', { sha256: { 'b.gguf': SUM } }), RangeError);
    assert.throws(() => model({ files: { toString: blob, x: blob } }, { sha256: { x: SUM } }), /toString/);
  });

  test('their form is checked before', () => {
    for (const good of [SUM, { a: SUM }, {}, undefined]) checkLoad(good === undefined ? {} : { sha256: good });
    for (const bad of ['abc', { a: 'abc' }, { a: 5 }, null, 5, [1]])
      assert.throws(() => checkLoad({ sha256: bad as string }), TypeError);
  });
});
