// What a measurement of speed found, as JSON (docs/benchmarks.md has the format) and as text. No DOM.
import type { Info } from 'kinglet';
import type { Loading } from '../loader.js';
import { count, duration } from '../words.js';
import { type Case, fits, type Timing } from './measure.js';

/** Version 1. A field may be added; one that is changed or goes makes another version. */
export interface SpeedReport {
  format: 'kinglet-speed';
  version: 1;
  /** ISO 8601, UTC. */
  date: string;
  /** Version of the package and the binary that ran. */
  build: string;
  model: {
    /** What the page calls it. */
    name: string;
    architecture: string;
    parameters: number;
    quantization: string;
    file_bytes: number;
    context_tokens: number;
  };
  /** As `Info.device` says it. */
  device: Info['device'];
  browser: {
    user_agent: string;
    logical_cores: number;
    /** As the browser rounds it; null where it does not tell. */
    memory_gb: number | null;
    cross_origin_isolated: boolean;
  };
  /** How the model was loaded, once; `after_ms` from the beginning. The last phase is `ready`. */
  load: { from: 'address' | 'files'; ms: number; phases: { phase: string; after_ms: number }[] } | null;
  settings: { runs: number; speculation: 'off' };
  cases: CaseReport[];
  /** It was ended before all was measured. */
  stopped: boolean;
  /** The page was in the background meanwhile, where browsers may slow it down. */
  was_hidden: boolean;
}

export interface CaseReport extends Case {
  /** Every run; empty where the case was left out. */
  runs: Timing[];
  /** Of the runs' speeds; null where there are none, or none that lasted. */
  tokens_per_second: { median: number; min: number; max: number } | null;
  /** Why it was left out. */
  left_out: 'context' | 'stopped' | null;
}

export type BrowserFacts = SpeedReport['browser'];

/** What is known before anything is measured. */
export interface Circumstances {
  name: string;
  info: Info;
  browser: BrowserFacts;
  loading: Loading | undefined;
  runs: number;
  date: Date;
}

export function reportOf(
  { name, info, browser, loading, runs, date }: Circumstances,
  cases: CaseReport[],
  { stopped, wasHidden }: { stopped: boolean; wasHidden: boolean },
): SpeedReport {
  const { architecture, parameters, quantization, fileBytes, contextLength, device, build } = info;
  return {
    format: 'kinglet-speed',
    version: 1,
    date: date.toISOString(),
    build,
    model: { name, architecture, parameters, quantization, file_bytes: fileBytes, context_tokens: contextLength },
    device,
    browser,
    load: loadOf(loading),
    settings: { runs, speculation: 'off' },
    cases,
    stopped,
    was_hidden: wasHidden,
  };
}

function loadOf(loading: Loading | undefined): SpeedReport['load'] {
  const ready = loading?.phases.find(({ phase }) => phase === 'ready');
  if (!loading || !ready) return null;
  const phases = loading.phases.map(({ phase, afterMs }) => ({ phase, after_ms: afterMs }));
  return { from: loading.from, ms: ready.afterMs, phases };
}

/** A case with what its runs gave; one without runs does not fit, or was not come to. */
export function caseReport(one: Case, runs: Timing[], info: Pick<Info, 'contextLength' | 'tasks'>): CaseReport {
  const speeds = runs.filter(({ ms }) => ms > 0).map(({ tokens, ms }) => (1000 * tokens) / ms);
  const left_out = runs.length > 0 ? null : fits(one, info) ? 'stopped' : 'context';
  const tokens_per_second =
    speeds.length === 0 ? null : { median: median(speeds), min: Math.min(...speeds), max: Math.max(...speeds) };
  return { ...one, runs, tokens_per_second, left_out };
}

/** Of an even number of values, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [below = NaN, above = NaN] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? above : (below + above) / 2;
}

export const caseName = ({ measure, tokens, depth }: Case): string =>
  measure === 'prefill' ? `Reading ${count(tokens)} tokens` : `Writing ${count(tokens)} tokens behind ${count(depth)}`;

/** "425 tok/s", "9.3 tok/s". */
export const speedOf = (perSecond: number): string =>
  `${perSecond >= 100 ? count(Math.round(perSecond)) : perSecond.toFixed(1)} tok/s`;

/** "420 to 431 tok/s". */
export const rangeOf = ({ min, max }: { min: number; max: number }): string =>
  `${speedOf(min).replace(' tok/s', '')} to ${speedOf(max)}`;

/** Why there is no speed. */
export function whyNone({ left_out }: CaseReport, { model }: SpeedReport): string {
  if (left_out === 'context') return `does not fit: the context is ${count(model.context_tokens)} tokens`;
  return left_out === 'stopped' ? 'stopped before' : 'too fast to be timed';
}

/** What was measured and where: a term and what is said of it. */
export function circumstances({ model, device, browser, load, build }: SpeedReport): [string, string][] {
  const memory = browser.memory_gb === null ? '' : `, ${browser.memory_gb} GB of memory or more`;
  const rows: [string, string][] = [
    ['Model', `${model.name} (${model.architecture}, ${model.quantization})`],
    ['Device', device.kind === 'webgpu' ? `GPU: ${device.adapter}${device.software ? ' (software)' : ''}` : 'CPU'],
    ...(device.kind === 'cpu' ? [['Threads', `up to ${count(device.threads)}`] as [string, string]] : []),
    ['Why', device.reason],
    ['Browser', browserName(browser.user_agent)],
    ['Machine', `${count(browser.logical_cores)} logical cores${memory}`],
    ['Engine', build],
  ];
  if (load)
    rows.push(['Loading', `${duration(load.ms)}, ${load.from === 'files' ? 'from a file' : 'the transfer included'}`]);
  return rows;
}

/** "Firefox 153", "Chrome 156": the engine's name as most know it, with the system where that is told. */
export function browserName(userAgent: string): string {
  const found = /(Edg|OPR|Firefox|Chrome)\/(\d+)/.exec(userAgent.replace(/Chrome(?=.*(?:Edg|OPR)\/)/, ''));
  const names: Record<string, string> = { Edg: 'Edge', OPR: 'Opera' };
  const safari = /Version\/([\d.]+).*Safari/.exec(userAgent);
  const name = found ? `${names[found[1] ?? ''] ?? found[1]} ${found[2]}` : safari ? `Safari ${safari[1]}` : userAgent;
  const told = /\(([^)]*)\)/.exec(userAgent)?.[1]?.split(/; */) ?? [];
  const system = told.find((part) => /^Android|^Linux ./.test(part)) ?? told[0];
  return system && name !== userAgent ? `${name}, ${system}` : name;
}

/** For a message to somebody: Markdown that reads well as it is. */
export function textOf(report: SpeedReport): string {
  const rows = report.cases.map((one) => {
    const { tokens_per_second: speed } = one;
    return `| ${caseName(one)} | ${speed ? speedOf(speed.median) : whyNone(one, report)} | ${speed ? rangeOf(speed) : ''} |`;
  });
  const facts = circumstances(report).map(([term, fact]) => `* ${term}: ${fact}`);
  const head = `kinglet, ${report.date.slice(0, 10)}, medians of ${count(report.settings.runs)} runs${report.stopped ? ', stopped' : ''}`;
  return [head, '', ...facts, '', '| | median | lowest to highest |', '|---|---|---|', ...rows].join('\n');
}

/** "kinglet-speed SmolLM2 135M Instruct Q4_1 cpu.json", without what file systems do not take. */
export const speedFileName = ({ model, device }: SpeedReport): string =>
  `kinglet-speed ${model.name} ${model.quantization} ${device.kind}.json`.replace(/[^\w.\- ]+/g, '_');
