import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Checkpoint, checkpointHeader } from '../src/checkpoint/header.js';
import { KingletError } from '../src/errors.js';
import { bytesOf, headerOf, NAMES, readCheckpoint } from './checkpoints.js';
import { type Gguf, readGguf } from './read-gguf.js';

interface Expected {
  architecture: string;
  metadata: Record<string, unknown>;
  tensors: Record<string, [shape: number[], data: string | number[]]>;
}
const expectedOf = (name: string): Expected => JSON.parse(bytesOf(name, 'expected.json').toString('utf8'));

/** Keys that llama.cpp's converter does not write: it implies them, or they are the engine's own. */
const MORE = [
  'attention.head_count_kv',
  'attention.key_length',
  'attention.value_length',
  'attention.layer_norm_epsilon',
  'attention.sliding_window',
  'rope.dimension_count',
  'rope.freq_base',
  'rope.freq_base_swa',
];
/** What it writes and nothing reads. */
const LESS = /\.vocab_size$/;

function sameMetadata(found: Gguf, expected: Expected, name: string): void {
  const own = [...found.values].filter(([key]) => key.startsWith(`${expected.architecture}.`));
  for (const [key, value] of Object.entries(expected.metadata)) {
    if (LESS.test(key)) continue;
    assert.deepEqual(found.values.get(key), value, `${name}: ${key}`);
  }
  const more = own.map(([key]) => key).filter((key) => !(key in expected.metadata));
  const unknown = more.filter((key) => !MORE.includes(key.slice(expected.architecture.length + 1)));
  assert.deepEqual(unknown, [], `${name}: keys that llama.cpp does not write`);
}

describe('the headers of small checkpoints of every family', () => {
  test('are there', () => assert.ok(NAMES.length >= 23, String(NAMES)));
  for (const name of NAMES) {
    test(`${name}: the keys and tensors of llama.cpp's converter`, () => {
      const expected = expectedOf(name);
      const found = readGguf(headerOf(name));
      assert.equal(found.values.get('general.architecture'), expected.architecture);
      sameMetadata(found, expected, name);
      const shapes = Object.fromEntries(found.tensors.map((tensor) => [tensor.name, tensor.shape]));
      const wanted = Object.fromEntries(Object.entries(expected.tensors).map(([tensor, [shape]]) => [tensor, shape]));
      assert.deepEqual(Object.keys(shapes).sort(), Object.keys(wanted).sort());
      assert.deepEqual(shapes, wanted);
      for (const [tensor, [, values]] of Object.entries(expected.tensors)) {
        if (typeof values === 'string') continue;
        const made = found.values.get('kinglet.checkpoint.made') as number[];
        assert.equal(made.length, values.length, tensor);
        for (const [i, x] of values.entries())
          assert.ok(Math.abs((made[i] as number) - x) < 1e-5 * x, `${tensor}[${i}]`);
      }
    });
    // That their tensors hold the weights of llama.cpp's converter, tests/checkpoints.rs shows.
    test(`${name}: the header that the engine is tested with`, () => {
      assert.ok(bytesOf(name, 'header.bin').equals(headerOf(name)));
    });
  }
});

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the tests change parts of it at will
type Loose = any;

function changed(name: string, change: (config: Loose, checkpoint: Loose) => void): Checkpoint {
  const checkpoint = readCheckpoint(name);
  change(checkpoint.config, checkpoint);
  return checkpoint;
}

test('what older files say otherwise gives the same header', () => {
  const same = (name: string, change: (config: Loose) => void): void => {
    assert.deepEqual(checkpointHeader(changed(name, change)).header, headerOf(name), name);
  };
  const old = (config: Loose): void => {
    const { rope_theta, rope_type, ...more } = config.rope_parameters;
    delete config.rope_parameters;
    config.rope_theta = rope_theta;
    if (rope_type !== 'default') config.rope_scaling = { ...more, type: rope_type };
    else Object.assign(config, more);
  };
  for (const name of ['llama', 'llama-sharded', 'llama-f16', 'qwen3', 'stablelm', 'phi']) same(name, old);
  same('gemma3', (config) => {
    const { full_attention, sliding_attention } = config.rope_parameters;
    delete config.rope_parameters;
    Object.assign(config, {
      rope_theta: full_attention.rope_theta,
      rope_local_base_freq: sliding_attention.rope_theta,
    });
    delete config.layer_types;
    config.sliding_window_pattern = 6;
  });
});

test('what a config leaves out is what transformers fills in; null is not', () => {
  const value = (name: string, key: string, change: (config: Loose) => void): unknown =>
    readGguf(checkpointHeader(changed(name, change)).header).values.get(key);
  const mistral = (config: Loose): void => {
    config.model_type = 'mistral';
  };
  assert.equal(value('llama', 'llama.attention.sliding_window', mistral), 4096);
  assert.equal(
    value('llama', 'llama.attention.sliding_window', (c) => (mistral(c), (c.sliding_window = null))),
    undefined,
  );
  assert.equal(
    value('gemma2', 'gemma2.attn_logit_softcapping', (c) => delete c.attn_logit_softcapping),
    50,
  );
  assert.equal(
    value('gemma2', 'gemma2.attn_logit_softcapping', (c) => (c.attn_logit_softcapping = null)),
    undefined,
  );
});

test('a head that is the table of embeddings is not taken from the file, and one that is not has to be there', () => {
  const hasHead = (name: string, change: (config: Loose) => void = () => {}): boolean =>
    readGguf(checkpointHeader(changed(name, change)).header).tensors.some(({ name }) => name === 'output.weight');
  assert.ok(hasHead('flan-t5') && hasHead('olmo2') && !hasHead('t5'));
  // Published by transformers 4: no word of scaling.
  const older = (tied: boolean | undefined) => (config: Loose) => {
    delete config.scale_decoder_outputs;
    config.tie_word_embeddings = tied;
  };
  assert.ok(
    hasHead('flan-t5', older(false)) && !hasHead('flan-t5', older(true)) && !hasHead('flan-t5', older(undefined)),
  );
  assert.throws(() => hasHead('t5', older(false)), /lm_head\.weight is missing/);
  assert.ok(!hasHead('olmo2', (config) => (config.tie_word_embeddings = true)));
});

describe('formats', () => {
  const types = (quantize: Checkpoint['quantize'], name = 'llama'): Record<string, number> => {
    const { header } = checkpointHeader({ ...readCheckpoint(name), quantize });
    return Object.fromEntries(readGguf(header).tensors.map((tensor) => [tensor.name, tensor.type]));
  };
  const some = ['token_embd.weight', 'blk.0.attn_q.weight', 'blk.1.ffn_down.weight', 'blk.0.attn_norm.weight'];
  const of = (all: Record<string, number>): (number | undefined)[] => some.map((name) => all[name]);

  test('as stored, or as asked for; vectors stay F32, the table of a Q4_0 model is Q8_0', () => {
    assert.deepEqual(of(types(undefined)), [0, 0, 0, 0]);
    assert.deepEqual(of(types(undefined, 'qwen2')), [30, 30, 30, 0]);
    assert.deepEqual(of(types('f16')), [1, 1, 1, 0]);
    assert.deepEqual(of(types('q8_0')), [8, 8, 8, 0]);
    assert.deepEqual(of(types('q4_0')), [8, 2, 2, 0]);
    assert.equal(types('q8_0', 'gpt2')['position_embd.weight'], 0);
  });

  test('rows that are no whole blocks are F16, and a notice says so', () => {
    const { header, notices } = checkpointHeader(
      changed('llama', (_config, checkpoint) => {
        checkpoint.quantize = 'q4_0';
        const down = checkpoint.files[0].tensors.find((tensor: Loose) =>
          tensor.name.endsWith('0.mlp.down_proj.weight'),
        );
        down.shape = [64, 32].reverse().map((n) => (n === 64 ? 48 : n));
        down.nBytes = 48 * 32 * 4;
      }),
    );
    assert.equal(readGguf(header).tensors.find((tensor) => tensor.name === 'blk.0.ffn_down.weight')?.type, 1);
    assert.match(notices.join(), /1 of the matrices .* F16 \(blk\.0\.ffn_down\.weight\)/);
  });
});

test('the tokens that end a text are the tokenizer’s and those of generation_config.json', () => {
  const ids = (generation: unknown, change: (config: Loose) => void = () => {}): unknown[] => {
    const checkpoint = { ...changed('llama', change), generation };
    const { values } = readGguf(checkpointHeader(checkpoint).header);
    return ['eos', 'eot', 'eom'].map((role) => values.get(`tokenizer.ggml.${role}_token_id`));
  };
  assert.deepEqual(ids(undefined), [2, undefined, undefined]);
  assert.deepEqual(ids({ eos_token_id: [0, 2, 7] }), [2, 0, 7]);
  assert.deepEqual(
    ids({}, (config) => (config.eos_token_id = 9)),
    [2, 9, undefined],
  );
});

test('a template comes from its own file or from tokenizer_config.json', () => {
  for (const name of ['qwen3', 'llama'])
    assert.match(String(readGguf(headerOf(name)).values.get('tokenizer.chat_template')), /im_start/);
  assert.equal(readGguf(headerOf('qwen2')).values.get('tokenizer.chat_template'), undefined);
});

test('what is not read is refused by name', () => {
  const refused = (
    name: string,
    change: (config: Loose, checkpoint: Loose) => void,
    code: string,
    pattern: RegExp,
  ): void => {
    assert.throws(
      () => checkpointHeader(changed(name, change)),
      (error) => error instanceof KingletError && error.code === code && pattern.test(error.message),
      `${name}: ${String(pattern)}`,
    );
  };
  const tensor = (checkpoint: Loose, name: string): Loose =>
    checkpoint.files[0].tensors.find((tensor: Loose) => tensor.name === name);
  const arch = 'E_UNSUPPORTED_ARCH';
  const quant = 'E_UNSUPPORTED_QUANT';
  const format = 'E_FILE_FORMAT';
  refused('llama', (config) => (config.model_type = 'mamba'), arch, /"mamba" are not supported \(supported: llama, /);
  refused('llama', (config) => delete config.model_type, format, /model_type is missing/);
  refused('llama', (config) => delete config.hidden_size, format, /hidden_size or n_embd or dim is null/);
  refused('llama', (config) => (config.hidden_size = '32'), format, /hidden_size is "32", expected a whole number/);
  refused('llama', (config) => (config.hidden_act = 'relu'), arch, /hidden_act is "relu"/);
  refused('llama', (config) => (config.rope_parameters = { rope_type: 'dynamic' }), arch, /"dynamic"/);
  refused('llama', (config) => (config.head_dim = 7), format, /"model.layers.0.self_attn.k_proj.weight" has the shape/);
  for (const method of ['gptq', 'awq', 'bitsandbytes', 'fp8'])
    refused(
      'llama',
      (config) => (config.quantization_config = { quant_method: method }),
      quant,
      new RegExp(`quantized by ${method}`),
    );
  refused('llama', (_c, checkpoint) => (tensor(checkpoint, 'model.norm.weight').dtype = 'F8_E4M3'), quant, /F8_E4M3/);
  refused(
    'llama',
    (_c, checkpoint) => (tensor(checkpoint, 'model.norm.weight').dtype = 'I64'),
    quant,
    /"model.norm.weight" is of I64/,
  );
  refused(
    'llama',
    (_c, checkpoint) => (tensor(checkpoint, 'model.norm.weight').name = 'model.extra.weight'),
    arch,
    /"model.extra.weight" is no part/,
  );
  refused(
    'llama',
    (_c, checkpoint) => (tensor(checkpoint, 'model.norm.weight').name = 'model.layers.0.input_layernorm.weight'),
    format,
    /are the same part/,
  );
  refused(
    'llama',
    (_c, checkpoint) => (tensor(checkpoint, 'model.embed_tokens.weight').shape = [100, 32]),
    format,
    /288 pieces, but the model has 100/,
  );
  refused('llama', (_c, checkpoint) => (checkpoint.files = []), format, /no table of embeddings/);
  refused('qwen2', (config) => (config.tie_word_embeddings = false), format, /lm_head\.weight is missing/);
  refused('qwen2', (config) => (config.use_sliding_window = true), arch, /use_sliding_window is true/);
  refused('gemma2', (config) => (config.query_pre_attn_scalar = 144), arch, /query_pre_attn_scalar is 144/);
  refused('gemma3', (config) => config.layer_types.reverse(), arch, /layer_types is not the pattern/);
  refused('smollm3', (config) => (config.no_rope_layers = [1, 1, 0, 1]), arch, /no_rope_layers is not the pattern/);
  refused(
    't5',
    (config) => (config.relative_attention_max_distance = 64),
    arch,
    /relative_attention_max_distance is 64/,
  );
  refused('bert', (config) => (config.architectures = ['BertForQuestionAnswering']), arch, /BertForQuestionAnswering/);
  refused('llama', (_c, checkpoint) => (checkpoint.generation = { eos_token_id: 'x' }), format, /eos_token_id is "x"/);
  refused('bert', (_c, checkpoint) => (checkpoint.pooling = { pooling_mode_max_tokens: true }), arch, /pooling/);
});
