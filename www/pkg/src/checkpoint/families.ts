// Model families by config.json's `model_type`: what says what in their configs, how their tensors are named, and which tensors lie
// otherwise than GGUF has them. One short entry each; what is not here is refused by name. Pure.
//
// Source: llama.cpp's convert_hf_to_gguf.py (conversion/), as in llama-cpp-python 0.3.36; the engine's own keys and tensors
// (`mlm.…`, `cls.…`): src/arch/head.rs.

import { type Config, unsupportedArch } from './config.js';
import { malformed, show } from './json.js';
import {
  decoder,
  everyNth,
  headRows,
  type Keys,
  layerNorm,
  noWindow,
  rmsNorm,
  ropeOf,
  rotated,
  sizes,
} from './keys.js';
import * as names from './names.js';

/** How a tensor lies in a checkpoint: [A, B, C, D] becomes [A, C, B, D]; `shape`, where it is another; `plus`, what is added. */
export interface Layout {
  axes?: [b: number, c: number, d: number];
  shape?: number[];
  plus?: number;
}

/** A tensor as `names.rename` calls it. */
export interface Renamed {
  part: string;
  suffix: string;
  shape: number[];
}

export interface Family {
  /** GGUF's name. */
  architecture: string;
  naming: names.Naming;
  keys(c: Config, keys: Keys): void;
  layout?(tensor: Renamed, c: Config): Layout | undefined;
  /** Whether the head is the table of embeddings, whatever the file holds. Default: where `tie_word_embeddings` is true. */
  isTied?(c: Config): boolean;
}

const rowLength = (shape: number[]): number => (shape.length > 1 ? (shape.at(-1) ?? 1) : 1);

/** Queries and keys whose rotated halves GGUF has interleaved, as the original LLaMA had: [2, K/2] within a head becomes [K/2, 2]. */
function interleaved({ part, shape }: Renamed, c: Config): Layout | undefined {
  if (part !== 'attn_q' && part !== 'attn_k') return undefined;
  return { axes: [2, headRows(c) / 2, rowLength(shape)] };
}

/** Norms that are stored as the difference from 1. */
const fromOne = ({ part, suffix }: Renamed): Layout | undefined =>
  part.endsWith('norm') && suffix === 'weight' ? { plus: 1 } : undefined;

const silu = (c: Config): void => c.only('hidden_act', 'silu');
const GELU_TANH = ['gelu_pytorch_tanh', 'gelu_new', 'gelu_fast'];

const LLAMA: Family = {
  architecture: 'llama',
  naming: names.LLAMA,
  layout: interleaved,
  keys(c, keys) {
    silu(c);
    decoder(c, keys);
    rmsNorm(c, keys);
    rotated(c, keys);
    if (c.string('model_type') !== 'mistral') return;
    keys.u32('attention.sliding_window', c.count('sliding_window') ?? c.absent('sliding_window', 4096));
  },
};

const qwen = (architecture: string): Family => ({
  architecture,
  naming: names.LLAMA,
  keys(c, keys) {
    silu(c);
    noWindow(c);
    decoder(c, keys);
    rmsNorm(c, keys);
  },
});

function gemma(architecture: string, naming: names.Naming, more: (c: Config, keys: Keys) => void): Family {
  return {
    architecture,
    naming,
    isTied: () => true,
    layout: fromOne,
    keys(c, keys) {
      // The first Gemma's files say "gelu" and mean the other.
      c.only('hidden_activation', 'gelu_pytorch_tanh');
      decoder(c, keys);
      rmsNorm(c, keys);
      more(c, keys);
    },
  };
}

/** The architecture divides by the root of the head size. */
const scaledByHead = (c: Config): void => c.only('query_pre_attn_scalar', headRows(c));

/** Names of a classifier's labels by number, in their order; undefined for those that nobody named. */
function labels(c: Config): string[] | undefined {
  const named = c.raw('id2label') as Record<string, unknown> | undefined;
  if (named === undefined) return undefined;
  const list = Object.keys(named).map((_, i) => named[String(i)]);
  if (!list.every((label) => typeof label === 'string')) throw malformed('config.json', `id2label is ${show(named)}`);
  return list.every((label, i) => label === `LABEL_${i}`) ? undefined : list;
}

/** What an encoder is for, by the name of its class. */
function encoder(c: Config, keys: Keys): void {
  const name = className(c);
  keys.bool('attention.causal', false);
  if (/For(Sequence|Token)Classification$/.test(name)) keys.strings('classifier.output_labels', labels(c));
  if (name.endsWith('ForTokenClassification')) keys.u32('pooling_type', 0);
  if (/For(QuestionAnswering|MultipleChoice|NextSentencePrediction)$/.test(name))
    throw unsupportedArch(`config.json: a model of the class ${name} is not supported`);
}

const className = (c: Config): string => c.strings('architectures')?.[0] ?? '';

/** BERT's pooler belongs to its classifier of texts; for embeddings it is not used. */
const withoutPooler = (naming: names.Naming, c: Config): names.Naming =>
  className(c).endsWith('ForSequenceClassification')
    ? naming
    : { ...naming, outside: { ...naming.outside, 'pooler.dense': null } };

const t5 = (architecture: string): Family => ({
  architecture,
  naming: names.T5,
  // A tied head's inputs are scaled. Today's transformers says so by itself, and calls every head tied.
  isTied: (c) => c.bool('scale_decoder_outputs') ?? c.bool('tie_word_embeddings') ?? true,
  keys(c, keys) {
    const [layers, width] = [c.need('num_layers'), c.need('d_model')];
    c.only('relative_attention_max_distance', 128);
    c.only('feed_forward_proj', 'relu', 'gated-gelu');
    keys.u32('block_count', layers);
    keys.u32('context_length', c.count('n_positions') ?? 512);
    keys.u32('embedding_length', width);
    keys.u32('feed_forward_length', c.need('d_ff'));
    keys.u32('attention.head_count', c.need('num_heads'));
    keys.u32('attention.key_length', c.need('d_kv'));
    keys.u32('attention.value_length', c.need('d_kv'));
    const eps = c.number('layer_norm_epsilon') ?? 1e-6;
    keys.f32('attention.layer_norm_epsilon', eps);
    keys.f32('attention.layer_norm_rms_epsilon', eps);
    keys.u32('attention.relative_buckets_count', c.count('relative_attention_num_buckets') ?? 32);
    if (architecture === 't5encoder') return;
    keys.u32('decoder_block_count', c.count('num_decoder_layers') ?? layers);
    keys.u32('decoder_start_token_id', c.count('decoder_start_token_id') ?? 0);
  },
});

const FAMILIES: Readonly<Record<string, (c: Config) => Family>> = {
  llama: () => LLAMA,
  mistral: () => LLAMA,
  smollm3: () => ({
    ...LLAMA,
    architecture: 'smollm3',
    keys(c, keys) {
      noWindow(c);
      everyNth(c, 4, 'no_rope_layers');
      LLAMA.keys(c, keys);
    },
  }),
  granite: () => ({
    ...LLAMA,
    architecture: 'granite',
    keys(c, keys) {
      LLAMA.keys(c, keys);
      keys.f32('attention.scale', c.number('attention_multiplier'));
      keys.f32('embedding_scale', c.number('embedding_multiplier'));
      keys.f32('residual_scale', c.number('residual_multiplier'));
      keys.f32('logit_scale', c.number('logits_scaling'));
    },
  }),
  qwen2: () => qwen('qwen2'),
  qwen3: () => qwen('qwen3'),
  olmo2: () => ({ ...qwen('olmo2'), naming: names.POST_NORM }),
  gemma: () => gemma('gemma', names.LLAMA, () => {}),
  gemma2: () =>
    gemma('gemma2', names.POST_NORM, (c, keys) => {
      scaledByHead(c);
      everyNth(c, 2);
      const cap = (name: string, usual: number): number | undefined => c.number(name) ?? c.absent(name, usual);
      keys.f32('attn_logit_softcapping', cap('attn_logit_softcapping', 50));
      keys.f32('final_logit_softcapping', cap('final_logit_softcapping', 30));
      keys.u32('attention.sliding_window', c.count('sliding_window') ?? c.absent('sliding_window', 4096));
    }),
  gemma3_text: () =>
    gemma('gemma3', names.POST_NORM, (c, keys) => {
      scaledByHead(c);
      everyNth(c, 6);
      c.only('sliding_window_pattern', 6);
      c.only('use_bidirectional_attention', false);
      c.only('attn_logit_softcapping');
      keys.f32('final_logit_softcapping', c.number('final_logit_softcapping'));
      keys.u32('attention.sliding_window', c.count('sliding_window') ?? c.absent('sliding_window', 4096));
    }),
  gpt2: () => ({
    architecture: 'gpt2',
    isTied: (c) => c.bool('tie_word_embeddings') ?? true,
    naming: names.GPT2,
    keys(c, keys) {
      c.only('activation_function', ...GELU_TANH);
      c.only('scale_attn_weights', true);
      c.only('scale_attn_by_inverse_layer_idx', false);
      sizes(c, keys);
      keys.u32('feed_forward_length', c.count('n_inner') ?? 4 * c.need('n_embd'));
      layerNorm(c, keys);
    },
    // Its products are written the other way round: [in, out].
    layout: ({ part, suffix, shape }) => {
      const [rows = 1, columns = 1] = shape;
      if (suffix !== 'weight' || !/^(attn_qkv|attn_output|ffn_up|ffn_down)$/.test(part)) return undefined;
      return { axes: [rows, columns, 1], shape: [columns, rows] };
    },
  }),
  gpt_neox: () => ({
    architecture: 'gptneox',
    naming: names.GPTNEOX,
    keys(c, keys) {
      c.only('hidden_act', 'gelu');
      sizes(c, keys);
      keys.u32('feed_forward_length', c.need('intermediate_size'));
      keys.u32('rope.dimension_count', Math.floor((ropeOf(c).part ?? 0.25) * headRows(c)));
      if (ropeOf(c).theta !== 10_000) keys.f32('rope.freq_base', ropeOf(c).theta);
      keys.bool('use_parallel_residual', c.bool('use_parallel_residual') ?? true);
      layerNorm(c, keys);
    },
    // Each head has its queries, keys and values: [H, 3, K] becomes [3, H, K].
    layout: ({ part, shape }, c) =>
      part === 'attn_qkv' ? { axes: [c.need('num_attention_heads'), 3, headRows(c) * rowLength(shape)] } : undefined,
  }),
  phi: () => ({
    architecture: 'phi2',
    naming: names.PHI2,
    keys(c, keys) {
      c.only('hidden_act', ...GELU_TANH);
      c.only('qk_layernorm', false);
      const heads = c.need('num_attention_heads');
      c.only('num_key_value_heads', heads);
      sizes(c, keys);
      keys.u32('attention.head_count_kv', heads);
      keys.u32('feed_forward_length', c.need('intermediate_size'));
      rotated(c, keys);
      if (ropeOf(c).theta !== 10_000) keys.f32('rope.freq_base', ropeOf(c).theta);
      layerNorm(c, keys);
    },
  }),
  phi3: () => ({
    architecture: 'phi3',
    naming: names.PHI3,
    keys(c, keys) {
      silu(c);
      decoder(c, keys);
      rmsNorm(c, keys);
      rotated(c, keys);
      longRope(c, keys);
      keys.u32('attention.sliding_window', c.count('sliding_window') ?? 0);
    },
  }),
  stablelm: () => ({
    architecture: 'stablelm',
    naming: names.LLAMA,
    keys(c, keys) {
      silu(c);
      c.only('qk_layernorm', false);
      decoder(c, keys);
      keys.u32('rope.dimension_count', Math.floor((ropeOf(c).part ?? 0.25) * headRows(c)));
      keys.bool('use_parallel_residual', c.bool('use_parallel_residual') ?? false);
      layerNorm(c, keys);
    },
  }),
  starcoder2: () => ({
    architecture: 'starcoder2',
    naming: names.STARCODER2,
    keys(c, keys) {
      c.only('hidden_act', 'gelu_pytorch_tanh');
      decoder(c, keys);
      layerNorm(c, keys);
      keys.u32('attention.sliding_window', c.count('sliding_window'));
    },
  }),
  lfm2: () => ({
    architecture: 'lfm2',
    naming: names.LFM2,
    keys(c, keys) {
      c.only('conv_bias', false);
      decoder(c, keys);
      rmsNorm(c, keys);
      const heads = c.need('num_key_value_heads');
      const types = c.strings('layer_types');
      const isAttention = (_: unknown, i: number): boolean =>
        types ? types[i] === 'full_attention' : (c.numbers('full_attn_idxs') ?? []).includes(i);
      const layers = Array.from({ length: c.need('num_hidden_layers') }, isAttention);
      keys.i32s(
        'attention.head_count_kv',
        layers.map((is) => (is ? heads : 0)),
      );
      keys.u32('shortconv.l_cache', c.need('conv_L_cache'));
      keys.u32('feed_forward_length', lfm2Width(c));
    },
    layout: ({ part, shape }) => {
      const [channels = 1, , taps = 1] = shape;
      return part === 'shortconv.conv' ? { shape: [channels, taps] } : undefined;
    },
  }),
  bert: (c) => ({
    architecture: 'bert',
    naming: withoutPooler(names.BERT, c),
    keys(c, keys) {
      c.only('hidden_act', 'gelu');
      c.only('position_embedding_type', 'absolute');
      c.only('is_decoder', false);
      sizes(c, keys);
      keys.u32('feed_forward_length', c.need('intermediate_size'));
      layerNorm(c, keys);
      encoder(c, keys);
    },
  }),
  distilbert: () => ({
    architecture: 'bert',
    naming: names.DISTILBERT,
    keys(c, keys) {
      c.only('activation', 'gelu');
      sizes(c, keys);
      keys.u32('feed_forward_length', c.need('hidden_dim'));
      keys.f32('attention.layer_norm_epsilon', 1e-12);
      encoder(c, keys);
    },
  }),
  modernbert: (c) => ({
    architecture: 'modern-bert',
    naming: names.modernBert(className(c).endsWith('ForMaskedLM') ? 'mlm' : 'cls'),
    keys(c, keys) {
      c.only('hidden_activation', 'gelu', 'silu');
      c.only('classifier_activation', 'gelu');
      keys.string('hidden_activation', c.string('hidden_activation'));
      decoder(c, keys);
      rmsNorm(c, keys);
      keys.f32('attention.layer_norm_epsilon', c.needNumber('norm_eps'));
      encoder(c, keys);
      keys.u32('attention.sliding_window', c.need('local_attention'));
      keys.u32('attention.sliding_window_pattern', c.need('global_attn_every_n_layers'));
      keys.string('rope.scaling.type', 'none');
      const pooling = c.string('classifier_pooling') ?? 'cls';
      c.only('classifier_pooling', 'cls', 'mean');
      keys.u32('classifier.pooling_type', pooling === 'mean' ? 1 : 2);
    },
  }),
  t5: (c) => t5(className(c).endsWith('EncoderModel') ? 't5encoder' : 't5'),
  mt5: (c) => t5(className(c).endsWith('EncoderModel') ? 't5encoder' : 't5'),
  umt5: (c) => t5(className(c).endsWith('EncoderModel') ? 't5encoder' : 't5'),
};

function lfm2Width(c: Config): number {
  const width = c.need('block_ff_dim', 'intermediate_size');
  if (c.bool('block_auto_adjust_ff_dim') === false) return width;
  const adjusted = Math.floor((c.number('block_ffn_dim_multiplier') ?? 1) * Math.floor((2 * width) / 3));
  const multiple = c.count('block_multiple_of') ?? 256;
  return multiple * Math.ceil(adjusted / multiple);
}

/** Factors for texts within and beyond the original context (Phi 3 with 128k). */
function longRope(c: Config, keys: Keys): void {
  const { type, more } = ropeOf(c);
  const context = c.need('max_position_embeddings');
  const original = more.count('original_max_position_embeddings') ?? c.count('original_max_position_embeddings');
  keys.u32('rope.scaling.original_context_length', original);
  if (type !== 'longrope' && type !== 'su') return;
  const scale = context / (original ?? context);
  keys.f32('rope.scaling.attn_factor', scale > 1 ? Math.sqrt(1 + Math.log(scale) / Math.log(original ?? 1)) : 1);
  for (const length of ['long', 'short']) {
    const values = more.numbers(`${length}_factor`);
    if (!values) throw malformed('config.json', `${length}_factor is missing`);
    keys.made.push({ name: `rope_factors_${length}.weight`, values });
  }
}

/** The family of a config; E_UNSUPPORTED_ARCH for an unknown one. */
export function familyOf(c: Config): Family {
  const type = c.string('model_type');
  if (type === undefined) throw malformed('config.json', 'model_type is missing');
  const family = Object.hasOwn(FAMILIES, type) ? FAMILIES[type] : undefined;
  if (family) return family(c);
  const known = Object.keys(FAMILIES).join(', ');
  throw unsupportedArch(`config.json: models of the type ${show(type)} are not supported (supported: ${known})`);
}
