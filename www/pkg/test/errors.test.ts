import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';

test("an error of another bundle's copy of the class is an instance too", async () => {
  const copy = (await import(`../src/errors.js?copy=${process.pid}`)) as typeof import('../src/errors.js');
  assert.notEqual(copy.KingletError, KingletError);
  const error = new copy.KingletError('E_RANGE', 'no');
  assert.ok(error instanceof KingletError && error instanceof Error && error.code === 'E_RANGE');
  assert.ok(new KingletError('E_RANGE', 'no') instanceof copy.KingletError);
});

test('nothing else is one', () => {
  class Special extends KingletError {}
  assert.ok(new Special('E_RANGE', 'no') instanceof KingletError);
  assert.ok(new Special('E_RANGE', 'no') instanceof Special);
  assert.ok(!(new KingletError('E_RANGE', 'no') instanceof Special));
  for (const other of [new Error('E_RANGE'), new TypeError('x'), { code: 'E_RANGE' }, null, undefined, 'E_RANGE', 7])
    assert.ok(!((other as unknown) instanceof KingletError));
});
