// A tokenizer.json of Hugging Face as the header of a GGUF file: the keys `tokenizer.ggml.…` that llama.cpp's converter writes,
// and `tokenizer.kinglet.…` for what they cannot say (src/tokenizer in Rust reads both). Pure; nothing is guessed: what is not
// understood is an error that names its path.
//
// Not taken over, because they say nothing about ids: `truncation` and `padding`.

import { KingletError, unsupported } from './errors.js';
import { ggufHeader, type HeaderValue } from './gguf-header.js';

type Json = Record<string, unknown>;
/** A part of the file and where it stands. */
interface Part {
  readonly at: string;
  readonly json: Json;
}
type Header = Map<string, HeaderValue>;

const SPACE = '▁';
/** GGUF's types of pieces. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;
const BYTE = 6;

/** What ByteLevel cuts by, where it does. */
const GPT_2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/** What Punctuation takes for punctuation, in a run and by itself. */
const PUNCTUATION = { Contiguous: '[\\p{P}\\$\\+<=>\\^~\\|`]+', Isolated: '[\\p{P}!-/:-@\\[-`{-~]' } as const;

/**
 * The bytes of a GGUF file with the vocabulary of a tokenizer.json and nothing else. `config` is tokenizer_config.json, which
 * names the beginning and end of a sequence.
 *
 * @throws {KingletError} E_FILE_FORMAT where the file is no tokenizer.json; E_UNSUPPORTED_FEATURE naming the path of what it
 * asks for that is not built.
 */
export function vocabularyFromTokenizerJson(json: unknown, config?: unknown): Uint8Array<ArrayBuffer> {
  return ggufHeader(vocabularyKeys(json, config));
}

/** The same as keys, for a header that has more. */
export function vocabularyKeys(json: unknown, config?: unknown): Map<string, HeaderValue> {
  const root = part('$', json);
  const model = child(root, 'model');
  if (!model) throw malformed('$.model', 'is missing');
  const type = model.json['type'] ?? (model.json['merges'] ? 'BPE' : undefined);
  const header: Header = new Map();
  const added = addedTokens(root);
  if (type === 'BPE') bpe(header, root, model, added);
  else if (type === 'Unigram') unigram(header, root, model, added);
  else if (type === 'WordPiece') wordPiece(header, root, model, added);
  else throw unsupported(`tokenizer.json: the model ${show(type)} at $.model.type is not supported`);
  strips(header, added);
  ends(header, root, type, config, added);
  return header;
}

// The models.

function bpe(header: Header, root: Part, model: Part, added: readonly Added[]): void {
  expect(model, { dropout: [null, 0], continuing_subword_prefix: [null, ''], end_of_word_suffix: [null, ''] });
  const pieces = piecesByName(model, added);
  const normalizer = steps(root, 'normalizer', 'normalizers');
  const cuts = steps(root, 'pre_tokenizer', 'pretokenizers');
  const ofBytes = cuts.some((step) => step.json['type'] === 'ByteLevel');
  set(header, 'tokenizer.ggml.model', string('gpt2'));
  const expressions = ofBytes ? byteLevel(header, normalizer, cuts) : characters(header, model, normalizer, cuts);
  set(header, 'tokenizer.kinglet.expressions', { type: 'strings', value: expressions });
  set(header, 'tokenizer.kinglet.ignore_merges', bool(model.json['ignore_merges'] === true));
  const type = (piece: string): number => (!ofBytes && /^<0x[0-9A-F]{2}>$/.test(piece) ? BYTE : NORMAL);
  vocabulary(header, pieces, added, type, (piece) => piece);
  set(header, 'tokenizer.ggml.merges', { type: 'strings', value: merges(model) });
  decoders(root, ['ByteLevel', 'Metaspace', 'Replace', 'ByteFallback', 'Fuse', 'Strip', 'BPEDecoder']);
  const unknown = model.json['unk_token'];
  if (typeof unknown === 'string' && !ofBytes)
    set(header, 'tokenizer.ggml.unknown_token_id', u32(idOf(pieces, unknown, model)));
}

/** Byte-level pieces: the normalizer, and the expressions by which text is cut. */
function byteLevel(header: Header, normalizer: readonly Part[], cuts: readonly Part[]): string[] {
  for (const step of normalizer) {
    if (step.json['type'] !== 'NFC') throw notBuilt(step);
    set(header, 'tokenizer.kinglet.nfc', bool(true));
  }
  return cuts.flatMap((step, i) => {
    const { type } = step.json;
    if (type === 'Split') return [splitExpression(step)];
    if (type === 'Digits') return [step.json['individual_digits'] === true ? '\\p{N}' : '\\p{N}+'];
    if (type === 'Punctuation') return [punctuation(step)];
    if (type !== 'ByteLevel' || i < cuts.length - 1) throw notBuilt(step);
    if (step.json['add_prefix_space'] === true) {
      if (i > 0) throw unsupported(`tokenizer.json: add_prefix_space after another step, at ${step.at}`);
      set(header, 'tokenizer.kinglet.prefix', string('unless space'));
    }
    return step.json['use_regex'] === false ? [] : [GPT_2];
  });
}

function splitExpression(step: Part): string {
  const pattern = child(step, 'pattern');
  const expression = pattern?.json['Regex'] ?? escaped(pattern?.json['String']);
  if (typeof expression !== 'string') throw malformed(`${step.at}.pattern`, 'is neither a Regex nor a String');
  const { behavior, invert } = step.json;
  // Matches are the words; what lies between them is a word too, or, where it is taken away, there is nothing.
  if ((behavior === 'Isolated' && invert !== true) || (behavior === 'Removed' && invert === true)) return expression;
  throw unsupported(`tokenizer.json: behavior ${show(behavior)}, invert ${show(invert)} at ${step.at}`);
}

function escaped(text: unknown): unknown {
  return typeof text === 'string' ? text.replace(/[\\^$.|?*+()[\]{}]/g, '\\$&') : undefined;
}

function punctuation(step: Part): string {
  const behavior = step.json['behavior'] ?? 'Isolated';
  if (behavior === 'Contiguous' || behavior === 'Isolated') return PUNCTUATION[behavior];
  throw unsupported(`tokenizer.json: behavior ${show(behavior)} at ${step.at}`);
}

/** Pieces of characters with ▁ for a space, as SentencePiece has them, and merges. */
function characters(header: Header, model: Part, normalizer: readonly Part[], cuts: readonly Part[]): string[] {
  expect(model, { byte_fallback: [true], fuse_unk: [true] });
  set(header, 'tokenizer.kinglet.characters', bool(true));
  let writesSpaces = false;
  for (const step of normalizer) {
    const { type } = step.json;
    if (type === 'Prepend' && step.json['prepend'] === SPACE && !writesSpaces) {
      set(header, 'tokenizer.kinglet.prefix', string('always'));
    } else if (type === 'Replace' && isReplace(step, ' ', SPACE)) writesSpaces = true;
    else throw notBuilt(step);
  }
  const expressions = cuts.flatMap((step) => {
    const { type } = step.json;
    if (type === 'Metaspace') {
      writesSpaces = true;
      const scheme = prependScheme(step);
      if (scheme !== 'never') {
        set(header, 'tokenizer.kinglet.prefix', string(scheme === 'first' ? 'first unless space' : 'unless space'));
      }
      return step.json['split'] === false ? [] : ['▁?[^▁]+|▁'];
    }
    // Nothing is left of spaces when Gemma's pre-tokenizer looks for them.
    const ofSpaces = type === 'Split' && child(step, 'pattern')?.json['String'] === ' ';
    if (ofSpaces && writesSpaces) return [];
    throw notBuilt(step);
  });
  if (!writesSpaces) throw unsupported('tokenizer.json: a BPE without ByteLevel that keeps spaces, at $.normalizer');
  return expressions;
}

function merges(model: Part): string[] {
  return list(model, 'merges').map((merge, i) => {
    const [left, right, ...more] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    const isPair = typeof left === 'string' && typeof right === 'string' && more.length === 0;
    if (!isPair || left === '' || right === '' || `${left}${right}`.includes(' ')) {
      throw malformed(`$.model.merges[${String(i)}]`, `is ${show(merge)}, expected two pieces without spaces`);
    }
    return `${left} ${right}`;
  });
}

function unigram(header: Header, root: Part, model: Part, added: readonly Added[]): void {
  const entries = list(model, 'vocab').map((entry, i): [string, number] => {
    const [piece, score] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (typeof piece === 'string' && typeof score === 'number') return [piece, score];
    throw malformed(`$.model.vocab[${String(i)}]`, `is ${show(entry)}, expected a piece and its score`);
  });
  const unknown = model.json['unk_id'];
  if (typeof unknown !== 'number' || !entries[unknown]) throw malformed('$.model.unk_id', `is ${show(unknown)}`);
  set(header, 'tokenizer.ggml.model', string('t5'));
  let single = false;
  for (const step of steps(root, 'normalizer', 'normalizers')) {
    const { type } = step.json;
    if (type === 'Precompiled' && !single) charsmap(header, step);
    else if (type === 'Replace' && isReplace(step, { Regex: ' {2,}' }, ' ')) single = true;
    else throw notBuilt(step);
  }
  let words = false;
  let metaspace: Part | undefined;
  for (const step of steps(root, 'pre_tokenizer', 'pretokenizers')) {
    const { type } = step.json;
    if (type === 'WhitespaceSplit' && !metaspace) words = true;
    else if (type === 'Metaspace' && !metaspace && step.json['split'] !== false) metaspace = step;
    else throw notBuilt(step);
  }
  if (!metaspace) throw unsupported('tokenizer.json: a Unigram model without Metaspace, at $.pre_tokenizer');
  const scheme = prependScheme(metaspace);
  if (scheme === 'first' || (words && scheme === 'never'))
    throw unsupported(`tokenizer.json: prepend_scheme ${show(scheme)} at ${metaspace.at}`);
  set(header, 'tokenizer.ggml.add_space_prefix', bool(scheme === 'always'));
  const spaces = words ? 'words' : single ? 'metaspace of one' : 'metaspace';
  set(header, 'tokenizer.kinglet.spaces', string(spaces));
  const hasBytes = model.json['byte_fallback'] === true;
  const pieces = withAdded(
    entries.map(([piece]) => piece),
    added,
  );
  const type = (piece: string, id: number): number => {
    if (id === unknown) return UNKNOWN;
    return hasBytes && /^<0x[0-9A-F]{2}>$/.test(piece) ? BYTE : NORMAL;
  };
  vocabulary(header, pieces, added, type, (piece) => piece);
  const scores = pieces.map((_, id) => entries[id]?.[1] ?? 0);
  set(header, 'tokenizer.ggml.scores', { type: 'f64s', value: scores });
  set(header, 'tokenizer.ggml.unknown_token_id', u32(unknown));
  decoders(root, ['Metaspace', 'Replace', 'ByteFallback', 'Fuse', 'Strip']);
}

function charsmap(header: Header, step: Part): void {
  const encoded = step.json['precompiled_charsmap'];
  if (encoded === null || encoded === '') return;
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(encoded as string), (c) => c.charCodeAt(0));
  } catch (cause) {
    const at = `${step.at}.precompiled_charsmap`;
    throw new KingletError('E_FILE_FORMAT', `tokenizer.json: ${at} is no base64`, { cause, details: { at } });
  }
  set(header, 'tokenizer.ggml.precompiled_charsmap', { type: 'u8s', value: bytes });
}

function wordPiece(header: Header, root: Part, model: Part, added: readonly Added[]): void {
  expect(model, { continuing_subword_prefix: ['##'], max_input_chars_per_word: [100] });
  const [normalizer, ...others] = steps(root, 'normalizer', 'normalizers');
  if (!normalizer || normalizer.json['type'] !== 'BertNormalizer' || others.length > 0) {
    throw unsupported('tokenizer.json: a WordPiece model without BertNormalizer, at $.normalizer');
  }
  expect(normalizer, { clean_text: [true], handle_chinese_chars: [true] });
  const [cut, ...more] = steps(root, 'pre_tokenizer', 'pretokenizers');
  if (!cut || cut.json['type'] !== 'BertPreTokenizer' || more.length > 0) {
    throw unsupported('tokenizer.json: a WordPiece model without BertPreTokenizer, at $.pre_tokenizer');
  }
  const lowercase = normalizer.json['lowercase'] === true;
  const accents = normalizer.json['strip_accents'] ?? lowercase;
  set(header, 'tokenizer.ggml.model', string('bert'));
  set(header, 'tokenizer.ggml.normalizer.lowercase', bool(lowercase));
  set(header, 'tokenizer.ggml.normalizer.strip_accents', bool(accents === true));
  const pieces = piecesByName(model, added);
  const write = (piece: string): string => (piece.startsWith('##') ? piece.slice(2) : `${SPACE}${piece}`);
  vocabulary(header, pieces, added, () => NORMAL, write);
  const unknown = model.json['unk_token'];
  if (typeof unknown !== 'string') throw malformed('$.model.unk_token', `is ${show(unknown)}`);
  set(header, 'tokenizer.ggml.unknown_token_id', u32(idOf(pieces, unknown, model)));
  decoders(root, ['WordPiece']);
}

// The vocabulary.

interface Added {
  readonly at: string;
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** Normalizers that leave ASCII without spaces as it is. */
const KEEPS_ASCII = ['Precompiled', 'Replace'];

function addedTokens(root: Part): Added[] {
  const normalizers = steps(root, 'normalizer', 'normalizers').map((step) => String(step.json['type']));
  const isKept = (content: string): boolean =>
    normalizers.every((type) => type === 'NFC' || (/^[!-~]+$/.test(content) && KEEPS_ASCII.includes(type)));
  return list(root, 'added_tokens', true).map((json, i) => {
    const token = part(`$.added_tokens[${String(i)}]`, json);
    const { id, content } = token.json;
    if (!isId(id) || typeof content !== 'string') throw malformed(token.at, 'has no id or no content');
    const flag = (name: string): boolean => token.json[name] === true;
    if (flag('single_word')) throw unsupported(`tokenizer.json: single_word at ${token.at}`);
    // It would be looked for in text that has been normalized; where its own text stays as it is, that is the same.
    if (flag('normalized') && !isKept(content)) throw unsupported(`tokenizer.json: normalized at ${token.at}`);
    return { at: token.at, id, content, special: flag('special'), lstrip: flag('lstrip'), rstrip: flag('rstrip') };
  });
}

function isId(id: unknown): id is number {
  return typeof id === 'number' && Number.isSafeInteger(id) && id >= 0 && id < MAX_PIECES;
}

/** More than any vocabulary has, so that one wrong id does not take all memory. */
const MAX_PIECES = 1 << 24;

/** Pieces by id, of a vocabulary that is an object. */
function piecesByName(model: Part, added: readonly Added[]): (string | undefined)[] {
  const vocab = child(model, 'vocab');
  if (!vocab) throw malformed('$.model.vocab', 'is missing');
  const pieces: (string | undefined)[] = [];
  for (const [piece, id] of Object.entries(vocab.json)) {
    if (!isId(id) || pieces[id] !== undefined) throw malformed('$.model.vocab', `has ${show(piece)} at ${show(id)}`);
    pieces[id] = piece;
  }
  return withAdded(pieces, added);
}

function withAdded(pieces: (string | undefined)[], added: readonly Added[]): (string | undefined)[] {
  const all = pieces.slice();
  for (const { at, id, content } of added) {
    const there = all[id];
    if (there !== undefined && there !== content)
      throw malformed(at, `is ${show(content)}, but piece ${String(id)} is ${show(there)}`);
    all[id] = content;
  }
  return all;
}

/** `tokens` and `token_type`: added tokens as they are, holes as llama.cpp's converter fills them. */
function vocabulary(
  header: Header,
  pieces: readonly (string | undefined)[],
  added: readonly Added[],
  typeOf: (piece: string, id: number) => number,
  write: (piece: string) => string,
): void {
  const special = new Map(added.map((token) => [token.id, token.special ? CONTROL : USER_DEFINED]));
  const tokens: string[] = [];
  const types: number[] = [];
  for (let id = 0; id < pieces.length; id++) {
    const piece = pieces[id];
    const type = special.get(id);
    tokens.push(piece === undefined ? `[PAD${String(id)}]` : type === undefined ? write(piece) : piece);
    types.push(piece === undefined ? UNUSED : (type ?? typeOf(piece, id)));
  }
  set(header, 'tokenizer.ggml.tokens', { type: 'strings', value: tokens });
  set(header, 'tokenizer.ggml.token_type', { type: 'i32s', value: types });
}

function strips(header: Header, added: readonly Added[]): void {
  for (const side of ['lstrip', 'rstrip'] as const) {
    const ids = added.filter((token) => token[side]).map((token) => token.id);
    if (ids.length > 0) set(header, `tokenizer.kinglet.${side}`, { type: 'i32s', value: ids });
  }
}

// The tokens round a text.

function ends(header: Header, root: Part, type: unknown, config: unknown, added: readonly Added[]): void {
  const { before, after } = template(root);
  const named = config === undefined || config === null ? {} : part('tokenizer_config.json', config).json;
  const idOfRole = (role: string): number | undefined => {
    const value = named[role];
    const text = typeof value === 'string' ? value : isObject(value) ? value['content'] : undefined;
    return added.find((token) => token.content === text)?.id;
  };
  const isBert = type === 'WordPiece';
  const bos = before ?? idOfRole('bos_token');
  const eos = (isBert ? undefined : after) ?? idOfRole('eos_token');
  if (bos !== undefined) set(header, 'tokenizer.ggml.bos_token_id', u32(bos));
  if (eos !== undefined) set(header, 'tokenizer.ggml.eos_token_id', u32(eos));
  set(header, 'tokenizer.ggml.add_bos_token', bool(before !== undefined));
  if (isBert) {
    set(header, 'tokenizer.ggml.add_sep_token', bool(after !== undefined));
    if (after !== undefined) set(header, 'tokenizer.ggml.seperator_token_id', u32(after));
  } else set(header, 'tokenizer.ggml.add_eos_token', bool(after !== undefined));
}

/** At most one token before a text and one behind it. */
function template(root: Part): { before?: number | undefined; after?: number | undefined } {
  let found: { before?: number | undefined; after?: number | undefined } = {};
  for (const step of steps(root, 'post_processor', 'processors')) {
    const { type } = step.json;
    if (type === 'ByteLevel') continue;
    if (type === 'TemplateProcessing') found = templateEnds(step);
    else if (type === 'BertProcessing' || type === 'RobertaProcessing') {
      found = { before: pairId(step, 'cls'), after: pairId(step, 'sep') };
    } else throw notBuilt(step);
  }
  return found;
}

function pairId(step: Part, key: string): number {
  const pair = step.json[key];
  if (Array.isArray(pair) && isId(pair[1])) return pair[1];
  throw malformed(`${step.at}.${key}`, `is ${show(pair)}`);
}

function templateEnds(step: Part): { before?: number | undefined; after?: number | undefined } {
  const names = list(step, 'single').map((item) => {
    const { SpecialToken, Sequence } = isObject(item) ? item : {};
    return isObject(Sequence) ? null : isObject(SpecialToken) ? SpecialToken['id'] : undefined;
  });
  const at = names.indexOf(null);
  const id = (name: unknown): number | undefined => {
    if (name === undefined) return undefined;
    const token = child(step, 'special_tokens')?.json[String(name)];
    const ids = isObject(token) ? token['ids'] : undefined;
    if (Array.isArray(ids) && ids.length === 1 && isId(ids[0])) return ids[0];
    throw unsupported(`tokenizer.json: the special token ${show(name)} at ${step.at}`);
  };
  if (at < 0 || at > 1 || names.length > at + 2) throw unsupported(`tokenizer.json: the template at ${step.at}.single`);
  return { before: at === 1 ? id(names[0]) : undefined, after: id(names[at + 1]) };
}

// Reading the file.

/** The steps of a part that is none, one, or a Sequence. */
function steps(root: Part, key: string, inSequence: string): Part[] {
  const one = child(root, key);
  if (!one) return [];
  if (one.json['type'] !== 'Sequence') return [one];
  return list(one, inSequence).flatMap((json, i) => {
    const at = `${one.at}.${inSequence}[${String(i)}]`;
    const step = part(at, json);
    if (step.json['type'] === 'Sequence') throw unsupported(`tokenizer.json: a Sequence within a Sequence at ${at}`);
    return [step];
  });
}

/** Decoding follows from the pieces; a decoder of another kind says that something was misunderstood. */
function decoders(root: Part, known: readonly string[]): void {
  for (const step of steps(root, 'decoder', 'decoders')) {
    if (!known.includes(String(step.json['type']))) throw notBuilt(step);
  }
}

function prependScheme(step: Part): 'always' | 'first' | 'never' {
  if ((step.json['replacement'] ?? SPACE) !== SPACE) throw unsupported(`tokenizer.json: the replacement at ${step.at}`);
  const scheme = step.json['prepend_scheme'] ?? (step.json['add_prefix_space'] === false ? 'never' : 'always');
  if (scheme === 'always' || scheme === 'first' || scheme === 'never') return scheme;
  throw unsupported(`tokenizer.json: prepend_scheme ${show(scheme)} at ${step.at}`);
}

function isReplace(step: Part, from: string | { Regex: string }, to: string): boolean {
  const pattern = child(step, 'pattern')?.json;
  const isFrom = typeof from === 'string' ? pattern?.['String'] === from : pattern?.['Regex'] === from.Regex;
  return isFrom && step.json['content'] === to;
}

/** Fields that may have only these values, or be missing. */
function expect({ at, json }: Part, fields: Record<string, readonly unknown[]>): void {
  for (const [name, values] of Object.entries(fields)) {
    const value = json[name];
    if (value === undefined ? !values.includes(null) && name === 'byte_fallback' : !values.includes(value)) {
      throw unsupported(`tokenizer.json: ${at}.${name} is ${show(value)}, expected ${values.map(show).join(' or ')}`);
    }
  }
}

function idOf(pieces: readonly (string | undefined)[], piece: string, model: Part): number {
  const id = pieces.indexOf(piece);
  if (id < 0) throw malformed(model.at, `has no piece ${show(piece)}`);
  return id;
}

function child({ at, json }: Part, key: string): Part | undefined {
  const value = json[key];
  return value === undefined || value === null ? undefined : part(`${at}.${key}`, value);
}

function list({ at, json }: Part, key: string, optional = false): unknown[] {
  const value = json[key];
  if (Array.isArray(value)) return value;
  if (optional && (value === undefined || value === null)) return [];
  throw malformed(`${at}.${key}`, `is ${show(value)}, expected a list`);
}

function part(at: string, json: unknown): Part {
  if (isObject(json)) return { at, json };
  throw malformed(at, `is ${show(json)}, expected an object`);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function notBuilt(step: Part): KingletError {
  return unsupported(`tokenizer.json: ${show(step.json['type'])} at ${step.at} is not supported here`, { at: step.at });
}

function malformed(at: string, why: string): KingletError {
  return new KingletError('E_FILE_FORMAT', `tokenizer.json: ${at} ${why}`, { details: { at } });
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80);
}

function set(header: Header, key: string, value: HeaderValue): void {
  header.set(key, value);
}
function string(value: string): HeaderValue {
  return { type: 'string', value };
}
function bool(value: boolean): HeaderValue {
  return { type: 'bool', value };
}
function u32(value: number): HeaderValue {
  return { type: 'u32', value };
}
