// Where two answers part, in words.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parting } from '../dist/compare/words.js';

test('where two answers part', () => {
  assert.equal(parting('', 'a'), '');
  assert.equal(parting('A bird.', 'A bird.'), 'Both answers are the same.');
  assert.equal(parting('A bird', 'A bird sings'), 'B says the same, and goes on.');
  assert.equal(parting('A bird sings', 'A bird'), 'A says the same, and goes on.');
  assert.equal(parting('Yes', 'No'), 'The answers differ from the first word.');
  assert.equal(parting('Yesterday', 'Yes, it was'), 'The answers differ from the first word.');
  assert.equal(parting('A small bird', 'A small bee'), 'The answers part behind “A small”.');
  const long = 'one two three four five six seven eight nine ten eleven twelve ';
  assert.equal(parting(`${long}a`, `${long}b`), 'The answers part behind “…six seven eight nine ten eleven twelve”.');
});
