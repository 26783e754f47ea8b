// Says what runs where and why: before loading what this browser allows, afterwards what the engine reports.
import type { Info } from 'kinglet';
import { el } from './dom.js';
import { bytes, count, parameters } from './words.js';

/** What a visitor should know at once, or nothing. */
export function noticeOf(info: Info): string {
  const { device } = info;
  const said: string[] = [];
  if (answersSingly(info))
    said.push(
      'This model answers each message by itself: it knows neither what was said before nor the system prompt. It was made for tasks such as “translate English to German: …” or “summarize: …”.',
    );
  if (device.software)
    said.push(
      `This GPU (${device.adapter}) is imitated in software: the results are right, but it is slow. The CPU is faster here.`,
    );
  return said.join(' ');
}

/** Whether each message is a task of its own: an encoder-decoder without a chat template. */
export const answersSingly = ({ tasks, template }: Pick<Info, 'tasks' | 'template'>): boolean =>
  tasks.includes('remember') && template.source !== 'file';

/** Why a model does not chat, where it does not. */
export const silence = ({ architecture, tasks }: Pick<Info, 'architecture' | 'tasks'>): string | undefined =>
  tasks.includes('generate')
    ? undefined
    : `It reads texts but writes none: a model of ${architecture} that can ${tasks.map((task) => DOES[task]).join(' and ')}.`;

const DOES: Record<Info['tasks'][number], string> = {
  generate: 'write',
  remember: 'read a text before it writes',
  embed: 'tell which texts are about the same',
  'fill-mask': 'fill in blanks',
  classify: 'put texts in classes',
  label: 'label words',
};

/** What a careful visitor would want to know about the file: one line, and more for those who open it. */
export function showNotes(place: HTMLElement, info: Info | undefined): void {
  const [first, ...others] = info?.notices.map(sentence) ?? [];
  if (!info || first === undefined) return place.replaceChildren();
  const { source, known, sha256 } = info.template;
  const more = others.map((note) => el('p', {}, note));
  if (source === 'file' && !known) {
    const about =
      'A chat template is a small program in the model’s file. It writes what the model reads: your messages, and whatever else its author wants it to be told. Most files bring a harmless one; trust it as far as you trust where the file comes from.';
    more.push(el('p', {}, about), el('p', { class: 'hash' }, `SHA-256 ${sha256}`));
  }
  place.replaceChildren(
    more.length > 0
      ? el('details', { class: 'notice' }, el('summary', {}, first), ...more)
      : el('p', { class: 'notice' }, first),
  );
}

/** One line for the first screen, from what the browser itself tells. */
export function machineLine(): string {
  const cores = navigator.hardwareConcurrency;
  const cpu = cores === 1 ? 'one processor core' : `${cores} processor cores`;
  const offers = `This browser offers ${cpu} and ${'gpu' in navigator ? '' : 'no '}WebGPU`;
  const oneThread = 'so on the CPU the model gets one thread and is slower';
  if (!crossOriginIsolated) return `${offers}; the page is not cross-origin isolated, ${oneThread}.`;
  return typeof SharedArrayBuffer === 'function'
    ? `${offers}; the page is isolated, so on the CPU the model may use several threads.`
    : `${offers}; the page is isolated, but threads get no shared memory, ${oneThread}.`;
}

export function showFacts(list: HTMLElement, reason: HTMLElement, info: Info): void {
  reason.textContent = sentence(info.device.reason);
  list.replaceChildren(...facts(info).flatMap(([term, fact]) => [el('dt', {}, term), el('dd', {}, fact)]));
}

function facts({ device, memory, ...info }: Info): [string, string][] {
  const rows: [string, string][] = [
    ...(device.kind === 'webgpu' ? gpuFacts(device) : cpuFacts(device)),
    ['Name in the file', info.name || 'none'],
    ['Weights', `${parameters(info.parameters)}, ${info.quantization}`],
    ['File', bytes(info.fileBytes)],
    ['Context', `${count(info.contextLength)} tokens`],
    ...(info.tasks.includes('generate') ? [['Chat template', templateFact(info)] as [string, string]] : []),
  ];
  for (const [name, size] of Object.entries(memory)) rows.push([MEMORY[name] ?? name, bytes(size)]);
  rows.push(['Build', info.build]);
  return rows;
}

function templateFact(info: Pick<Info, 'chatTemplate' | 'tasks' | 'template'>): string {
  const { chatTemplate, template } = info;
  const { known, name } = template;
  if (answersSingly(info)) return 'none';
  if (chatTemplate === 'chatml') return 'ChatML (the file has none)';
  if (chatTemplate === 'plain') return 'a plain transcript (the file has none)';
  if (known) return 'the model’s own';
  return name === undefined ? 'the file’s own, not a known one' : `that of ${name}, not this model’s`;
}

const cpuFacts = ({ threads, simd }: Info['device']): [string, string][] => [
  ['Runs on', 'CPU'],
  ['Threads', count(threads)],
  ['Instructions', simd === 'relaxed' ? 'relaxed SIMD' : '128-bit SIMD'],
  ['Isolated page', crossOriginIsolated ? 'yes' : 'no'],
];

const gpuFacts = ({ adapter = '', software, features = [] }: Info['device']): [string, string][] => [
  ['Runs on', 'GPU, by WebGPU'],
  ['Adapter', `${adapter}${software ? ' (software)' : ''}`],
  ['Kernels', features.join(', ') || 'without extras'],
];

const MEMORY: Record<string, string> = {
  weightsBytes: 'Weights in memory',
  kvBytes: 'Attention’s memory',
  buffersBytes: 'Work space',
};

const sentence = (text: string): string =>
  text ? `${text[0]?.toUpperCase()}${text.slice(1).replace(/\.?$/, '.')}` : '';
