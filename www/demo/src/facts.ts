// Says what runs where and why: before loading what this browser allows, afterwards what the engine reports.
import type { Info } from 'kinglet';
import { el } from './dom.js';
import { bytes, count, parameters } from './words.js';

/** One line for the first screen, from what the browser itself tells. */
export function machineLine(): string {
  const cores = navigator.hardwareConcurrency;
  const cpu = cores === 1 ? 'one processor core' : `${cores} processor cores`;
  return crossOriginIsolated
    ? `This browser offers ${cpu}; the page is isolated, so the model may use several threads.`
    : `This browser offers ${cpu}; the page is not cross-origin isolated, so the model gets one thread and is slower.`;
}

export function showFacts(list: HTMLElement, reason: HTMLElement, info: Info): void {
  reason.textContent = sentence(info.device.reason);
  list.replaceChildren(...facts(info).flatMap(([term, fact]) => [el('dt', {}, term), el('dd', {}, fact)]));
}

function facts({ device, memory, ...info }: Info): [string, string][] {
  const rows: [string, string][] = [
    [
      'Runs on',
      device.kind === 'webgpu' ? `graphics processor${device.adapter ? `, ${device.adapter}` : ''}` : 'processor',
    ],
    ['Threads', count(device.threads)],
    ['Instructions', device.simd === 'relaxed' ? 'relaxed SIMD' : '128-bit SIMD'],
    ['Isolated page', crossOriginIsolated ? 'yes' : 'no'],
    ['Name in the file', info.name || 'none'],
    ['Weights', `${parameters(info.parameters)}, ${info.quantization}`],
    ['File', bytes(info.fileBytes)],
    ['Context', `${count(info.contextLength)} tokens`],
    ['Chat template', info.chatTemplate === 'file' ? 'the model’s own' : 'ChatML (the file has none)'],
  ];
  for (const [name, size] of Object.entries(memory)) rows.push([MEMORY[name] ?? name, bytes(size)]);
  rows.push(['Build', info.build]);
  return rows;
}

const MEMORY: Record<string, string> = {
  weightsBytes: 'Weights in memory',
  kvBytes: 'Attention’s memory',
  buffersBytes: 'Work space',
};

const sentence = (text: string): string =>
  text ? `${text[0]?.toUpperCase()}${text.slice(1).replace(/\.?$/, '.')}` : '';
