// Finds out of which files a model is made, on the page: one source, the siblings of a URL that names one of several parts, a
// list of files, or `{ files }`; which of them is the tokenizer's; and which checksum is whose. How one source is made postable is
// source.ts's business; what the files hold is the engine's.

import { unsupported } from './errors.js';
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
  const siblings = siblingsOf(source, base);
  const files = siblings ?? listOf(source);
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
  const hashes =
    typeof sha256 === 'string'
      ? [sha256.toLowerCase()]
      : checksums(
          sha256,
          files.map(({ name }) => name),
        );
  const isUrl = (value: unknown): boolean => typeof value === 'string' || value instanceof URL;
  if (Object.keys(headers).length > 0 && !files.some((file) => isUrl(file.source)))
    throw new TypeError('headers only make sense for a source that is a URL');
  const parts: Described[] = [];
  const dispose = (): void => parts.forEach((part) => part.dispose());
  const descriptor: SourceDescriptor = { kind: 'files', files: [], siblings };
  try {
    for (const [i, { name, source }] of files.entries()) {
      const part = describeSource(source, isUrl(source) ? headers : {}, base);
      parts.push(part);
      const hash = hashes[i];
      const named: NamedSource = { name, source: part.descriptor, ...(hash !== undefined && { sha256: hash }) };
      const role = roleOf(name);
      if (role === 'weights') descriptor.files.push(named);
      else descriptor[role] = named;
    }
  } catch (thrown) {
    dispose();
    throw thrown;
  }
  if (descriptor.files.length === 0 || (descriptor.tokenizerConfig && !descriptor.tokenizer)) {
    dispose();
    throw new TypeError(
      `source holds no ${descriptor.files.length === 0 ? 'GGUF file' : 'tokenizer.json beside the tokenizer_config.json'}`,
    );
  }
  return { descriptor, transfer: parts.flatMap((part) => part.transfer), dispose };
}

/** The URLs of all parts, where a URL names one of several. The query stays: servers keep keys in it. */
function siblingsOf(source: unknown, base: string): ModelFile[] | undefined {
  if (typeof source !== 'string' && !(source instanceof URL)) return undefined;
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
    return list.map((blob, i) => ({ name: blob instanceof File ? blob.name : `file ${i + 1}`, source: blob }));
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
  if (name === 'config.json' || /\.safetensors(\.index\.json)?$/.test(name))
    throw unsupported(`${path}: checkpoints (config.json with .safetensors) are not built yet; GGUF files are read`, {
      file: path,
    });
  return 'weights';
}

/** The last part of a URL's path; empty for what has no name. */
function nameOf(source: unknown, base: string): string {
  if (typeof source !== 'string' && !(source instanceof URL)) return '';
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
