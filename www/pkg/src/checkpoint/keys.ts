// GGUF keys of a model from its config.json: those that families share. Names and meanings are llama.cpp's. Pure.

import type { HeaderValue } from '../gguf-header.js';
import { type Config, unsupportedArch } from './config.js';
import { malformed, show } from './json.js';

/** A tensor that no file holds. F32. */
export interface MadeTensor {
  name: string;
  values: number[];
}

/** What becomes of a config: keys `<architecture>.…`, and tensors that follow from it. */
export class Keys {
  readonly values = new Map<string, HeaderValue>();
  readonly made: MadeTensor[] = [];
  readonly #architecture: string;

  constructor(architecture: string) {
    this.#architecture = architecture;
  }

  u32(key: string, value: number | undefined): void {
    this.#set(key, value, (n) => ({ type: 'u32', value: n }));
  }
  f32(key: string, value: number | undefined): void {
    this.#set(key, value, (x) => ({ type: 'f32', value: x }));
  }
  bool(key: string, value: boolean | undefined): void {
    this.#set(key, value, (is) => ({ type: 'bool', value: is }));
  }
  string(key: string, value: string | undefined): void {
    this.#set(key, value, (text) => ({ type: 'string', value: text }));
  }
  i32s(key: string, value: number[]): void {
    this.#set(key, value, (list) => ({ type: 'i32s', value: list }));
  }
  strings(key: string, value: string[] | undefined): void {
    this.#set(key, value, (list) => ({ type: 'strings', value: list }));
  }

  #set<T>(key: string, value: T | undefined, make: (value: T) => HeaderValue): void {
    if (value === undefined) return;
    this.values.set(`${this.#architecture}.${key}`, make(value));
  }
}

/** Sizes under their usual names. */
export function sizes(c: Config, keys: Keys): void {
  keys.u32('block_count', c.need('num_hidden_layers', 'n_layer', 'n_layers'));
  keys.u32('context_length', c.need('max_position_embeddings', 'n_positions', 'n_ctx'));
  keys.u32('embedding_length', c.need('hidden_size', 'n_embd', 'dim'));
  keys.u32('attention.head_count', c.need('num_attention_heads', 'n_head', 'n_heads'));
  keys.u32('attention.head_count_kv', c.count('num_key_value_heads'));
}

/** Decoders whose parts are named as Llama's. */
export function decoder(c: Config, keys: Keys): void {
  sizes(c, keys);
  keys.u32('feed_forward_length', c.need('intermediate_size'));
  headSize(c, keys);
  rope(c, keys);
}

export function rmsNorm(c: Config, keys: Keys): void {
  keys.f32('attention.layer_norm_rms_epsilon', c.needNumber('rms_norm_eps', 'norm_eps'));
}

export function layerNorm(c: Config, keys: Keys): void {
  keys.f32('attention.layer_norm_epsilon', c.needNumber('layer_norm_eps', 'layer_norm_epsilon', 'norm_epsilon'));
}

function headSize(c: Config, keys: Keys): void {
  const size = c.count('head_dim');
  keys.u32('attention.key_length', size);
  keys.u32('attention.value_length', size);
}

/** Rows of one head of the queries. */
export const headRows = (c: Config): number =>
  c.count('head_dim') ?? c.need('hidden_size', 'n_embd') / c.need('num_attention_heads', 'n_head');

/** Every layer sees everything. */
export function noWindow(c: Config): void {
  c.only('use_sliding_window', false);
  const other = c.strings('layer_types')?.find((type) => type !== 'full_attention');
  if (other !== undefined)
    throw unsupportedArch(`config.json: layers of the type ${show(other)} are not supported here`);
}

/** Every n-th layer sees everything, the others a window; the architecture implies it. */
export function everyNth(c: Config, n: number, name = 'layer_types'): void {
  const types = c.raw(name);
  if (types === undefined) return;
  const isFull = (type: unknown): boolean => type === 'full_attention' || type === 0;
  const fits = Array.isArray(types) && types.every((type, i) => isFull(type) === ((i + 1) % n === 0));
  if (!fits) throw unsupportedArch(`config.json: ${name} is not the pattern of this architecture, each ${n}th layer`);
}

interface Rope {
  type: string;
  theta: number | undefined;
  /** Of the layers with a window, where they have one of their own. */
  localTheta: number | undefined;
  /** Which part of a head is rotated. */
  part: number | undefined;
  /** Where the type's own numbers are. */
  more: Config;
}

/** Positions as today's transformers writes them (`rope_parameters`) and as older files have them. */
export function ropeOf(c: Config): Rope {
  const parameters = c.child('rope_parameters') ?? c.child('rope_scaling');
  const full = parameters?.child('full_attention') ?? parameters;
  const local = parameters?.child('sliding_attention');
  return {
    type: full?.string('rope_type', 'type') ?? 'default',
    theta: full?.number('rope_theta') ?? c.number('rope_theta', 'rotary_emb_base', 'global_rope_theta'),
    localTheta: local?.number('rope_theta') ?? c.number('rope_local_base_freq', 'local_rope_theta'),
    part: full?.number('partial_rotary_factor') ?? c.number('partial_rotary_factor', 'rotary_pct', 'rope_pct'),
    more: full ?? c,
  };
}

function rope(c: Config, keys: Keys): void {
  const { type, theta, localTheta, more } = ropeOf(c);
  keys.f32('rope.freq_base', theta);
  keys.f32('rope.freq_base_swa', localTheta);
  if (type === 'default') return;
  if (type === 'linear') {
    keys.string('rope.scaling.type', 'linear');
    keys.f32('rope.scaling.factor', more.needNumber('factor'));
  } else if (type === 'llama3') {
    keys.made.push({ name: 'rope_freqs.weight', values: llama3Factors(theta ?? 10_000, headRows(c), more) });
  } else if (type === 'yarn') {
    keys.string('rope.scaling.type', 'yarn');
    keys.f32('rope.scaling.factor', more.needNumber('factor'));
    keys.u32('rope.scaling.original_context_length', more.count('original_max_position_embeddings'));
  } else if (type !== 'longrope' && type !== 'su') {
    throw unsupportedArch(`config.json: rope scaling of the type ${show(type)} is not supported`);
  }
}

/** By how much each frequency is slowed down, in 32-bit floats as the original computes it (modeling_rope_utils.py). */
function llama3Factors(theta: number, size: number, c: Config): number[] {
  const factor = c.needNumber('factor');
  const [low, high] = [c.needNumber('low_freq_factor'), c.needNumber('high_freq_factor')];
  const context = c.needNumber('original_max_position_embeddings');
  if (!(low > 0 && high > low && factor > 0))
    throw malformed('config.json', 'the factors of rope scaling are out of order');
  return Array.from({ length: size / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * Math.fround(theta ** Math.fround((2 * i) / size));
    if (wavelength < context / high) return 1;
    if (wavelength > context / low) return factor;
    const smooth = (context / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** How many elements of a head are rotated. */
export function rotated(c: Config, keys: Keys, head = headRows(c)): void {
  keys.u32('rope.dimension_count', Math.floor((ropeOf(c).part ?? 1) * head));
}
