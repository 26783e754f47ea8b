// The files of a checkpoint in the worker: finds those of a folder, reads the JSON and the headers of the weights, and gives the weights'
// data. What the files say is header.ts's business; how a file comes is source.ts's. Called by loading.ts.

import { KingletError } from '../errors.js';
import { FileSet } from '../file-set.js';
import type { HeaderValue } from '../gguf-header.js';
import type { CheckpointSource, NamedSource } from '../protocol.js';
import { type Hash, readIfThere, readWhole } from '../small-file.js';
import type { SourceFile } from '../source-file.js';
import { vocabularyKeys } from '../tokenizer-json.js';
import { byT5Keys } from './byt5.js';
import { Config } from './config.js';
import { checkpointHeader, type Quantize, refuseOthers } from './header.js';
import { isObject, malformed, parseJson, show } from './json.js';
import { headerLength, LENGTH_BYTES, readHeader, type StoredTensor } from './safetensors.js';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const POOLING = '1_Pooling/config.json';
const SHARD = /-(\d{5})-of-(\d{5})\.safetensors$/;
const MAX_SHARDS = 1000;

/** A file of weights. */
interface Weights {
  file: SourceFile;
  /** Where its data begins, and how much there is. */
  headerBytes: number;
  dataBytes: number;
  tensors: StoredTensor[];
}

/** What the engine is told before the data, and what a user would want to know. */
export interface Read {
  header: Uint8Array<ArrayBuffer>;
  notices: string[];
}

export class CheckpointFiles {
  readonly #source: CheckpointSource;
  readonly #quantize: Quantize;
  #set: FileSet | undefined;
  #weights: Weights[] = [];
  #read: Promise<Read> | undefined;

  constructor(source: CheckpointSource, quantize: Quantize) {
    this.#source = source;
    this.#quantize = quantize;
  }

  /** Nothing can be asked for before the binary is there that checks sums. */
  async open(): Promise<undefined> {}

  get canRewind(): boolean {
    return this.#set?.canRewind ?? true;
  }

  async rewind(): Promise<void> {
    await this.#set?.rewind();
  }

  /** Of all files of weights. */
  get totalBytes(): number {
    return this.#weights.reduce((sum, { headerBytes, dataBytes }) => sum + headerBytes + dataBytes, 0);
  }

  get weights(): readonly Weights[] {
    return this.#weights;
  }

  /** Everything before the data; read once. `onFile` is told of each file of weights, numbers from 1. */
  header(sha256: Hash, onFile: (name: string, number: number, count: number) => void): Promise<Read> {
    return (this.#read ??= this.#readAll(sha256, onFile));
  }

  async #readAll(sha256: Hash, onFile: (name: string, number: number, count: number) => void): Promise<Read> {
    const must = async (name: string): Promise<unknown> =>
      parseJson(name, await readWhole(this.#find(name) ?? missing(name), sha256));
    const may = async (name: string): Promise<Uint8Array | undefined> => {
      const file = this.#find(name);
      return file && readIfThere(file, sha256);
    };
    const json = async (name: string): Promise<unknown> => {
      const bytes = await may(name);
      return bytes && parseJson(name, bytes);
    };
    const config = await must('config.json');
    refuseOthers(config);
    const [tokenizer, tokenizerConfig, generation, jinja, pooling, index] = await Promise.all([
      json('tokenizer.json'),
      json('tokenizer_config.json'),
      json('generation_config.json'),
      may('chat_template.jinja'),
      json(POOLING),
      json(INDEX),
    ]);
    const vocabulary = vocabularyOf(tokenizer, tokenizerConfig);
    const map = index === undefined ? undefined : weightMap(index);
    this.#set = new FileSet(this.#weightFiles(map).map((name) => this.#find(name) ?? missing(name)));
    await this.#readHeaders(this.#set, onFile);
    for (const [tensor, name] of Object.entries(map ?? {})) {
      const shard = this.#weights.find(({ file }) => baseName(file.name) === name);
      if (!shard?.tensors.some((stored) => stored.name === tensor))
        throw malformed(INDEX, `tensor ${show(tensor)} is not in ${name}`);
    }
    const files = this.#weights.map(({ file, tensors }) => ({ name: file.name, tensors }));
    const template = jinja ? new TextDecoder().decode(jinja) : templateOf(tokenizerConfig);
    return checkpointHeader({
      name: this.#name(config),
      config,
      vocabulary,
      generation,
      template,
      pooling,
      files,
      quantize: this.#quantize,
    });
  }

  async #readHeaders(set: FileSet, onFile: (name: string, number: number, count: number) => void): Promise<void> {
    this.#weights = [];
    for (const [i, file] of set.files.entries()) {
      onFile(file.name, i + 1, set.files.length);
      const { length, tensors } = await set.beginning(i, readTensors);
      const dataBytes = tensors.reduce((sum, { nBytes }) => sum + nBytes, 0);
      this.#weights.push({ file, headerBytes: LENGTH_BYTES + length, dataBytes, tensors });
    }
    await set.keepOnly(set.files[0]);
  }

  /** A file by its name: of those that were given, or in the folder. */
  #find(name: string): NamedSource | undefined {
    const { files, folder } = this.#source;
    if (!folder) {
      const fits = (path: string): boolean => path === name || path.endsWith(`/${name}`);
      const found = files.filter((file) => fits(file.name) && !(name === 'config.json' && isPooling(file.name)));
      // Of several, as in a whole repository, the one that lies highest.
      return found.sort((a, b) => a.name.split('/').length - b.name.split('/').length)[0];
    }
    const url = new URL(folder.url);
    url.pathname += name.split('/').map(encodeURIComponent).join('/');
    const sum = Object.hasOwn(folder.sha256, name) ? folder.sha256[name] : undefined;
    const source: NamedSource['source'] = { kind: 'url', url: url.href, headers: folder.headers };
    return { name, source, ...(sum !== undefined && { sha256: sum }) };
  }

  /** Names of the files of weights, in their order. */
  #weightFiles(map: Record<string, string> | undefined): string[] {
    if (map) return [...new Set(Object.values(map))].sort();
    const { files, folder } = this.#source;
    if (folder) return [SINGLE];
    const given = files.map(({ name }) => name).filter((name) => name.endsWith('.safetensors'));
    const single = given.find((name) => baseName(name) === SINGLE);
    if (single !== undefined) return [single];
    if (given.length === 0) throw missing(SINGLE);
    const count = Number(SHARD.exec(given[0] ?? '')?.[2] ?? 0);
    if (count > given.length) {
      const there = given.map((name) => Number(SHARD.exec(name)?.[1] ?? 0));
      const absent = Array.from({ length: count }, (_, i) => i + 1).filter((n) => !there.includes(n));
      throw new KingletError('E_FILE_FORMAT', `of ${count} files of weights these are missing: ${absent.join(', ')}`, {
        details: { parts: count },
      });
    }
    return given.sort();
  }

  #name(config: unknown): string {
    const segments = this.#source.folder ? new URL(this.#source.folder.url).pathname.split('/').filter(Boolean) : [];
    // Hugging Face: /<owner>/<model>/resolve/<revision>/
    const at = segments.indexOf('resolve');
    const folder = at > 0 ? segments[at - 1] : segments.at(-1);
    const own = isObject(config) ? (config['_name_or_path'] ?? config['model_type']) : undefined;
    return folder ?? (typeof own === 'string' ? baseName(own) : '');
  }
}

const baseName = (path: string): string => path.split('/').at(-1) ?? '';
export const isPooling = (path: string): boolean => /(^|\/)\d+_Pooling\/config\.json$/.test(path);

function missing(name: string): never {
  const why = {
    'config.json': 'it says what the model is',
    'tokenizer.json': 'other forms of a vocabulary (tokenizer.model, vocab.txt) are not read',
    [SINGLE]: 'weights are read from safetensors; a pytorch_model.bin is a program, which is not run',
  }[name];
  throw new KingletError('E_FILE_FORMAT', `the checkpoint has no ${name}${why ? `: ${why}` : ''}`, {
    details: { file: name },
  });
}

function weightMap(index: unknown): Record<string, string> {
  const map = isObject(index) ? index['weight_map'] : undefined;
  const isFile = (name: unknown): boolean => typeof name === 'string' && /^[\w.-]+\.safetensors$/.test(name);
  if (!isObject(map) || Object.keys(map).length === 0 || !Object.values(map).every(isFile))
    throw malformed(INDEX, 'weight_map is no object of file names by tensor');
  const n = new Set(Object.values(map)).size;
  if (n > MAX_SHARDS)
    throw new KingletError('E_FILE_LIMIT', `${INDEX}: ${n} files are over the limit of ${MAX_SHARDS}`, {
      details: { found: n, limit: MAX_SHARDS },
    });
  return map as Record<string, string>;
}

/** Of a tokenizer.json; ByT5 has none, because its pieces are the bytes. */
function vocabularyOf(tokenizer: unknown, config: unknown): Map<string, HeaderValue> {
  if (tokenizer !== undefined) return vocabularyKeys(tokenizer, config);
  const c = isObject(config) ? new Config(config) : undefined;
  if (c?.string('tokenizer_class') !== 'ByT5Tokenizer') throw missing('tokenizer.json');
  return byT5Keys(c.count('extra_ids'));
}

/** The template of tokenizer_config.json: one, or several by name. */
function templateOf(config: unknown): string | undefined {
  const found = isObject(config) ? config['chat_template'] : undefined;
  if (found === undefined || found === null || typeof found === 'string') return found ?? undefined;
  const named = Array.isArray(found) ? found.find((item) => isObject(item) && item['name'] === 'default') : undefined;
  const template: unknown = isObject(named) ? named['template'] : undefined;
  if (typeof template === 'string') return template;
  throw malformed('tokenizer_config.json', `chat_template is ${show(found)}`);
}

/** The header of a file of weights. */
async function readTensors(file: SourceFile): Promise<{ length: number; tensors: StoredTensor[] }> {
  const chunks: Uint8Array[] = [];
  let nBytes = 0;
  let length: number | undefined;
  for await (const chunk of file.read()) {
    chunks.push(chunk);
    nBytes += chunk.length;
    if (length === undefined && nBytes >= LENGTH_BYTES) length = headerLength(file.name, joined(chunks, LENGTH_BYTES));
    if (length !== undefined && nBytes >= LENGTH_BYTES + length)
      return { length, tensors: readHeader(file.name, joined(chunks, LENGTH_BYTES + length).subarray(LENGTH_BYTES)) };
  }
  const expected = length === undefined ? LENGTH_BYTES : LENGTH_BYTES + length;
  throw malformed(file.name, `the file ends too early: ${nBytes} of the ${expected} bytes of its header`);
}

/** The first `n` bytes of what has come: once for a header, however many chunks it came in. */
function joined(chunks: readonly Uint8Array[], n: number): Uint8Array {
  const bytes = new Uint8Array(n);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk.subarray(0, n - at), at);
    at = Math.min(n, at + chunk.length);
  }
  return bytes;
}
