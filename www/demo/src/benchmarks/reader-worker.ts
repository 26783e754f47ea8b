// Reads files in a worker of its own: a published benchmark has thousands of items, and the page is not to stand still meanwhile.
import { type Benchmark, readBenchmark, type Report, reportFromJson } from 'kinglet/eval';

export interface ReadRequest {
  id: number;
  fileName: string;
  bytes: ArrayBuffer;
}

/** What a file was. */
export type Found = { kind: 'benchmark'; benchmark: Benchmark } | { kind: 'report'; report: Report };

/** `items` come first, in as many messages as they need; what was found follows without them. */
export type ReadAnswer = { id: number } & (
  Found | { kind: 'items'; items: readonly unknown[] } | { kind: 'failed'; code: string; message: string }
);

interface Scope {
  onmessage: (event: MessageEvent<ReadRequest>) => void;
  postMessage(answer: ReadAnswer): void;
}
const scope = globalThis as unknown as Scope;

/** How our reports begin; no benchmark does. */
const REPORT = /^\s*\{\s*"version"\s*:\s*\d+\s*,\s*"benchmark"/;
const HEAD_BYTES = 200;

/** The page takes a message apart in one task, which with twenty thousand items would last 60 ms. */
const N_ITEMS_AT_ONCE = 1000;

scope.onmessage = ({ data: { id, fileName, bytes } }) => {
  try {
    const isReport = REPORT.test(new TextDecoder().decode(bytes.slice(0, HEAD_BYTES)));
    if (isReport) {
      const report = reportFromJson(new TextDecoder().decode(bytes));
      scope.postMessage({ id, kind: 'report', report: { ...report, items: sendItems(id, report.items) } });
    } else {
      const benchmark = readBenchmark(bytes, { fileName });
      scope.postMessage({ id, kind: 'benchmark', benchmark: { ...benchmark, items: sendItems(id, benchmark.items) } });
    }
  } catch (error) {
    const { code = 'Error', message } = error as { code?: string; message: string };
    scope.postMessage({ id, kind: 'failed', code, message });
  }
};

function sendItems(id: number, items: readonly unknown[]): [] {
  for (let from = 0; from < items.length; from += N_ITEMS_AT_ONCE)
    scope.postMessage({ id, kind: 'items', items: items.slice(from, from + N_ITEMS_AT_ONCE) });
  return [];
}
