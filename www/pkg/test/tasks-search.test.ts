import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { embed, SearchIndex } from '../src/tasks/index.js';
import { crc32 } from '../src/tasks/index-format.js';
import { fakeEngine, type FakeOptions, progressWatch, wordsOf } from './tasks-fake.js';

const TOPICS = ['cat', 'dog', 'bird', 'fish'];
/** How often each of four words is there. */
const byTopic = (text: string): number[] => TOPICS.map((topic) => text.split(topic).length - 1 + 0.01);
const EMBEDDER: FakeOptions = { tasks: ['embed'], name: 'mini', embed: byTopic };
const format = (pattern: RegExp) => (error: unknown) =>
  error instanceof KingletError && error.code === 'E_FILE_FORMAT' && pattern.test(error.message);
const unit = (vector: number[]): number[] => vector.map((x) => x / Math.hypot(...vector));
const isNear = (a: ArrayLike<number> | undefined, b: number[]): boolean =>
  a !== undefined && a.length === b.length && b.every((x, i) => Math.abs(x - (a[i] ?? NaN)) < 1e-6);

test('an embedding of each text', async () => {
  const { engine, embedded } = fakeEngine(EMBEDDER);
  const texts = Array.from({ length: 70 }, (_, i) => `a ${TOPICS[i % 4] ?? ''}`);
  const watch = progressWatch();
  const vectors = await embed(engine, texts, { onProgress: watch.onProgress });
  texts.forEach((text, i) => assert.ok(isNear(vectors[i], unit(byTopic(text)))));
  assert.ok(vectors[0] instanceof Float32Array);
  assert.deepEqual(
    embedded.map((some) => some.length),
    [32, 32, 6],
  );
  assert.ok(watch.isSound());
  assert.equal((await embed(engine, 'a cat')).length, 1);
  assert.deepEqual(await embed(engine, []), []);
  await assert.rejects(embed(engine, 'a', { dimensions: 5 }), RangeError);
  await assert.rejects(embed(engine, [7] as unknown as string[]), TypeError);
});

test('a long text has the mean of its parts', async () => {
  const { engine, embedded } = fakeEngine({ ...EMBEDDER, contextLength: 40 });
  const sentence = (n: number): string => `There is a cat${' that is here'.repeat(n)}. `;
  const text = `${[3, 9, 1, 7, 2, 8, 5].map(sentence).join('')}${'Now comes a dog. '.repeat(5)}`.trim();
  const [short, long] = await embed(engine, ['a dog', text]);
  assert.ok(isNear(short, unit(byTopic('a dog'))));
  const parts = embedded.flat().slice(1);
  assert.ok(parts.length > 3 && new Set(parts.map((part) => wordsOf(part).length)).size > 2);
  assert.equal(parts.join(''), text);
  const sum = [0, 0, 0, 0];
  for (const part of parts)
    unit(byTopic(part)).forEach((x, d) => {
      sum[d] = (sum[d] ?? 0) + x * wordsOf(part).length;
    });
  assert.ok(isNear(long, unit(sum)), String(long));
});

test('models that want words before the text get them', async () => {
  for (const [name, query, document] of [
    ['intfloat e5-small-v2', 'query: a', 'passage: a'],
    ['Multilingual E5 Small', 'query: a', 'passage: a'],
    ['nomic-embed-text-v1.5', 'search_query: a', 'search_document: a'],
    ['bge-small-en-v1.5', 'Represent this sentence for searching relevant passages: a', 'a'],
    ['all-MiniLM-L6-v2', 'a', 'a'],
    ['base500', 'a', 'a'],
  ] as const) {
    const { engine, embedded } = fakeEngine({ ...EMBEDDER, name });
    await embed(engine, 'a', { as: 'query' });
    await embed(engine, 'a', { as: 'document' });
    await embed(engine, 'a');
    assert.deepEqual(embedded.flat(), [query, document, 'a']);
  }
});

async function someIndex(options: FakeOptions = {}) {
  const fake = fakeEngine({ ...EMBEDDER, contextLength: 40, ...options });
  const index = SearchIndex.create(fake.engine, { metadata: { of: 'notes' } });
  const long = `${'There is nothing of note. '.repeat(10)}At the end a bird sings. ${'It goes on for some time. '.repeat(8)}The fish swims.`;
  await index.add([
    { id: 'c', text: 'My cat sleeps.', data: { page: 1 } },
    { id: 'd', text: 'The dog barks.' },
    { id: 'l', text: long },
  ]);
  return { ...fake, index, long };
}

test('documents are found by what they mean, long ones by a passage', async () => {
  const { index, long } = await someIndex();
  assert.equal(index.size, 3);
  const [cat, ...rest] = await index.search('a cat');
  assert.deepEqual(cat, {
    id: 'c',
    score: cat?.score,
    text: 'My cat sleeps.',
    data: { page: 1 },
    passage: { start: 0, end: 14, text: 'My cat sleeps.' },
  });
  assert.equal(rest.length, 2);
  const [bird] = await index.search('a bird', { top: 1 });
  assert.equal(bird?.id, 'l');
  assert.ok(bird?.passage.text.includes('bird sings') && bird.passage.text.length < long.length);
  assert.equal(long.slice(bird?.passage.start, bird?.passage.end), bird?.passage.text);
  assert.deepEqual(
    (await index.search('a cat', { minScore: 0.9 })).map(({ id }) => id),
    ['c'],
  );
  assert.deepEqual(await SearchIndex.create(fakeEngine(EMBEDDER).engine).search('a'), []);
});

test('a passage is short, however long the context is', async () => {
  const { engine, embedded } = fakeEngine({ ...EMBEDDER, contextLength: 2048 });
  const index = SearchIndex.create(engine);
  await index.add([{ text: 'These are five words here. '.repeat(120) }]);
  assert.deepEqual(
    embedded.flat().map((text) => wordsOf(text).length),
    [200, 200, 200],
  );
});

test('documents come, go and are replaced', async () => {
  const { index } = await someIndex();
  assert.deepEqual([index.remove('d'), index.remove('d'), index.size], [true, false, 2]);
  assert.ok(!(await index.search('a dog')).some(({ id }) => id === 'd'));
  const [id] = await index.add([{ text: 'No id' }]);
  assert.ok(id && id.length >= 16 && index.ids.includes(id));
  await index.add([{ id: 'c', text: 'Now a dog.', data: 1 }]);
  assert.deepEqual([index.get('c'), index.get('d')], [{ id: 'c', text: 'Now a dog.', data: 1 }, undefined]);
  assert.equal(index.size, 3);
  assert.deepEqual((await index.search('a dog'))[0]?.text, 'Now a dog.');
});

test('after an abort, or what is no document, an index is what it was', async () => {
  let n_calls = 0;
  const abort = new AbortController();
  const { engine } = fakeEngine({
    ...EMBEDDER,
    onCall: () => {
      if (++n_calls === 2) abort.abort(new Error('enough'));
    },
  });
  const index = SearchIndex.create(engine);
  const many = Array.from({ length: 100 }, (_, i) => ({ text: `text ${i}` }));
  await assert.rejects(index.add(many, { signal: abort.signal }), /enough/);
  assert.equal(index.size, 0);
  const add = (documents: unknown) => index.add(documents as { text: string }[]);
  for (const wrong of [
    'a',
    [null],
    [{}],
    [{ text: 1 }],
    [{ text: 'a', id: 1 }],
    [{ text: 'a', data: 1n }],
    [{ text: 'a', data: () => 1 }],
  ])
    await assert.rejects(add(wrong), TypeError);
  await assert.rejects(index.search(' '), RangeError);
  await assert.rejects(index.search('a', { minScore: '1' as unknown as number }), TypeError);
  assert.equal(index.size, 0);
});

test('a saved index is the same when it is read', async () => {
  const { index, engine } = await someIndex();
  const bytes = index.toBytes();
  // At any place of a larger buffer.
  const shifted = new Uint8Array(bytes.length + 3).subarray(3);
  shifted.set(bytes);
  for (const source of [bytes, shifted]) {
    const read = SearchIndex.fromBytes(engine, source);
    assert.deepEqual([read.size, read.metadata, read.ids], [3, { of: 'notes' }, ['c', 'd', 'l']]);
    for (const query of ['a cat', 'a bird', 'some fish'])
      assert.deepEqual(await read.search(query), await index.search(query));
    assert.deepEqual(read.toBytes(), bytes);
    read.remove('c');
    await read.add([{ id: 'n', text: 'new' }]);
    assert.equal(read.size, 3);
  }
  const empty = SearchIndex.create(engine);
  assert.equal(SearchIndex.fromBytes(engine, empty.toBytes()).size, 0);
});

test('an index belongs to its model', async () => {
  const { index } = await someIndex();
  const bytes = index.toBytes();
  const other = fakeEngine({ ...EMBEDDER, name: 'other' });
  assert.throws(
    () => SearchIndex.fromBytes(other.engine, bytes),
    format(/made by mini \(4 numbers\), not by other \(4\)/),
  );
  const isUnsupported = (error: unknown) => error instanceof KingletError && error.code === 'E_UNSUPPORTED_TASK';
  assert.throws(() => SearchIndex.fromBytes(fakeEngine().engine, bytes), isUnsupported);
  assert.throws(() => SearchIndex.create(fakeEngine().engine), isUnsupported);
});

test('bytes that are no index are refused in words, wherever they are wrong', async () => {
  const { index, engine } = await someIndex();
  const bytes = index.toBytes();
  const read = (source: Uint8Array) => SearchIndex.fromBytes(engine, source);
  for (let n = 0; n < bytes.length; n++) assert.throws(() => read(bytes.subarray(0, n)), format(/./));
  for (let at = 0; at < bytes.length; at++) {
    const wrong = bytes.slice();
    wrong[at] = (wrong[at] ?? 0) ^ (1 << (at % 8));
    assert.throws(() => read(wrong), format(/./), `byte ${at}`);
  }
  assert.throws(() => read(Uint8Array.from([...bytes, 0])), format(/checksum/));
  assert.throws(() => read(new Uint8Array()), format(/does not begin/));
  assert.throws(() => read('a' as unknown as Uint8Array), TypeError);
  const later = bytes.slice();
  later[7] = 2;
  assert.throws(() => read(later), format(/version 2/));
});

test('… also where the checksum is right', async () => {
  const { index, engine } = await someIndex();
  const bytes = index.toBytes();
  const header = JSON.parse(
    new TextDecoder().decode(bytes.subarray(16, 16 + new DataView(bytes.buffer).getUint32(8, true))),
  );
  const vectors = bytes.subarray(
    bytes.length - 4 * 4 * header.documents.flatMap((d: { passages: [] }) => d.passages).length,
  );
  const rebuilt = (text: string, rest: Uint8Array = vectors): Uint8Array => {
    const head = new TextEncoder().encode(text.padEnd(Math.ceil(text.length / 4) * 4));
    const all = new Uint8Array(16 + head.length + rest.length);
    all.set(bytes.subarray(0, 8));
    all.set(head, 16);
    all.set(rest, 16 + head.length);
    new DataView(all.buffer).setUint32(8, head.length, true);
    new DataView(all.buffer).setUint32(12, crc32(all.subarray(16)), true);
    return all;
  };
  const read = (source: Uint8Array) => SearchIndex.fromBytes(engine, source);
  assert.equal(read(rebuilt(JSON.stringify(header))).size, 3);
  const [first, ...others] = header.documents;
  for (const [changed, pattern] of [
    ['[1', /no JSON/],
    ['[]', /the header is no object/],
    [{ ...header, model: 7 }, /no model/],
    [{ ...header, dimension: 0 }, /no dimension/],
    [{ ...header, dimension: 1e9 }, /bytes of vectors/],
    [{ ...header, documents: {} }, /no documents/],
    [{ ...header, documents: [null, ...others] }, /document 0 is no object/],
    [{ ...header, documents: [{ ...first, text: null }, ...others] }, /no text/],
    [{ ...header, documents: [{ ...first, id: 'd' }, ...others] }, /two documents/],
    [{ ...header, documents: [{ ...first, passages: 1 }, ...others] }, /no passages/],
    [{ ...header, documents: [{ ...first, passages: [{ start: 0, end: 99 }] }, ...others] }, /not within/],
    [{ ...header, documents: [{ ...first, passages: [{ start: 2, end: 1 }] }, ...others] }, /not within/],
    [{ ...header, documents: others }, /bytes of vectors/],
  ] as const)
    assert.throws(
      () => read(rebuilt(typeof changed === 'string' ? changed : JSON.stringify(changed))),
      format(pattern),
      String(pattern),
    );
  const infinite = vectors.slice();
  new DataView(infinite.buffer).setFloat32(8, Infinity, true);
  assert.throws(() => read(rebuilt(JSON.stringify(header), infinite)), format(/finite/));
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926, "the CRC catalogue's check value");
});
