// Reads files in a worker of its own: a published benchmark has thousands of items, and the page is not to stand still meanwhile.
import { type Benchmark, readBenchmark, type Report, reportFromJson } from 'kinglet/eval';

export interface ReadRequest {
  id: number;
  fileName: string;
  bytes: ArrayBuffer;
}

export type ReadAnswer = { id: number } & (
  | { kind: 'benchmark'; benchmark: Benchmark }
  | { kind: 'report'; report: Report }
  | { kind: 'failed'; code: string; message: string }
);

interface Scope {
  onmessage: (event: MessageEvent<ReadRequest>) => void;
  postMessage(answer: ReadAnswer): void;
}
const scope = globalThis as unknown as Scope;

/** How our reports begin; no benchmark does. */
const REPORT = /^\s*\{\s*"version"\s*:\s*\d+\s*,\s*"benchmark"/;
const HEAD_BYTES = 200;

scope.onmessage = ({ data: { id, fileName, bytes } }) => {
  try {
    const isReport = REPORT.test(new TextDecoder().decode(bytes.slice(0, HEAD_BYTES)));
    if (isReport) scope.postMessage({ id, kind: 'report', report: reportFromJson(new TextDecoder().decode(bytes)) });
    else scope.postMessage({ id, kind: 'benchmark', benchmark: readBenchmark(bytes, { fileName }) });
  } catch (error) {
    const { code = 'Error', message } = error as { code?: string; message: string };
    scope.postMessage({ id, kind: 'failed', code, message });
  }
};
