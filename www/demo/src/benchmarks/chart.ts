// The bars of some reports, by our own SVG; what they are called is text beside it, so that a narrow page can cut it short. The table
// below says the same in words.
import type { Report } from 'kinglet/eval';
import { el } from '../dom.js';
import { accuracyText, chance, figureText, modelText } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const BAND = 22;
const AXIS = 40;

interface Bar {
  label: string;
  text: string;
  value: number;
  stderr: number;
}

interface Scale {
  max: number;
  ticks: number[];
  name(tick: number): string;
}

/** The reports are of one benchmark. Undefined where they have no figure. */
export function chartOf(reports: readonly Report[]): HTMLElement | undefined {
  const bars = reports.map(barOf).filter((bar) => bar !== undefined);
  const [first] = reports;
  if (!first || bars.length === 0) return undefined;
  const isAccuracy = first.metrics.accuracy !== undefined;
  const scale = isAccuracy ? SHARES : scaleOf(Math.max(...bars.map(({ value, stderr }) => value + stderr)));
  const what = isAccuracy ? 'Accuracy, higher is better' : 'Perplexity, lower is better';
  const label = `${what}: ${bars.map((bar) => `${bar.label} ${bar.text}`).join('; ')}`;
  const guess = chance(first);
  const rows = bars.flatMap((bar) => [
    el('p', {}, el('span', { class: 'name' }, bar.label), el('span', {}, bar.text)),
    bandOf(bar, guess, scale),
  ]);
  return el('div', { class: 'chart', role: 'img', 'aria-label': label }, ...rows, axisOf(guess, scale));
}

function barOf(report: Report): Bar | undefined {
  const { accuracy, perplexity } = report.metrics;
  const metric = accuracy ?? perplexity;
  if (!metric) return undefined;
  const text = accuracy ? accuracyText(accuracy) : figureText(perplexity);
  return { label: modelText(report), text, value: metric.value, stderr: metric.stderr ?? 0 };
}

/** Where a value is, in percent of the width: the gold lies a little within the band. */
const place = (value: number, { max }: Scale): number => 0.7 + (98.6 * Math.min(Math.max(value, 0), max)) / max;
const at = (value: number, scale: Scale): string => `${place(value, scale)}%`;

/** The crown stripe: gold within a dark band; the whisker is the standard error on either side. */
function bandOf({ value, stderr }: Bar, guess: number | undefined, scale: Scale): SVGElement {
  const middle = BAND / 2;
  const left = place(0, scale);
  const width = Math.max(1, place(value, scale) - left);
  const svg = node('svg', { width: '100%', height: BAND }, [
    node('rect', { class: 'band', width: '100%', height: BAND, rx: middle }),
    node('rect', { class: 'value', x: `${left}%`, y: 6, width: `${width}%`, height: BAND - 12, rx: (BAND - 12) / 2 }),
  ]);
  if (guess !== undefined)
    svg.append(node('line', { class: 'chance', x1: at(guess, scale), x2: at(guess, scale), y1: 0, y2: BAND }));
  if (stderr > 0) {
    const [from, to] = [at(value - stderr, scale), at(value + stderr, scale)];
    // Each line twice: light with dark edges is seen on gold and on the band.
    for (const layer of ['edge', 'whisker'])
      svg.append(
        node('line', { class: layer, x1: from, x2: to, y1: middle, y2: middle }),
        ...[from, to].map((x) => node('line', { class: layer, x1: x, x2: x, y1: middle - 5, y2: middle + 5 })),
      );
  }
  return svg;
}

function axisOf(guess: number | undefined, scale: Scale): SVGElement {
  const svg = node('svg', { width: '100%', height: guess === undefined ? AXIS / 2 : AXIS });
  for (const tick of scale.ticks) {
    const anchor = tick === 0 ? 'start' : tick === scale.max ? 'end' : 'middle';
    svg.append(node('text', { x: at(tick, scale), y: 14, 'text-anchor': anchor }, [scale.name(tick)]));
  }
  if (guess !== undefined)
    svg.append(node('text', { x: at(guess, scale), y: 32, 'text-anchor': 'middle' }, ['┊ guessing']));
  return svg;
}

const SHARES: Scale = { max: 1, ticks: [0, 0.25, 0.5, 0.75, 1], name: (tick) => `${100 * tick} %` };

/** From 0 to a round number at or above `most`. */
export function scaleOf(most: number): Scale {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1e-9)));
  const max = ([1, 2, 4, 5, 10].find((factor) => factor * power >= most) ?? 10) * power;
  return { max, ticks: [0, max / 4, max / 2, (3 * max) / 4, max], name: (tick) => String(Number(tick.toPrecision(3))) };
}

function node(
  tag: string,
  attributes: Record<string, string | number>,
  children: readonly (string | SVGElement)[] = [],
): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}
