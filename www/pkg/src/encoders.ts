// What encoders are asked for: embeddings.create in OpenAI's shape, and the heads: classify, label, fillMask. The worker gives
// numbers; what is made of them (probabilities, the best label, base64) is made here.

import type { EncodeOutput, EncodeRequest } from './abi.js';
import type { Core } from './core.js';
import { KingletError } from './errors.js';
import { checkEmbeddings, checkFillMask, checkTexts } from './params.js';
import { softmax } from './softmax.js';
import type {
  CallOptions,
  Classification,
  EmbeddingParams,
  EmbeddingResponse,
  EncoderInput,
  FilledMask,
  LabelledToken,
} from './types.js';

/** Tokens that are proposed for a mask where the caller does not say. */
const DEFAULT_CANDIDATES = 5;

export interface Embeddings {
  create(
    params: EmbeddingParams & { encoding_format: 'base64' },
    options?: CallOptions,
  ): Promise<EmbeddingResponse<string>>;
  create(
    params: EmbeddingParams & { encoding_format?: 'float' | null },
    options?: CallOptions,
  ): Promise<EmbeddingResponse>;
  create(params: EmbeddingParams, options?: CallOptions): Promise<EmbeddingResponse<number[] | string>>;
}

export async function createEmbeddings(
  core: Core,
  params: EmbeddingParams,
  options: CallOptions = {},
): Promise<EmbeddingResponse<number[] | string>> {
  core.checkOpen();
  core.checkTask('embed', 'embeddings.create');
  const { inputs, dimensions, base64 } = checkEmbeddings(params, core.info);
  const request = { task: 'embed' as const, inputs, candidates: 1, ...(dimensions !== undefined && { dimensions }) };
  const { outputs, ms } = await core.encode(request, options);
  const prompt_tokens = outputs.reduce((sum, { tokenCount }) => sum + tokenCount, 0);
  return {
    object: 'list',
    data: outputs.map(({ values }, index) => ({
      object: 'embedding',
      index,
      embedding: base64 ? base64Of(values) : Array.from(values),
    })),
    model: core.info.name,
    usage: { prompt_tokens, total_tokens: prompt_tokens },
    timings: { prompt_n: prompt_tokens, prompt_ms: ms, predicted_n: 0, predicted_ms: 0 },
  };
}

export async function classify(
  core: Core,
  texts: readonly EncoderInput[],
  options: CallOptions = {},
): Promise<Classification[][]> {
  const outputs = await run(core, 'classify', texts, options);
  return outputs.map(({ values }) => {
    // One label alone says how much it applies; several are chosen from.
    const [only = 0] = values;
    const scores = values.length === 1 ? [1 / (1 + Math.exp(-only))] : softmax(values);
    return Array.from(values, (logit, i) => ({ label: core.info.labels[i] ?? '', score: scores[i] ?? 0, logit })).sort(
      (a, b) => b.logit - a.logit,
    );
  });
}

export async function label(
  core: Core,
  texts: readonly EncoderInput[],
  options: CallOptions = {},
): Promise<LabelledToken[][]> {
  const outputs = await run(core, 'label', texts, options);
  return outputs.map(({ values, width, ids, places }) =>
    Array.from(ids, (id, i) => {
      const logits = values.subarray(i * width, (i + 1) * width);
      const best = logits.indexOf(logits.reduce((most, logit) => Math.max(most, logit), -Infinity));
      const [start = -1, end = -1] = places.subarray(2 * i, 2 * i + 2);
      return {
        token: id,
        start: start < 0 ? null : start,
        end: end < 0 ? null : end,
        label: core.info.labels[best] ?? '',
        score: softmax(logits)[best] ?? 0,
        logits,
      };
    }),
  );
}

export async function fillMask(
  core: Core,
  texts: readonly EncoderInput[],
  options: CallOptions & { top?: number; only?: readonly number[] } = {},
): Promise<FilledMask[][][]> {
  const { top: candidates = DEFAULT_CANDIDATES, only } = checkFillMask(options, core.info.vocabularySize);
  const outputs = await run(core, 'fill-mask', texts, options, candidates, only);
  return outputs.map(({ candidates: masks }) =>
    masks.map((tokens) =>
      tokens
        .map(({ id, text, logprob }) => ({ token: id, text, score: Math.exp(logprob), logprob }))
        .sort((a, b) => b.logprob - a.logprob),
    ),
  );
}

const CALLS = { classify: 'classify', label: 'label', 'fill-mask': 'fillMask' } as const;

async function run(
  core: Core,
  task: keyof typeof CALLS,
  texts: readonly EncoderInput[],
  options: CallOptions,
  candidates = 1,
  only?: number[],
): Promise<EncodeOutput[]> {
  core.checkOpen();
  core.checkTask(task, CALLS[task]);
  const inputs: EncodeRequest['inputs'] = checkTexts(texts, core.info.vocabularySize);
  const { outputs } = await core.encode({ task, inputs, candidates, ...(only && { only }) }, options);
  if (outputs.length !== inputs.length)
    throw new KingletError('E_INTERNAL', `${inputs.length} inputs became ${outputs.length} outputs`);
  return outputs;
}

/** The numbers as f32, little-endian, in base64: what OpenAI's clients read. */
function base64Of(values: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => bytes.setFloat32(4 * i, value, true));
  let text = '';
  for (let i = 0; i < bytes.byteLength; i++) text += String.fromCharCode(bytes.getUint8(i));
  return btoa(text);
}
