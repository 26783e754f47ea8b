// Writes the header of a GGUF file: metadata, and a directory of tensors. Used by tokenizer-json, which has none of these, and by
// checkpoint/header.

/** A value with GGUF's type. */
export type HeaderValue =
  | { type: 'u32'; value: number }
  | { type: 'f32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'i32s'; value: readonly number[] }
  | { type: 'u64s'; value: readonly number[] }
  | { type: 'f64s'; value: readonly number[] }
  | { type: 'u8s'; value: Uint8Array };

/** GGUF's numbers of types: that of the value, and of its elements where it is an array. */
const TYPES = {
  u32: [4],
  f32: [6],
  bool: [7],
  string: [8],
  strings: [9, 8],
  i32s: [9, 5],
  u64s: [9, 10],
  f64s: [9, 12],
  u8s: [9, 0],
} as const;

/** An entry of the directory. */
export interface HeaderTensor {
  name: string;
  /** Outermost first. */
  shape: readonly number[];
  /** ggml's number. */
  type: number;
  nBytes: number;
}

const VERSION = 3;
const ALIGNMENT = 32;

/** The bytes of a GGUF file up to its data, with these keys and tensors in their order. */
export function ggufHeader(
  values: ReadonlyMap<string, HeaderValue>,
  tensors: readonly HeaderTensor[] = [],
): Uint8Array<ArrayBuffer> {
  const out = new Writer();
  out.bytes(new TextEncoder().encode('GGUF'));
  out.u32(VERSION);
  out.u64(tensors.length);
  out.u64(values.size);
  for (const [key, value] of values) {
    out.string(key);
    for (const type of TYPES[value.type]) out.u32(type);
    writeValue(out, value);
  }
  let offset = 0;
  for (const { name, shape, type, nBytes } of tensors) {
    out.string(name);
    out.u32(shape.length);
    for (const n of shape.toReversed()) out.u64(n);
    out.u32(type);
    out.u64(offset);
    offset += Math.ceil(nBytes / ALIGNMENT) * ALIGNMENT;
  }
  return out.finish();
}

function writeValue(out: Writer, { type, value }: HeaderValue): void {
  if (type === 'u32') return out.u32(value);
  if (type === 'f32') return out.f32(value);
  if (type === 'bool') return out.bytes(Uint8Array.of(Number(value)));
  if (type === 'string') return out.string(value);
  out.u64(value.length);
  if (type === 'strings') for (const item of value) out.string(item);
  else if (type === 'i32s') for (const item of value) out.u32(item);
  else if (type === 'u64s') for (const item of value) out.u64(item);
  else if (type === 'f64s') for (const item of value) out.f64(item);
  else out.bytes(value);
}

/** Bytes that grow; numbers are little-endian. */
class Writer {
  private buffer = new Uint8Array(1 << 16);
  private view = new DataView(this.buffer.buffer);
  private length = 0;
  private readonly encoder = new TextEncoder();

  bytes(bytes: Uint8Array): void {
    const at = this.room(bytes.length);
    this.buffer.set(bytes, at);
  }

  u32(n: number): void {
    const at = this.room(4);
    this.view.setUint32(at, n, true);
  }

  u64(n: number): void {
    const at = this.room(8);
    this.view.setBigUint64(at, BigInt(n), true);
  }

  f32(n: number): void {
    const at = this.room(4);
    this.view.setFloat32(at, n, true);
  }

  f64(n: number): void {
    const at = this.room(8);
    this.view.setFloat64(at, n, true);
  }

  string(text: string): void {
    const bytes = this.encoder.encode(text);
    this.u64(bytes.length);
    this.bytes(bytes);
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.buffer.slice(0, this.length);
  }

  /** Where the next `n` bytes go. */
  private room(n: number): number {
    const at = this.length;
    this.length += n;
    if (this.length > this.buffer.length) {
      const bigger = new Uint8Array(Math.max(this.length, 2 * this.buffer.length));
      bigger.set(this.buffer);
      this.buffer = bigger;
      this.view = new DataView(bigger.buffer);
    }
    return at;
  }
}
