import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryBudget } from '../src/budget.js';
import { KingletError } from '../src/errors.js';
import { checkLoad } from '../src/params.js';
import type { LoadOptions } from '../src/types.js';

test('shares are taken and given back, once', () => {
  const budget = new MemoryBudget(100);
  const a = budget.reserve('a', 60);
  const b = budget.reserve('b', 40);
  assert.deepEqual(budget.shares, [
    { name: 'a', bytes: 60 },
    { name: 'b', bytes: 40 },
  ]);
  assert.equal(budget.usedBytes, 100);
  a();
  a();
  assert.deepEqual([budget.usedBytes, budget.shares.length], [40, 1]);
  budget.reserve('a', 0);
  b();
  assert.equal(budget.usedBytes, 0);
  budget.shares.push({ name: 'x', bytes: 1 });
  assert.equal(budget.shares.length, 1, 'the list is a copy');
});

test('what is more than is left is refused, and says who has the rest', () => {
  const budget = new MemoryBudget(100);
  budget.reserve('a', 60);
  budget.reserve('b', 15);
  for (const bytes of [26, 1e12, NaN]) {
    assert.throws(
      () => budget.reserve('c', bytes),
      (error: unknown) => {
        assert.ok(error instanceof KingletError);
        assert.equal(error.code, 'E_MEMORY');
        assert.equal(error.message, `c needs ${bytes} bytes, and 25 of the budget's 100 are left (a 60, b 15)`);
        const shares = [
          { name: 'a', bytes: 60 },
          { name: 'b', bytes: 15 },
        ];
        assert.deepEqual(error.details, { neededBytes: bytes, budgetBytes: 100, usedBytes: 75, shares });
        return true;
      },
    );
  }
  assert.equal(budget.usedBytes, 75);
  budget.reserve('c', 25);
  assert.throws(() => new MemoryBudget(0).reserve('d', 1), /are left \(unused\)$/);
});

test('budgets and options that are none', () => {
  for (const bytes of [-1, NaN]) assert.throws(() => new MemoryBudget(bytes), RangeError);
  assert.throws(() => new MemoryBudget('1' as unknown as number), TypeError);
  for (const budget of [{}, 1e9, null]) assert.throws(() => checkLoad({ budget } as LoadOptions), TypeError);
  checkLoad({ budget: new MemoryBudget(Infinity) });
});
