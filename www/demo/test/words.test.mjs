// Numbers and errors in plain words.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, duration, modelName, parameters, plainError, progress } from '../dist/words.js';

test('sizes and times', () => {
  assert.deepEqual([0, 999, 12_345, 98_100_000, 3_200_000_000].map(bytes), [
    '0 B',
    '999 B',
    '12 kB',
    '98.1 MB',
    '3.20 GB',
  ]);
  assert.deepEqual([12, 2400, 180_000].map(duration), ['12 ms', '2.4 s', '3 min']);
  assert.deepEqual([260_000, 134_515_008, 1_100_000_000].map(parameters), ['260,000', '135 million', '1.1 billion']);
});

test('progress leaves out what is not known', () => {
  assert.equal(progress(49_000_000, 98_000_000, 14_000_000), '49.0 MB of 98.0 MB · 50 % · 14.0 MB/s · 3.5 s left');
  assert.equal(progress(49_000_000, undefined, 14_000_000), '49.0 MB · 14.0 MB/s');
  assert.equal(progress(0, 98_000_000, 0), '0 B of 98.0 MB · 0 %');
});

test('a model in parts has one name', () => {
  assert.equal(modelName(['bird.gguf']), 'bird.gguf');
  assert.equal(modelName(['bird-00002-of-00003.gguf']), 'bird, 3 parts');
  assert.equal(modelName(['tokenizer.json', 'bird-00002-of-00002.gguf', 'bird-00001-of-00002.gguf']), 'bird, 2 parts');
  assert.equal(modelName(['tokenizer.json', 'bird.gguf']), 'bird.gguf');
  assert.equal(modelName(['one.gguf', 'two.gguf']), 'one, 2 parts');
  assert.equal(modelName(['tokenizer.json']), 'tokenizer.json');
});

test('a checkpoint has the name of its folder', () => {
  assert.equal(modelName(['owl/tokenizer.json', 'owl/config.json', 'owl/1_Pooling/config.json']), 'owl');
  assert.equal(modelName(['README.md', 'model-00001-of-00002.safetensors', 'config.json']), 'a checkpoint');
  assert.equal(modelName(['/models/owl/']), 'owl');
  assert.equal(modelName(['/birds/owl/resolve/main/']), 'owl');
  assert.equal(modelName(['/birds/owl/resolve/main/config.json']), 'owl');
});

test('a part alone is explained by what is missing', () => {
  const error = Object.assign(new Error('part 1 of 3'), { code: 'E_FILE_FORMAT', details: { parts: 3 } });
  assert.match(plainError(error).text, /comes in 3 files.*all of them together/);
});

test('an error is explained, and keeps its code and its own words', () => {
  const error = Object.assign(new Error('expected "GGUF"'), { code: 'E_FILE_FORMAT' });
  const { text, code, detail } = plainError(error);
  assert.match(text, /GGUF/);
  assert.deepEqual([code, detail], ['E_FILE_FORMAT', 'expected "GGUF"']);
  assert.equal(plainError('odd').detail, 'odd');
  assert.equal(plainError(new RangeError('top_k')).code, 'RangeError');
});
