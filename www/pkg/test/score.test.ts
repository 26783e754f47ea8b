import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { score } from '../src/score.js';
import { type ContinuationInput, tokenizeItems } from '../src/score-tokens.js';
import type { Continuation, ScoreOptions } from '../src/types.js';
import { FakeEngine, loadFake } from './fake.js';

const ids = (text: string): number[] => Array.from(text, (unit) => unit.charCodeAt(0));

test('the sum, the tokens, and what is greedy; items in order', async () => {
  const { core, engine } = await loadFake();
  const items = [
    [
      { context: 'ab', continuation: 'cd' },
      { context: 'ab', continuation: 'f' },
    ],
    [{ context: [1, 2], continuation: [4, 6] }],
  ];
  const seen: number[] = [];
  const progress: number[] = [];
  const scores = await score(core, items, {
    onItem: (index, scores) => seen.push(index, scores.length),
    onProgress: ({ done, total }) => progress.push(done, total),
  });
  assert.deepEqual(scores[0]?.[0], {
    logprob: -19.9,
    token_logprobs: [-9.9, -10],
    token_ids: ids('cd'),
    is_greedy: false,
  });
  assert.deepEqual(scores[0]?.[1], { logprob: -10.2, token_logprobs: [-10.2], token_ids: ids('f'), is_greedy: true });
  assert.deepEqual(scores[1]?.[0]?.token_ids, [4, 6]);
  assert.deepEqual(
    [seen, progress],
    [
      [1, 1, 0, 2],
      [1, 2, 2, 2],
    ],
  );
  assert.deepEqual(
    engine.scorings[0]?.groups.map(({ spans }) => spans.map(({ tokens, first }) => [tokens.length, first])),
    [
      [
        [4, 2],
        [3, 2],
      ],
      [[4, 2]],
    ],
  );
});

/** An engine with tokens at the ends, and one for `xy`. */
class Odd extends FakeEngine {
  readonly #around: [number[], number[]];
  readonly #bos: string;
  constructor(around: [number[], number[]], bos = '') {
    super();
    this.#around = around;
    this.#bos = bos;
  }
  override tokenize(text: string, addSpecial: boolean): Uint32Array {
    const [begin, end] = addSpecial ? this.#around : [[], []];
    const plain =
      text === '<s>' ? [1] : (text.match(/xy|./gs) ?? []).map((piece) => (piece === 'xy' ? 500 : piece.charCodeAt(0)));
    return Uint32Array.from([...begin, ...plain, ...end]);
  }
  override template() {
    return { ...super.template(), bosToken: this.#bos };
  }
}

const spanOf = (engine: FakeEngine, one: ContinuationInput) => {
  const span = tokenizeItems(engine, [[one]]).request.groups[0]?.spans[0];
  return span && [Array.from(span.tokens.subarray(0, span.first)), Array.from(span.tokens.subarray(span.first))];
};

test('tokens as lm-evaluation-harness makes them', () => {
  const plain = new Odd([[], []], '<s>');
  assert.deepEqual(spanOf(plain, { context: 'a ', continuation: 'b' }), [ids('a'), ids(' b')], 'spaces go over');
  assert.deepEqual(
    spanOf(plain, { context: 'ax', continuation: 'yb' }),
    [[97, 500], ids('b')],
    'by the number of tokens',
  );
  assert.deepEqual(spanOf(plain, { context: 'x', continuation: 'y' }), [ids('x'), ids('y')], 'a border within a token');
  assert.deepEqual(spanOf(plain, { context: '', continuation: 'b' }), [[1], ids('b')], 'nothing before: BOS');
  assert.deepEqual(spanOf(plain, { context: ' ', continuation: 'b' }), [[1], ids(' b')]);
  assert.deepEqual(spanOf(plain, { context: 'a', continuation: Uint32Array.of(9) }), [ids('a'), [9]]);
  assert.deepEqual(spanOf(plain, { context: new Uint32Array(), continuation: 'b' }), [[1], ids('b')]);
  const begins = new Odd([[1], []]);
  assert.deepEqual(spanOf(begins, { context: 'a', continuation: 'b' }), [[1, ...ids('a')], ids('b')]);
  assert.deepEqual(spanOf(begins, { context: '', continuation: 'b' }), [[1], ids('b')]);
  const both = new Odd([[1], [1]]);
  assert.deepEqual(
    spanOf(both, { context: 'a', continuation: 'b' }),
    [[1, ...ids('a')], ids('b')],
    'it goes on: no end',
  );
  const ends = new Odd([[], [2]], '<s>');
  assert.deepEqual(spanOf(ends, { context: 'a', continuation: 'b' }), [ids('a'), ids('b')]);
  assert.throws(() => spanOf(new Odd([[], []]), { context: '', continuation: 'b' }), { code: 'E_UNSUPPORTED_TASK' });
});

test('an encoder-decoder reads one context for the continuations of an item', () => {
  const engine = new (class extends Odd {
    override info() {
      return { ...super.info(), tasks: ['generate' as const, 'remember' as const] };
    }
  })([[], [2]]);
  const { request } = tokenizeItems(engine, [['b', 'c'].map((continuation) => ({ context: 'a', continuation }))]);
  assert.deepEqual(Array.from(request.groups[0]?.source ?? []), [...ids('a'), 2]);
  assert.deepEqual(
    request.groups[0]?.spans.map(({ tokens, first }) => [...tokens, first]),
    [
      [...ids('b'), 2, 0],
      [...ids('c'), 2, 0],
    ],
  );
  const two = ['a', 'b'].map((context) => ({ context, continuation: 'c' }));
  assert.throws(() => tokenizeItems(engine, [two]), { code: 'E_UNSUPPORTED_TASK', message: /several contexts/ });
});

test('what is wrong is refused before any work', async () => {
  const { core, engine } = await loadFake();
  const good = { context: 'a', continuation: 'b' };
  const cases: [unknown, object, typeof TypeError, RegExp][] = [
    ['a', {}, TypeError, /items must be a list/],
    [[], {}, RangeError, /items has 0 entries/],
    [[[]], {}, RangeError, /items\[0\] has 0 entries/],
    [[good], {}, TypeError, /items\[0\] must be a list/],
    [[[{ context: 'a' }]], {}, TypeError, /items\[0\]\[0\]\.continuation must be/],
    [[[{ context: 1, continuation: 'b' }]], {}, TypeError, /context must be/],
    [[[{ context: 'a', continuation: '' }]], {}, RangeError, /continuation is empty/],
    [[[{ context: [65_536], continuation: 'b' }]], {}, RangeError, /context\[0\] is 65536/],
    [Array.from({ length: 4097 }, () => [good]), {}, RangeError, /4097 entries/],
    [[[good]], { onItem: 1 }, TypeError, /onItem must be a function/],
  ];
  for (const [items, options, kind, message] of cases) {
    await assert.rejects(score(core, items as Continuation[][], options as ScoreOptions), (error) => {
      return error instanceof kind && message.test(error.message);
    });
  }
  await assert.rejects(score(core, [[good]], { top: 1 } as ScoreOptions), { code: 'E_UNSUPPORTED_FEATURE' });
  assert.equal(engine.scorings.length, 0);
  const encoder = await loadFake({ tasks: ['embed'] });
  await assert.rejects(score(encoder.core, [[good]]), { code: 'E_UNSUPPORTED_TASK' });
});

test('an abort and a callback that throws end the call; the next one works', async () => {
  const { core, engine } = await loadFake();
  const items = Array.from({ length: 4000 }, () => [{ context: 'a', continuation: 'b' }]);
  const controller = new AbortController();
  const reason = new Error('enough');
  const onItem = (): void => controller.abort(reason);
  await assert.rejects(score(core, items, { signal: controller.signal, onItem }), (error) => error === reason);
  const own = new Error('mine');
  const onProgress = (): void => {
    throw own;
  };
  await assert.rejects(score(core, items, { onProgress }), (error) => error === own);
  assert.equal((await score(core, items)).length, 4000);
  assert.equal(engine.cancels, 2);
  engine.faults.startThrows = { code: 'E_CONTEXT_OVERFLOW', message: 'long', details: {} };
  await assert.rejects(
    score(core, items),
    (error) => error instanceof KingletError && error.code === 'E_CONTEXT_OVERFLOW',
  );
});
