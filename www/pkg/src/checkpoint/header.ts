// A checkpoint's JSON as the header of the GGUF file that nobody wrote: its keys, its tensors in the order of their bytes, and how they
// become what the header says (src/checkpoint in Rust reads that, and converts the bytes while they arrive). Pure.

import { KingletError } from '../errors.js';
import { ggufHeader, type HeaderTensor, type HeaderValue } from '../gguf-header.js';
import { Config } from './config.js';
import { type Family, familyOf, type Layout } from './families.js';
import { isObject, malformed, show } from './json.js';
import { Keys } from './keys.js';
import { rename } from './names.js';
import type { StoredTensor } from './safetensors.js';

/** What matrices are stored as; undefined: as the checkpoint has them. */
export type Quantize = 'f16' | 'q8_0' | 'q4_0' | undefined;

/** What is known of a checkpoint before its weights come. */
export interface Checkpoint {
  /** For people. */
  name: string;
  config: unknown;
  /** Of a tokenizer.json: `vocabularyKeys`. */
  vocabulary: ReadonlyMap<string, HeaderValue>;
  /** generation_config.json, where there is one. */
  generation?: unknown;
  /** chat_template.jinja, or what tokenizer_config.json has. */
  template?: string | undefined;
  /** How texts are pooled: 1_Pooling/config.json. */
  pooling?: unknown;
  /** The weights' files in the order in which they will be fed. */
  files: { name: string; tensors: StoredTensor[] }[];
  quantize: Quantize;
}

interface Format {
  /** ggml's number. */
  type: number;
  blockLength: number;
  blockBytes: number;
}
const F32: Format = { type: 0, blockLength: 1, blockBytes: 4 };
const F16: Format = { type: 1, blockLength: 1, blockBytes: 2 };
const Q4_0: Format = { type: 2, blockLength: 32, blockBytes: 18 };
const Q8_0: Format = { type: 8, blockLength: 32, blockBytes: 34 };
const BF16: Format = { type: 30, blockLength: 1, blockBytes: 2 };

/** Numbers that are converted. */
const STORED: Readonly<Record<string, Format>> = { F32, F16, BF16 };
const WANTED = { f16: F16, q8_0: Q8_0, q4_0: Q4_0 } as const;
/** Rust's `checkpoint::SKIPPED`. */
const SKIPPED = 0xffff_ffff;

/** Read by row or by element and as f32: small, and llama.cpp keeps them too. */
const ALWAYS_F32 = ['position_embd', 'token_types', 'shortconv.conv', 'attn_rel_b'];
/** What the head is made of needs finer blocks than four bits; llama.cpp gives it six. */
const FINE = ['token_embd', 'output', 'mlm.output'];
/** The same tensor may be stored under two names. */
const STORED_TWICE = ['token_embd.weight', 'mlm.output.bias'];

const methods = (json: unknown): string =>
  isObject(json) ? String(json['quant_method'] ?? json['quant_algo']) : show(json);

/** E_UNSUPPORTED_QUANT for a checkpoint whose weights are no plain numbers. */
function refuseQuantized(c: Config): void {
  for (const name of ['quantization_config', 'compression_config']) {
    const found = c.raw(name);
    if (found === undefined) continue;
    throw new KingletError(
      'E_UNSUPPORTED_QUANT',
      `config.json: this checkpoint is quantized by ${methods(found)}; F32, F16 and BF16 are read (or the model as a GGUF file)`,
      { details: { method: methods(found) } },
    );
  }
}

/** Refuses at once what cannot become a model, whatever its weights are. */
export function refuseOthers(config: unknown): void {
  const c = new Config(config);
  refuseQuantized(c);
  familyOf(c);
}

/** The header, and what a careful user would want to know. */
export function checkpointHeader(checkpoint: Checkpoint): { header: Uint8Array<ArrayBuffer>; notices: string[] } {
  refuseOthers(checkpoint.config);
  const c = new Config(checkpoint.config);
  const family = familyOf(c);
  const keys = new Keys(family.architecture);
  family.keys(c, keys);
  poolingKeys(checkpoint.pooling, keys);
  const { tensors, pieces, notices } = placeTensors(checkpoint, family, c);
  const table = tensors.find((tensor) => tensor.name === 'token_embd.weight');
  if (!table) throw malformed(checkpoint.files[0]?.name ?? 'the checkpoint', 'there is no table of embeddings');
  const made: HeaderTensor[] = keys.made.map(({ name, values }) => ({
    name,
    shape: [values.length],
    type: F32.type,
    nBytes: 4 * values.length,
  }));
  const values = new Map<string, HeaderValue>([
    ['general.architecture', { type: 'string', value: family.architecture }],
    ['general.name', { type: 'string', value: checkpoint.name }],
    ...keys.values,
    ...filled(checkpoint.vocabulary, table.shape[0] ?? 0),
    ...endings(c, checkpoint, notices),
  ]);
  if (checkpoint.template !== undefined)
    values.set('tokenizer.chat_template', { type: 'string', value: checkpoint.template });
  values.set('kinglet.checkpoint.pieces', { type: 'u64s', value: pieces });
  values.set('kinglet.checkpoint.made', { type: 'f64s', value: keys.made.flatMap((tensor) => tensor.values) });
  return { header: ggufHeader(values, [...made, ...tensors]), notices };
}

interface Placed {
  tensors: HeaderTensor[];
  pieces: number[];
  notices: string[];
}

function placeTensors(checkpoint: Checkpoint, family: Family, c: Config): Placed {
  const placed: Placed = { tensors: [], pieces: [], notices: [] };
  const names = new Map<string, string>();
  /** Matrices that are no whole blocks of what is wanted. */
  const ragged: string[] = [];
  const isTied = family.isTied?.(c) ?? c.bool('tie_word_embeddings');
  for (const file of checkpoint.files) {
    for (const stored of file.tensors) {
      const renamed = rename(family.naming, stored.name);
      if (renamed === undefined)
        throw new KingletError(
          'E_UNSUPPORTED_ARCH',
          `${file.name}: tensor ${show(stored.name)} is no part of a model of the type ${show(c.raw('model_type'))}`,
          { details: { file: file.name, tensor: stored.name } },
        );
      if (
        renamed === null ||
        (isTied === true && renamed.part === 'output') ||
        isTwice(names, renamed.name, stored, file.name)
      ) {
        placed.pieces.push(stored.nBytes, SKIPPED, 1, 1, 1, 0);
        continue;
      }
      names.set(renamed.name, stored.name);
      const source = sourceFormat(stored, file.name);
      const tensor = { ...renamed, shape: stored.shape };
      const { axes = [1, 1, 1], shape = stored.shape, plus = 0 } = layoutOf(family, tensor, c, stored, file.name);
      const format = targetFormat(tensor, shape, source, checkpoint.quantize);
      if (format === F16 && source !== F16 && checkpoint.quantize !== 'f16') ragged.push(renamed.name);
      placed.pieces.push(stored.nBytes, source.type, ...axes, plus);
      placed.tensors.push({ name: renamed.name, shape, type: format.type, nBytes: bytesOf(shape, format) });
    }
  }
  if (isTied === false && !names.has('output.weight') && /For(CausalLM|ConditionalGeneration)$/.test(classOf(c)))
    throw malformed(checkpoint.files[0]?.name ?? 'the checkpoint', 'lm_head.weight is missing');
  if (ragged.length > 0)
    placed.notices.push(
      `${ragged.length} of the matrices have rows that are no whole blocks of 32, and are kept as F16 (${ragged[0]})`,
    );
  return placed;
}

const classOf = (c: Config): string => c.strings('architectures')?.[0] ?? '';

function isTwice(names: ReadonlyMap<string, string>, name: string, stored: StoredTensor, file: string): boolean {
  const other = names.get(name);
  if (other === undefined) return false;
  if (STORED_TWICE.includes(name)) return true;
  throw malformed(file, `tensors ${show(other)} and ${show(stored.name)} are the same part of the model`);
}

function sourceFormat({ name, dtype }: StoredTensor, file: string): Format {
  const format = Object.hasOwn(STORED, dtype) ? STORED[dtype] : undefined;
  if (format) return format;
  throw new KingletError(
    'E_UNSUPPORTED_QUANT',
    `${file}: tensor ${show(name)} is of ${dtype}; F32, F16 and BF16 are read`,
    {
      details: { file, tensor: name, dtype },
    },
  );
}

/** A layout has to fit the shape, which is the file's: what does not is said here, with the file's name. */
function layoutOf(
  family: Family,
  tensor: { part: string; suffix: string; shape: number[] },
  c: Config,
  stored: StoredTensor,
  file: string,
): Layout {
  const layout = family.layout?.(tensor, c) ?? {};
  const n = product(stored.shape);
  const group = product(layout.axes ?? [1]);
  const fits = n === 0 || (Number.isInteger(group) && group > 0 && n % group === 0);
  if (!fits || product(layout.shape ?? stored.shape) !== n || stored.shape.length === 0)
    throw malformed(
      file,
      `tensor ${show(stored.name)} has the shape ${show(stored.shape)}, which does not fit config.json`,
    );
  return layout;
}

function targetFormat(
  { part, suffix }: { part: string; suffix: string },
  shape: number[],
  source: Format,
  quantize: Quantize,
): Format {
  if (shape.length < 2 || suffix !== 'weight' || part.endsWith('norm') || ALWAYS_F32.includes(part)) return F32;
  if (!quantize) return source;
  const wanted = quantize === 'q4_0' && FINE.includes(part) ? Q8_0 : WANTED[quantize];
  return (shape.at(-1) ?? 0) % wanted.blockLength === 0 ? wanted : F16;
}

const product = (numbers: readonly number[]): number => numbers.reduce((n, x) => n * x, 1);
const bytesOf = (shape: number[], { blockLength, blockBytes }: Format): number =>
  (product(shape) / blockLength) * blockBytes;

/** Where the table of embeddings has more rows than there are pieces, pieces that are never used take them. */
function filled(vocabulary: ReadonlyMap<string, HeaderValue>, rows: number): Map<string, HeaderValue> {
  const result = new Map(vocabulary);
  const pieces = result.get('tokenizer.ggml.tokens');
  const n = pieces?.type === 'strings' ? pieces.value.length : 0;
  if (n > rows) {
    throw new KingletError('E_FILE_FORMAT', `tokenizer.json has ${n} pieces, but the model has ${rows} embeddings`, {
      details: { found: n, expected: rows },
    });
  }
  const more = <T>(make: (id: number) => T): T[] => Array.from({ length: rows - n }, (_, i) => make(n + i));
  for (const [key, value] of result) {
    if (key === 'tokenizer.ggml.tokens' && value.type === 'strings')
      result.set(key, { type: 'strings', value: [...value.value, ...more((id) => `[PAD${id}]`)] });
    if (key === 'tokenizer.ggml.token_type' && value.type === 'i32s')
      result.set(key, { type: 'i32s', value: [...value.value, ...more(() => UNUSED)] });
    if (key === 'tokenizer.ggml.scores' && value.type === 'f64s')
      result.set(key, { type: 'f64s', value: [...value.value, ...more(() => 0)] });
  }
  return result;
}
/** GGUF's type of pieces that only fill up. */
const UNUSED = 5;

/** Which tokens end a text: what generation_config.json says, besides the tokenizer's own end. */
function endings(c: Config, { generation, vocabulary }: Checkpoint, notices: string[]): Map<string, HeaderValue> {
  const said =
    generation === undefined ? undefined : (new Config(generation).raw('eos_token_id') ?? c.raw('eos_token_id'));
  const ids = [said ?? c.raw('eos_token_id') ?? []].flat();
  const wrong = ids.find((id) => !Number.isSafeInteger(id));
  if (wrong !== undefined) throw malformed('generation_config.json', `eos_token_id is ${show(wrong)}`);
  const result = new Map<string, HeaderValue>();
  const own = vocabulary.get('tokenizer.ggml.eos_token_id');
  const others = ids.filter((id) => id !== own?.value) as number[];
  // A tokenizer without an end has that of the config; GGUF has names for three.
  const roles = own ? ['eot', 'eom'] : ['eos', 'eot', 'eom'];
  for (const [i, id] of others.entries()) {
    const role = roles[i];
    if (role) result.set(`tokenizer.ggml.${role}_token_id`, { type: 'u32', value: id });
    else
      notices.push(
        `token ${id} ends a text by generation_config.json, as the fourth or later one, and is not looked for`,
      );
  }
  return result;
}

/** sentence-transformers' way to say how a text's tokens become one embedding. */
function poolingKeys(pooling: unknown, keys: Keys): void {
  if (pooling === undefined) return;
  const c = new Config(pooling);
  const modes = [
    c.bool('pooling_mode_mean_tokens'),
    c.bool('pooling_mode_cls_token'),
    c.bool('pooling_mode_lasttoken'),
  ];
  const named = ['mean', 'cls', 'lasttoken'].indexOf(c.string('pooling_mode') ?? '');
  const at = modes.includes(true) ? modes.indexOf(true) : named;
  if (at < 0 || modes.filter((is) => is === true).length > 1)
    throw new KingletError(
      'E_UNSUPPORTED_ARCH',
      `the pooling ${show(pooling)} is not supported (mean, cls, lasttoken)`,
    );
  keys.u32('pooling_type', at + 1);
}
