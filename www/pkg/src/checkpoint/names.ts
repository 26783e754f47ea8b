// Which tensor of a checkpoint is which of GGUF. Names of modules on the left (transformers'), of tensors on the right (llama.cpp's,
// gguf-py's tensor_mapping.py). Pure.

/** A module, without `.weight` or `.bias`, to a tensor; `null`: not needed. */
export type Names = Readonly<Record<string, string | null>>;

/** Modules of which there is one per layer: `<path><number>.<module>` is `<to><number>.<tensor>`. */
export interface Stack {
  path: string;
  to: string;
  names: Names;
}

export interface Naming {
  /** What all names may begin with: the first that fits is taken off. */
  prefixes: readonly string[];
  outside: Names;
  stacks: readonly Stack[];
}

/** `part`: without the layer and the suffix, such as `attn_q`. `null`: the tensor is not needed. `undefined`: nobody knows it. */
export function rename(
  naming: Naming,
  name: string,
): { name: string; part: string; suffix: string } | null | undefined {
  // What is computed from the config or is a constant.
  if (/(^|\.)(rotary_emb\.inv_freq|position_ids|masked_bias|attn\.bias|attention\.bias)$/.test(name)) return null;
  const prefix = naming.prefixes.find((prefix) => name.startsWith(prefix)) ?? '';
  const [, stem = '', suffix = ''] = /^(.*)\.(weight|bias|gamma|beta)$/.exec(name.slice(prefix.length)) ?? [];
  const found = renameModule(naming, stem);
  if (!found) return found;
  const kind = { gamma: 'weight', beta: 'bias' }[suffix] ?? suffix;
  return { name: `${found.to}${found.part}.${kind}`, part: found.part, suffix: kind };
}

function renameModule(naming: Naming, stem: string): { to: string; part: string } | null | undefined {
  const own = (names: Names, key: string): string | null | undefined =>
    Object.hasOwn(names, key) ? names[key] : undefined;
  for (const { path, to, names } of naming.stacks) {
    if (!stem.startsWith(path)) continue;
    const [, number, module = ''] = /^(\d{1,4})\.(.+)$/.exec(stem.slice(path.length)) ?? [];
    if (number === undefined) continue;
    const part = own(names, module);
    return at(`${to}${number}.`, part);
  }
  return at('', own(naming.outside, stem));
}

const at = <T extends null | undefined>(to: string, part: string | T): { to: string; part: string } | T =>
  typeof part === 'string' ? { to, part } : part;

/** `model.layers.N.…`, as most decoders have it. */
export function layers(names: Names, outside: Names = {}): Naming {
  return {
    prefixes: ['model.'],
    outside: { embed_tokens: 'token_embd', norm: 'output_norm', lm_head: 'output', ...outside },
    stacks: [{ path: 'layers.', to: 'blk.', names }],
  };
}

const ATTENTION: Names = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
};
const GATED: Names = { 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down' };

export const LLAMA = layers({
  ...ATTENTION,
  ...GATED,
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
});

/** Norms behind the parts: Gemma 2 and 3, OLMo 2. */
export const POST_NORM = layers({
  ...ATTENTION,
  ...GATED,
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'post_attention_norm',
  pre_feedforward_layernorm: 'ffn_norm',
  post_feedforward_layernorm: 'post_ffw_norm',
});

export const PHI2 = layers(
  {
    ...ATTENTION,
    input_layernorm: 'attn_norm',
    'self_attn.dense': 'attn_output',
    'mlp.fc1': 'ffn_up',
    'mlp.fc2': 'ffn_down',
  },
  { final_layernorm: 'output_norm' },
);

export const PHI3 = layers({
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.qkv_proj': 'attn_qkv',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
});

export const STARCODER2 = layers({
  ...ATTENTION,
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.c_fc': 'ffn_up',
  'mlp.c_proj': 'ffn_down',
});

export const LFM2 = layers(
  {
    ...ATTENTION,
    'self_attn.out_proj': 'attn_output',
    'self_attn.q_layernorm': 'attn_q_norm',
    'self_attn.k_layernorm': 'attn_k_norm',
    operator_norm: 'attn_norm',
    ffn_norm: 'ffn_norm',
    'conv.conv': 'shortconv.conv',
    'conv.in_proj': 'shortconv.in_proj',
    'conv.out_proj': 'shortconv.out_proj',
    'feed_forward.w1': 'ffn_gate',
    'feed_forward.w3': 'ffn_up',
    'feed_forward.w2': 'ffn_down',
  },
  { embedding_norm: 'token_embd_norm' },
);

export const GPT2: Naming = {
  prefixes: ['transformer.'],
  outside: { wte: 'token_embd', wpe: 'position_embd', ln_f: 'output_norm', lm_head: 'output' },
  stacks: [
    {
      path: 'h.',
      to: 'blk.',
      names: {
        ln_1: 'attn_norm',
        'attn.c_attn': 'attn_qkv',
        'attn.c_proj': 'attn_output',
        ln_2: 'ffn_norm',
        'mlp.c_fc': 'ffn_up',
        'mlp.c_proj': 'ffn_down',
      },
    },
  ],
};

export const GPTNEOX: Naming = {
  prefixes: ['gpt_neox.'],
  outside: { embed_in: 'token_embd', final_layer_norm: 'output_norm', embed_out: 'output' },
  stacks: [
    {
      path: 'layers.',
      to: 'blk.',
      names: {
        input_layernorm: 'attn_norm',
        'attention.query_key_value': 'attn_qkv',
        'attention.dense': 'attn_output',
        post_attention_layernorm: 'ffn_norm',
        'mlp.dense_h_to_4h': 'ffn_up',
        'mlp.dense_4h_to_h': 'ffn_down',
      },
    },
  ],
};

const EMBEDDINGS: Names = {
  'embeddings.word_embeddings': 'token_embd',
  'embeddings.position_embeddings': 'position_embd',
  'embeddings.token_type_embeddings': 'token_types',
  'embeddings.LayerNorm': 'token_embd_norm',
};

export const BERT: Naming = {
  prefixes: ['bert.'],
  outside: {
    ...EMBEDDINGS,
    'pooler.dense': 'cls',
    classifier: 'cls.output',
    'cls.seq_relationship': null,
    'cls.predictions.transform.dense': 'mlm.dense',
    'cls.predictions.transform.LayerNorm': 'mlm.norm',
    'cls.predictions.decoder': 'mlm.output',
    'cls.predictions': 'mlm.output',
  },
  stacks: [
    {
      path: 'encoder.layer.',
      to: 'blk.',
      names: {
        'attention.self.query': 'attn_q',
        'attention.self.key': 'attn_k',
        'attention.self.value': 'attn_v',
        'attention.output.dense': 'attn_output',
        'attention.output.LayerNorm': 'attn_output_norm',
        'intermediate.dense': 'ffn_up',
        'output.dense': 'ffn_down',
        'output.LayerNorm': 'layer_output_norm',
      },
    },
  ],
};

export const DISTILBERT: Naming = {
  prefixes: ['distilbert.'],
  outside: {
    ...EMBEDDINGS,
    pre_classifier: 'cls',
    classifier: 'cls.output',
    vocab_transform: 'mlm.dense',
    vocab_layer_norm: 'mlm.norm',
    vocab_projector: 'mlm.output',
  },
  stacks: [
    {
      path: 'transformer.layer.',
      to: 'blk.',
      names: {
        'attention.q_lin': 'attn_q',
        'attention.k_lin': 'attn_k',
        'attention.v_lin': 'attn_v',
        'attention.out_lin': 'attn_output',
        sa_layer_norm: 'attn_output_norm',
        'ffn.lin1': 'ffn_up',
        'ffn.lin2': 'ffn_down',
        output_layer_norm: 'layer_output_norm',
      },
    },
  ],
};

/** Behind the body is the head of fill-mask or of a classifier, under the same name. */
export const modernBert = (head: 'mlm' | 'cls'): Naming => ({
  prefixes: ['model.'],
  outside: {
    'embeddings.tok_embeddings': 'token_embd',
    'embeddings.norm': 'token_embd_norm',
    final_norm: 'output_norm',
    'head.dense': head === 'mlm' ? 'mlm.dense' : 'cls',
    'head.norm': head === 'mlm' ? 'mlm.norm' : 'cls.norm',
    decoder: 'mlm.output',
    classifier: 'cls.output',
  },
  stacks: [
    {
      path: 'layers.',
      to: 'blk.',
      names: {
        attn_norm: 'attn_norm',
        'attn.Wqkv': 'attn_qkv',
        'attn.Wo': 'attn_output',
        mlp_norm: 'ffn_norm',
        'mlp.Wi': 'ffn_up',
        'mlp.Wo': 'ffn_down',
      },
    },
  ],
});

const T5_ENCODER: Names = {
  'layer.0.SelfAttention.q': 'attn_q',
  'layer.0.SelfAttention.k': 'attn_k',
  'layer.0.SelfAttention.v': 'attn_v',
  'layer.0.SelfAttention.o': 'attn_o',
  'layer.0.SelfAttention.relative_attention_bias': 'attn_rel_b',
  'layer.0.layer_norm': 'attn_norm',
  'layer.1.DenseReluDense.wi': 'ffn_up',
  'layer.1.DenseReluDense.wi_0': 'ffn_gate',
  'layer.1.DenseReluDense.wi_1': 'ffn_up',
  'layer.1.DenseReluDense.wo': 'ffn_down',
  'layer.1.layer_norm': 'ffn_norm',
};

const T5_DECODER: Names = Object.fromEntries([
  ...Object.entries(T5_ENCODER).map(([module, tensor]) => [module.replace('layer.1.', 'layer.2.'), tensor]),
  ...['q', 'k', 'v', 'o'].map((x) => [`layer.1.EncDecAttention.${x}`, `cross_attn_${x}`]),
  ['layer.1.EncDecAttention.relative_attention_bias', null],
  ['layer.1.layer_norm', 'cross_attn_norm'],
]) as Names;

export const T5: Naming = {
  prefixes: [],
  outside: {
    shared: 'token_embd',
    'encoder.embed_tokens': 'token_embd',
    'decoder.embed_tokens': 'token_embd',
    'encoder.final_layer_norm': 'enc.output_norm',
    'decoder.final_layer_norm': 'dec.output_norm',
    lm_head: 'output',
  },
  stacks: [
    { path: 'encoder.block.', to: 'enc.blk.', names: T5_ENCODER },
    { path: 'decoder.block.', to: 'dec.blk.', names: T5_DECODER },
  ],
};
