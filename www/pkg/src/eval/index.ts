// `import { readBenchmark, evaluate } from 'kinglet/eval'`: published benchmarks from their own files, by log-likelihood, with the
// conventions of lm-evaluation-harness. Needs a loaded model only to evaluate; loads nothing itself.

export { compare } from './compare.js';
export { metricsOf } from './metrics.js';
export { readBenchmark } from './read.js';
export { type ReportFacts, reportFromJson, reportOf, reportToJson } from './report.js';
export { evaluate } from './run.js';
export { KingletError } from '../errors.js';
export type * from './types.js';
