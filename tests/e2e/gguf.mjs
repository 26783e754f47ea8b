// Reads and changes strings in the metadata of a GGUF file, for tests that need a model with another chat template or tokenizer.

const SIZES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const STRING = 8;
const ARRAY = 9;

/** A copy of `file` in which `key`, a string, has another value; `undefined` takes it out. */
export function withString(file, key, value) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const n_kv = Number(view.getBigUint64(16, true));
  const n_tensors = Number(view.getBigUint64(8, true));
  let at = 24;
  const length = () => Number(view.getBigUint64((at += 8) - 8, true));
  const string = () => {
    const n = length();
    at += n;
    return file.subarray(at - n, at).toString();
  };
  const skip = (type) => {
    if (type === STRING) string();
    else if (type === ARRAY) {
      const inner = view.getUint32((at += 4) - 4, true);
      for (let n = length(); n > 0; n--) skip(inner);
    } else at += SIZES[type];
  };
  const entries = [];
  for (let i = 0; i < n_kv; i++) {
    const from = at;
    const name = string();
    skip(view.getUint32((at += 4) - 4, true));
    entries.push({ name, bytes: file.subarray(from, at) });
  }
  const infos = at;
  for (let i = 0; i < n_tensors; i++) {
    string();
    at += 4 + 8 * view.getUint32(at, true) + 4 + 8;
  }
  const changed = entries.filter((entry) => entry.name !== key).map((entry) => entry.bytes);
  if (value !== undefined) changed.push(Buffer.concat([encode(key), u32(STRING), encode(value)]));
  const head = Buffer.concat([file.subarray(0, 16), u64(changed.length), ...changed, file.subarray(infos, at)]);
  return Buffer.concat([head, Buffer.alloc(pad(head.length)), file.subarray(at + pad(at))]);
}

/** The strings of `key`, an array of strings. */
export function stringsOf(file, key) {
  const start = Buffer.concat([encode(key), u32(ARRAY), u32(STRING)]);
  let at = file.indexOf(start) + start.length;
  const length = () => Number(file.readBigUInt64LE((at += 8) - 8));
  return Array.from({ length: length() }, () => {
    const n = length();
    return file.subarray(at, (at += n)).toString();
  });
}

const pad = (n) => (32 - (n % 32)) % 32;
const u32 = (n) => Buffer.from(Uint32Array.of(n).buffer);
const u64 = (n) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer);
const encode = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);
