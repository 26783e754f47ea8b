// Reads the header of a GGUF file, for tests of what writes one. Numbers as JavaScript has them.

export interface Gguf {
  values: Map<string, unknown>;
  /** Shapes outermost first. */
  tensors: { name: string; shape: number[]; type: number; offset: number }[];
}

export function readGguf(bytes: Uint8Array): Gguf {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const skip = (n: number): number => (at += n) - n;
  const u32 = (): number => view.getUint32(skip(4), true);
  const u64 = (): number => Number(view.getBigUint64(skip(8), true));
  const string = (): string => {
    const n = u64();
    return new TextDecoder().decode(bytes.subarray(at, skip(n) + n));
  };
  const READERS: Record<number, () => unknown> = {
    0: () => view.getUint8(skip(1)),
    4: u32,
    5: () => view.getInt32(skip(4), true),
    6: () => view.getFloat32(skip(4), true),
    7: () => view.getUint8(skip(1)) === 1,
    8: string,
    9: () => {
      const [type, n] = [u32(), u64()];
      return Array.from({ length: n }, () => READERS[type]?.());
    },
    10: u64,
    12: () => view.getFloat64(skip(8), true),
  };
  if (u32() !== 0x46554747 || u32() !== 3) throw new Error('no GGUF file');
  const [nTensors, nValues] = [u64(), u64()];
  const values = new Map(Array.from({ length: nValues }, () => [string(), READERS[u32()]?.()]));
  const tensors = Array.from({ length: nTensors }, () => ({
    name: string(),
    shape: Array.from({ length: u32() }, u64).reverse(),
    type: u32(),
    offset: u64(),
  }));
  return { values, tensors };
}
