// Finds out of which files a model is made, on the page: one source, the siblings of a URL that names one of several parts, a
// folder, a list of files, or `{ files }`; which of them is the tokenizer's, or whether they are a checkpoint; and which checksum is
// whose. How one source is made postable is source.ts's business; what the files hold is the engine's.

import { KingletError } from './errors.js';
import type { NamedSource, SourceDescriptor } from './protocol.js';
import { type Described, describeSource, resolveUrl } from './source.js';
import type { LoadOptions } from './types.js';

/** As llama.cpp's gguf-split names the parts of a model, counted from 1. */
const PART = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/;
/** The engine's limit too. */
const MAX_PARTS = 1000;

/** A model that can be posted. `sha256` where it is one plain file; those of several stand beside their sources. */
export interface DescribedModel extends Described<SourceDescriptor> {
  sha256?: string;
}

interface ModelFile {
  name: string;
  source: unknown;
}

/** Checks the caller's source and makes it postable. TypeError for what is no source, RangeError for checksums of other files. */
export function describeModel(
  source: unknown,
  headers: Record<string, string>,
  sha256: LoadOptions['sha256'],
  base: string,
): DescribedModel {
  const folder = folderOf(source, base);
  if (folder !== undefined) return describeFolder(folder, headers, sha256);
  const siblings = siblingsOf(source, base);
  const files = siblings ?? listOf(source);
  if (files?.some(({ name }) => CHECKPOINT.test(name))) return describeCheckpoint(files, headers, sha256, base);
  if (files && !isPlain(files)) return describeFiles(files, headers, sha256, base, siblings !== undefined);
  const single = files?.[0] ?? { name: nameOf(source, base), source };
  const hash = typeof sha256 === 'object' ? checksums(sha256, [single.name])[0] : sha256?.toLowerCase();
  const described = describeSource(single.source, headers, base);
  return hash === undefined ? described : { ...described, sha256: hash };
}

/** One file that is no part of a model: it is read as if it had been given without its name. */
const isPlain = (files: ModelFile[]): boolean =>
  files.length === 1 && files.every(({ name }) => roleOf(name) === 'weights' && !PART.test(name));

function describeFiles(
  files: ModelFile[],
  headers: Record<string, string>,
  sha256: LoadOptions['sha256'],
  base: string,
  siblings: boolean,
): DescribedModel {
  if (typeof sha256 === 'string' && files.length > 1)
    throw new TypeError('this model is several files: sha256 must be an object with a checksum for each, by name');
  const names = files.map(({ name }) => name);
  const hashes = typeof sha256 === 'string' ? [sha256.toLowerCase()] : checksums(sha256, names);
  const { named, transfer, dispose } = describeEach(files, hashes, headers, base);
  const descriptor: SourceDescriptor = { kind: 'files', files: [], siblings };
  for (const file of named) {
    const role = roleOf(file.name);
    if (role === 'weights') descriptor.files.push(file);
    else descriptor[role] = file;
  }
  if (descriptor.files.length === 0 || (descriptor.tokenizerConfig && !descriptor.tokenizer)) {
    dispose();
    throw new TypeError(
      `source holds no ${descriptor.files.length === 0 ? 'GGUF file' : 'tokenizer.json beside the tokenizer_config.json'}`,
    );
  }
  return { descriptor, transfer, dispose };
}

const isUrl = (value: unknown): value is string | URL => typeof value === 'string' || value instanceof URL;

/** Each file, postable. */
function describeEach(
  files: ModelFile[],
  hashes: (string | undefined)[],
  headers: Record<string, string>,
  base: string,
): { named: NamedSource[]; transfer: Transferable[]; dispose(): void } {
  if (Object.keys(headers).length > 0 && !files.some((file) => isUrl(file.source)))
    throw new TypeError('headers only make sense for a source that is a URL');
  const parts: Described[] = [];
  const dispose = (): void => parts.forEach((part) => part.dispose());
  try {
    const named = files.map(({ name, source }, i): NamedSource => {
      const part = describeSource(source, isUrl(source) ? headers : {}, base);
      parts.push(part);
      const hash = hashes[i];
      return { name, source: part.descriptor, ...(hash !== undefined && { sha256: hash }) };
    });
    return { named, transfer: parts.flatMap((part) => part.transfer), dispose };
  } catch (thrown) {
    dispose();
    throw thrown;
  }
}

// Checkpoints.

/** A file by which a checkpoint is known. */
const CHECKPOINT = /(^|\/)(config\.json|[^/]+\.safetensors(\.index\.json)?)$/;
/** What is read of one; a repository has more. */
const READ =
  /(^|\/)(config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|chat_template\.jinja|[^/]+\.safetensors(\.index\.json)?)$/;
/** A URL of one of these stands for its folder. */
const IN_FOLDER =
  /(^|\/)(config\.json|model\.safetensors|model\.safetensors\.index\.json|model-\d{5}-of-\d{5}\.safetensors)$/;

/** The URL of a checkpoint's folder, where a URL names one or a file in one. */
function folderOf(source: unknown, base: string): string | undefined {
  if (!isUrl(source)) return undefined;
  const url = new URL(resolveUrl(source, base));
  if (!/^https?:$/.test(url.protocol)) return undefined;
  if (IN_FOLDER.test(url.pathname)) url.pathname = url.pathname.slice(0, url.pathname.lastIndexOf('/') + 1);
  return url.pathname.endsWith('/') ? url.href : undefined;
}

function describeFolder(url: string, headers: Record<string, string>, sha256: LoadOptions['sha256']): DescribedModel {
  if (typeof sha256 === 'string')
    throw new TypeError('a checkpoint is several files: sha256 must be an object with checksums by name');
  const sums = Object.entries(sha256 ?? {}).map(([name, sum]) => [name, sum.toLowerCase()]);
  const other = sums.find(([name = '']) => !READ.test(name));
  if (other) throw new RangeError(`sha256 names ${JSON.stringify(other[0])}, which is not read of a checkpoint`);
  const folder = { url, headers, sha256: Object.fromEntries(sums) as Record<string, string> };
  return { descriptor: { kind: 'checkpoint', files: [], folder }, transfer: [], dispose() {} };
}

function describeCheckpoint(
  files: ModelFile[],
  headers: Record<string, string>,
  sha256: LoadOptions['sha256'],
  base: string,
): DescribedModel {
  if (typeof sha256 === 'string')
    throw new TypeError('a checkpoint is several files: sha256 must be an object with checksums by name');
  if (files.some(({ name }) => name.endsWith('.gguf')))
    throw new TypeError('source holds both a GGUF file and a checkpoint: which of the two is meant?');
  const read = files.filter(({ name }) => READ.test(name));
  const names = read.map(({ name }) => name);
  const hashes = checksums(sha256, names);
  const { named, transfer, dispose } = describeEach(read, hashes, headers, base);
  const other = files.find(({ name }) => /\.(bin|pth?|ckpt|h5|msgpack|onnx)$/.test(name));
  if (other && !names.some((name) => name.endsWith('.safetensors'))) {
    dispose();
    throw new KingletError(
      'E_FILE_FORMAT',
      `${other.name}: weights are read from safetensors files; this is another kind of file, which may be a program`,
      { details: { file: other.name } },
    );
  }
  return { descriptor: { kind: 'checkpoint', files: named }, transfer, dispose };
}

/** The URLs of all parts, where a URL names one of several. The query stays: servers keep keys in it. */
function siblingsOf(source: unknown, base: string): ModelFile[] | undefined {
  if (!isUrl(source)) return undefined;
  const url = new URL(resolveUrl(source, base));
  const [, stem, no, n] = PART.exec(url.pathname) ?? [];
  const count = Number(n);
  if (!stem || !/^https?:$/.test(url.protocol) || !(count > 1 && count <= MAX_PARTS)) return undefined;
  if (!(Number(no) >= 1 && Number(no) <= count)) return undefined;
  return Array.from({ length: count }, (_, i) => {
    url.pathname = `${stem}-${String(i + 1).padStart(5, '0')}-of-${n}.gguf`;
    return { name: nameOf(url.href, base), source: url.href };
  });
}

/** The files of a list or of `{ files }`; of a single `File` too, whose name may say that it is a part. */
function listOf(source: unknown): ModelFile[] | undefined {
  if (Array.isArray(source) || (typeof FileList !== 'undefined' && source instanceof FileList)) {
    const list = Array.from(source as Iterable<unknown>);
    if (list.length === 0 || !list.every((item) => item instanceof Blob))
      throw new TypeError('a list as source must hold one or more Files or Blobs; other kinds go into { files }');
    // Of a whole folder that was picked the path counts: a checkpoint may have several files of one name.
    const nameOfBlob = (blob: unknown): string | undefined =>
      blob instanceof File ? blob.webkitRelativePath || blob.name : undefined;
    return list.map((blob, i) => ({ name: nameOfBlob(blob) ?? `file ${i + 1}`, source: blob }));
  }
  if (typeof File !== 'undefined' && source instanceof File) return [{ name: source.name, source }];
  if (typeof source !== 'object' || source === null || !('files' in source)) return undefined;
  const { files } = source;
  if (typeof files !== 'object' || files === null || Array.isArray(files))
    throw new TypeError('files must be an object of sources by file name');
  const list = Object.entries(files as Record<string, unknown>).map(([name, item]) => ({ name, source: item }));
  if (list.length === 0) throw new TypeError('source holds no GGUF file');
  return list;
}

/** What a file of this name is for. What is none of these is taken for weights: its first bytes say what it is. */
function roleOf(path: string): 'weights' | 'tokenizer' | 'tokenizerConfig' {
  const name = path.split('/').at(-1) ?? '';
  if (name === 'tokenizer.json') return 'tokenizer';
  if (name === 'tokenizer_config.json') return 'tokenizerConfig';
  return 'weights';
}

/** The last part of a URL's path; empty for what has no name. */
function nameOf(source: unknown, base: string): string {
  if (!isUrl(source)) return '';
  const last = new URL(source, base).pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** The checksums of these files in their order: an object has one for each of them and for no other. */
function checksums(sha256: Record<string, string> | undefined, names: string[]): (string | undefined)[] {
  if (sha256 === undefined) return names.map(() => undefined);
  if (names.includes('')) throw new TypeError('this source has no name: sha256 must be one checksum');
  const other = Object.keys(sha256).find((name) => !names.includes(name));
  if (other !== undefined)
    throw new RangeError(`sha256 names ${JSON.stringify(other)}, which is none of the files: ${names.join(', ')}`);
  return names.map((name) => {
    const hash = Object.hasOwn(sha256, name) ? sha256[name] : undefined;
    if (hash === undefined) throw new RangeError(`sha256 has no checksum for ${JSON.stringify(name)}`);
    return hash.toLowerCase();
  });
}
