// The vocabulary of ByT5, which has no tokenizer.json: the bytes of UTF-8. In the form that src/tokenizer/byt5.rs reads. Pure.

import type { HeaderValue } from '../gguf-header.js';

/** Sentinels behind the bytes, where tokenizer_config.json does not say how many. */
const EXTRA = 125;
/** GGUF's types of pieces. */
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

export function byT5Keys(extra = EXTRA): Map<string, HeaderValue> {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const sentinels = Array.from({ length: extra }, (_, i) => `<extra_id_${i}>`);
  const types = [CONTROL, CONTROL, UNKNOWN, ...bytes.map(() => BYTE), ...sentinels.map(() => CONTROL)];
  return new Map<string, HeaderValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'byt5' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: ['<pad>', '</s>', '<unk>', ...bytes, ...sentinels] }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: types }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 1 }],
    ['tokenizer.ggml.unknown_token_id', { type: 'u32', value: 2 }],
  ]);
}
