import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { whileWaiting } from '../src/waiting.js';

/** Chunks 0, 1, … after so many milliseconds each; notes that it was left. */
function arriving(delaysMs: number[]): { chunks: AsyncGenerator<number>; left: () => boolean } {
  let isLeft = false;
  async function* chunks(): AsyncGenerator<number> {
    try {
      for (const [i, ms] of delaysMs.entries()) {
        if (ms > 0) await sleep(ms);
        yield i;
      }
    } finally {
      isLeft = true;
    }
  }
  return { chunks: chunks(), left: () => isLeft };
}

test('every chunk comes, in order, and nothing is done where they come at once', async () => {
  const { chunks, left } = arriving([0, 0, 0]);
  const found = [];
  for await (const chunk of whileWaiting(chunks, () => assert.fail('there was no wait'))) found.push(chunk);
  assert.deepEqual(found, [0, 1, 2]);
  assert.ok(left());
});

test('a wait is used until the chunk is there, or nothing is left to do', async () => {
  const works: number[] = [];
  let n = 0;
  for await (const chunk of whileWaiting(arriving([40, 40]).chunks, () => (works.push(n), works.length < 3)))
    n = chunk + 1;
  assert.deepEqual(
    works.slice(0, 4),
    [0, 0, 0, 1],
    'the third said that there was nothing to do, the next wait asks again',
  );
});

test('what the work throws, what the chunks throw, and leaving: each ends both', async () => {
  const thrown = new Error('work');
  const slow = arriving([20, 0]);
  await assert.rejects(
    whileWaiting(slow.chunks, () => {
      throw thrown;
    }).next(),
    thrown,
  );
  await sleep(30);
  assert.ok(slow.left());

  async function* failing(): AsyncGenerator<number> {
    yield 0;
    throw thrown;
  }
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const chunk of whileWaiting(failing(), () => false)) seen.push(chunk);
  }, thrown);
  assert.deepEqual(seen, [0]);

  const many = arriving([0, 0]);
  for await (const chunk of whileWaiting(many.chunks, () => false)) if (chunk === 0) break;
  await sleep(0);
  assert.ok(many.left());
});
