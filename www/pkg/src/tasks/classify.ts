// classify: the labels that a head was trained for, or any labels without training: by a head for natural language inference, by how
// probable a model that writes finds each label after the text, or by embeddings.

import { softmax } from '../softmax.js';
import { checkNames, checkOptions, checkTexts } from './options.js';
import { dot, Embedder } from './embed.js';
import { inBatches, measureOf, type Passage, passagesOf, roomOf, withSignal } from './passages.js';
import { Progress } from './progress.js';
import { entailment, supported } from './support.js';
import type { Classified, ClassifyOptions, TaskEngine } from './types.js';

/** Passages, or pairs of one and a label, of a call of the engine. */
const BATCH = 16;
/** Of cosines, before they become probabilities: what sentence-transformers trains with. */
const COSINE_SCALE = 20;
const HYPOTHESIS = 'This text is about {}.';
const SEAM_TOKENS = 8;

/**
 * The labels of each text, the best first. Without `labels` they are those of the model's head. Other `labels` need no training:
 *
 * * a head for natural language inference says how well the text entails `template` with each label (Yin et al. 2019);
 * * a model that writes says how much more probable a label is after the text than without it (Holtzman et al. 2021, "Surface Form
 *   Competition"), which a label that is frequent anywhere does not win;
 * * a model of embeddings says how near each label, in `template`, is to the text.
 *
 * A text that does not fit the context is read in parts, whose scores are averaged by their tokens.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that can do none of these; RangeError for labels that its head does not have.
 */
export async function classify(
  engine: TaskEngine,
  texts: string | readonly string[],
  options: ClassifyOptions = {},
): Promise<Classified[]> {
  checkOptions('classify', options);
  supported(engine, 'classify');
  const list = checkTexts(texts);
  const judge = judgeOf(engine, options);
  const measure = measureOf(engine, options.signal);
  const limit = (await judge.room()) - SEAM_TOKENS;
  const passages = await passagesOf(list, limit, measure);
  const progress = new Progress(list.length, options.onProgress);
  const rows = await inBatches(passages, judge.n_together, async (some) => {
    const scores = await judge.scores(some.map(({ text }) => text));
    some.forEach(({ isLast }) => isLast && progress.step());
    return scores;
  });
  progress.finish();
  return averages(passages, rows).map((scores) =>
    judge.labels.map((label, i) => ({ label, score: scores[i] ?? 0 })).sort((a, b) => b.score - a.score),
  );
}

/** What gives scores to passages. */
interface Judge {
  labels: readonly string[];
  /** Passages of a call. */
  n_together: number;
  /** Tokens that a passage may have. */
  room(): Promise<number>;
  /** [passages, labels]. */
  scores(texts: string[]): Promise<number[][]>;
}

/** How these labels are judged. */
function judgeOf(engine: TaskEngine, { labels, template, signal }: ClassifyOptions): Judge {
  const { info } = engine;
  const own = info.tasks.includes('classify') ? info.labels : [];
  const isOwn = labels === undefined || (Array.isArray(labels) && labels.every((label) => own.includes(label)));
  if (labels === undefined && own.length === 0)
    throw new TypeError(`labels: ${info.name || info.architecture} has none of its own`);
  const wanted = labels === undefined ? own : checkNames(labels, 'labels', isOwn ? 1 : 2);
  if (isOwn && template === undefined) return headJudge(engine, wanted, signal);
  const entailed = entailment(info);
  if (entailed >= 0)
    return inferenceJudge(engine, wanted, partsOf(template ?? HYPOTHESIS), info.labels[entailed] ?? '', signal);
  if (info.tasks.includes('generate')) return scoreJudge(engine, wanted, template, signal);
  if (info.tasks.includes('embed')) return cosineJudge(engine, wanted, partsOf(template ?? HYPOTHESIS), signal);
  const unknown = wanted.find((label) => !own.includes(label));
  throw unknown === undefined
    ? new RangeError('template: this model judges its own labels only, and without a template')
    : new RangeError(`labels has ${JSON.stringify(unknown)}; this model has ${own.join(', ')}`);
}

function headJudge(engine: TaskEngine, labels: readonly string[], signal: AbortSignal | undefined): Judge {
  return {
    labels,
    n_together: BATCH,
    room: () => roomOf(engine),
    scores: async (texts) => {
      const all = await engine.classify(texts, withSignal(signal));
      return all.map((found) => {
        const scores = labels.map((label) => found.find((one) => one.label === label)?.score ?? 0);
        // Of some of the labels only, the scores are among these.
        const sum = labels.length < found.length ? scores.reduce((a, b) => a + b, 0) || 1 : 1;
        return scores.map((score) => score / sum);
      });
    },
  };
}

/** What stands in a template around the text (if it has a place) and the label. */
interface Template {
  beforeText: string;
  /** Undefined where the template has no place for the text. */
  afterText: string | undefined;
  afterLabel: string;
}

function partsOf(template: unknown): Template {
  if (typeof template !== 'string') throw new TypeError('template must be a string');
  const parts = template.split('{}');
  const [first = '', second = '', third = ''] = parts;
  if (parts.length === 2) return { beforeText: first, afterText: undefined, afterLabel: second };
  if (parts.length === 3) return { beforeText: first, afterText: second, afterLabel: third };
  throw new RangeError(
    `template has ${parts.length - 1} places {}, not one for the label, or two for the text and the label`,
  );
}

/** Labels in a template without a text. */
function sentencesOf(labels: readonly string[], { beforeText, afterText, afterLabel }: Template): string[] {
  if (afterText !== undefined)
    throw new RangeError('template has a place for the text, which this model looks at by itself');
  return labels.map((label) => beforeText + label + afterLabel);
}

function inferenceJudge(
  engine: TaskEngine,
  labels: readonly string[],
  template: Template,
  entailed: string,
  signal: AbortSignal | undefined,
): Judge {
  const hypotheses = sentencesOf(labels, template);
  return {
    labels,
    n_together: Math.max(1, Math.floor(BATCH / labels.length)),
    room: async () => (await roomOf(engine)) - (await longest(engine, hypotheses, signal)),
    scores: async (texts) => {
      const pairs = texts.flatMap((text) => hypotheses.map((text_pair) => ({ text, text_pair })));
      const found = await engine.classify(pairs, withSignal(signal));
      const logits = found.map((all) => all.find(({ label }) => label === entailed)?.logit ?? 0);
      return texts.map((_, i) => softmax(logits.slice(i * labels.length, (i + 1) * labels.length)));
    },
  };
}

function scoreJudge(
  engine: TaskEngine,
  labels: readonly string[],
  template: string | undefined,
  signal: AbortSignal | undefined,
): Judge {
  const parts = template === undefined ? defaultTemplate(engine, labels) : partsOf(template);
  const { beforeText, afterText, afterLabel } =
    parts.afterText === undefined ? { ...parts, beforeText: '', afterText: `\n\n${parts.beforeText}` } : parts;
  const item = (text: string) =>
    labels.map((label) => ({ context: beforeText + text + afterText, continuation: label + afterLabel }));
  const logprobs = async (texts: string[]): Promise<number[][]> => {
    const scores = await engine.score(texts.map(item), withSignal(signal));
    return scores.map((row) => row.map(({ logprob }) => logprob));
  };
  let without: Promise<number[][]> | undefined;
  return {
    labels,
    n_together: 4,
    room: async () => {
      const n_label = engine.info.tasks.includes('remember')
        ? 0
        : await longest(
            engine,
            labels.map((label) => label + afterLabel),
            signal,
          );
      return (await roomOf(engine, beforeText + afterText)) - n_label;
    },
    scores: async (texts) => {
      without ??= logprobs(['']);
      const [usual = []] = await without;
      const rows = await logprobs(texts.map((text) => text.trim()));
      return rows.map((row) => softmax(row.map((logprob, i) => logprob - (usual[i] ?? 0))));
    },
  };
}

/** In FLAN's words for encoder-decoders, which choose from a list; a decoder goes on with a text. */
function defaultTemplate(engine: TaskEngine, labels: readonly string[]): Template {
  if (!engine.info.tasks.includes('remember'))
    return { beforeText: '', afterText: '\n\nThis text is about ', afterLabel: '' };
  const list = labels.map((label) => `\n- ${label}`).join('');
  return { beforeText: '', afterText: `\n\nWhich of these describes the text?\nOPTIONS:${list}`, afterLabel: '' };
}

function cosineJudge(
  engine: TaskEngine,
  labels: readonly string[],
  template: Template,
  signal: AbortSignal | undefined,
): Judge {
  const sentences = sentencesOf(labels, template);
  const embedder = new Embedder(engine, 'text', signal);
  let named: Promise<Float32Array[]> | undefined;
  return {
    labels,
    n_together: BATCH,
    room: () => roomOf(engine),
    scores: async (texts) => {
      named ??= embedder.whole(sentences, undefined, () => {});
      const directions = await named;
      const vectors = await embedder.whole(texts, undefined, () => {});
      return vectors.map((vector) => softmax(directions.map((direction) => COSINE_SCALE * dot(vector, direction))));
    },
  };
}

/** Tokens of the longest of some texts. */
async function longest(engine: TaskEngine, texts: string[], signal: AbortSignal | undefined): Promise<number> {
  return Math.max(...(await Promise.all(texts.map(measureOf(engine, signal)))));
}

/** [texts, labels]: the scores of each text's passages, averaged by their tokens. */
function averages(passages: readonly Passage[], rows: readonly number[][]): number[][] {
  const sums: { n_tokens: number; scores: number[] }[] = [];
  for (const [i, { index, n_tokens }] of passages.entries()) {
    const sum = (sums[index] ??= { n_tokens: 0, scores: [] });
    sum.n_tokens += n_tokens;
    rows[i]?.forEach((score, l) => {
      sum.scores[l] = (sum.scores[l] ?? 0) + n_tokens * score;
    });
  }
  return sums.map(({ n_tokens, scores }) => scores.map((score) => score / n_tokens));
}
