// A sheet for bug reports: what this browser offers, what runs and why, what was checked, what went wrong last. It holds nothing of the
// conversations, and is sent nowhere: the visitor reads it, copies it, and decides.
import type { Info } from 'kinglet';
import type { Loading } from './loader.js';
import { bytes, count, type PlainError } from './words.js';

export interface DiagnosticFacts {
  /** The model that is loaded, and what the page calls it. */
  info: Info | undefined;
  name: string;
  /** The last time that a model was loaded, or should have been. */
  loading: Loading | undefined;
  /** The figures of the last answer. */
  figures: string;
  /** The last fault of an answer. */
  fault: PlainError | undefined;
  storage: { isKept: boolean; reason?: unknown };
}

type Section = [title: string, rows: [name: string, value: string | undefined][]];

/** The report as text: a line for each fact. */
export async function report(facts: DiagnosticFacts): Promise<string> {
  const sections: Section[] = [
    ['Browser', await browserRows()],
    ['WebGPU', await gpuRows()],
    ['Storage', await storageRows(facts.storage)],
    ['Model', facts.info ? modelRows(facts.info, facts.name) : [['Loaded', 'none']]],
    ['Loading', loadingRows(facts)],
    ['Last answer', answerRows(facts)],
  ];
  const lines = sections.flatMap(([title, rows]) => [
    '',
    title,
    ...rows.flatMap(([name, value]) => (value === undefined ? [] : [`  ${name}: ${value}`])),
  ]);
  return [`kinglet, ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`, ...lines].join('\n');
}

const yes = (is: boolean): string => (is ? 'yes' : 'no');

async function browserRows(): Promise<Section[1]> {
  const { deviceMemory } = navigator as Navigator & { deviceMemory?: number };
  return [
    ['User agent', navigator.userAgent],
    ['Logical cores', String(navigator.hardwareConcurrency)],
    ['Memory of the machine', deviceMemory === undefined ? 'not told' : `${deviceMemory} GB, as the browser rounds it`],
    ['Secure context', yes(isSecureContext)],
    ['Cross-origin isolated', yes(crossOriginIsolated)],
    ['SharedArrayBuffer', yes(typeof SharedArrayBuffer === 'function')],
    ['Screen', `${innerWidth} × ${innerHeight} at ${devicePixelRatio}`],
  ];
}

/** What of WebGPU's interface is read here. */
interface Adapter {
  info?: Record<string, string | undefined>;
  features: Iterable<string>;
  limits: Record<string, number>;
}

const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
];

async function gpuRows(): Promise<Section[1]> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  if (!gpu) return [['Offered', 'no']];
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) return [['Offered', 'yes, but there is no adapter']];
  const { info = {}, features, limits } = adapter;
  const named = ['vendor', 'architecture', 'device', 'description'].map((key) => info[key]).filter(Boolean);
  return [
    ['Adapter', named.join(' · ') || 'not told'],
    ['Features', [...features].sort().join(', ') || 'none'],
    ['Limits', LIMITS.map((name) => `${name} ${limits[name]}`).join(', ')],
  ];
}

async function storageRows({ isKept, reason }: DiagnosticFacts['storage']): Promise<Section[1]> {
  const estimate = await navigator.storage?.estimate?.().catch(() => undefined);
  const { usage, quota } = estimate ?? {};
  return [
    ['Conversations are kept', isKept ? 'yes' : `no: ${reason instanceof Error ? reason.message : String(reason)}`],
    ['In use', usage === undefined || quota === undefined ? 'not told' : `${bytes(usage)} of ${bytes(quota)}`],
  ];
}

function modelRows({ device, memory, template, ...info }: Info, name: string): Section[1] {
  return [
    ['Name', name],
    ['Architecture', info.architecture],
    ['Weights', `${count(info.parameters)}, ${info.quantization}, ${count(info.fileBytes)} bytes`],
    ['Context', `${count(info.contextLength)} tokens`],
    ['Tasks', info.tasks.join(', ')],
    ['Chat template', `${info.chatTemplate}${template.sha256 ? `, SHA-256 ${template.sha256}` : ''}`],
    ['Build', info.build],
    ['Runs on', device.kind === 'webgpu' ? `GPU: ${device.adapter}${device.software ? ' (software)' : ''}` : 'CPU'],
    ['Threads', device.kind === 'cpu' ? `${device.threads}, ${device.simd}` : undefined],
    ['Kernels', device.features?.join(', ')],
    ['Why', device.reason],
    [
      'Memory',
      Object.entries(memory)
        .map(([key, size]) => `${key} ${count(size)}`)
        .join(', '),
    ],
    ['Notices', info.notices.join(' ') || 'none'],
  ];
}

function loadingRows({ loading, info }: DiagnosticFacts): Section[1] {
  if (!loading) return [['Tried', 'no']];
  const { device, phases, error } = loading;
  const checked = phases.some(({ phase }) => phase === 'check');
  const runsOnGpu = info?.device.kind === 'webgpu';
  return [
    ['Asked for', device],
    ['Phases', phases.map(({ phase, afterMs }) => `${phase} after ${Math.round(afterMs)} ms`).join(', ')],
    [
      'Self-check of the GPU',
      runsOnGpu ? 'passed' : checked ? 'was begun; see why the GPU is not used' : 'not run: no GPU was used',
    ],
    ['Error', error && `${error.code}: ${error.detail}`],
  ];
}

const answerRows = ({ figures, fault }: DiagnosticFacts): Section[1] => [
  ['Figures', figures || 'none'],
  ['Error', fault && `${fault.code}: ${fault.detail}`],
];
