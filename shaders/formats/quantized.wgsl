// Quantized formats: w = d · q + m, where each half of a block may have a d and an m of its own. Flags say what a format is
// made of (src/gpu/shader.rs); where its bits lie is drawn in src/quant/planes.rs.
//
//   quants   LOW_2 LOW_4 LOW_8   bits of the first field; a byte is signed
//            HIGH_1 HIGH_2       bits of the second, which lies above it
//            TABLE               q is one of 16 numbers
//   scales   HALF                f16 d per block (TERNARY: per eight)
//            PAIR                f16 d and m per block
//            EXPONENT            d = 2^(e − 128), a byte e per block
//            BYTES               f16 d per eight blocks, times a signed byte per block
//            RECORD              f16 d and f16 for m per eight blocks, times two bytes per block: for d and for m; with HALVES
//                                two nibbles for d and two for m; with CENTRED two signed bytes for d
//   MINIMA   there is an m; CENTRED: it is −d · half of what q can count to, TERNARY: −d

//#if LOW_2
const LOW = 2u;
//#endif
//#if LOW_4
const LOW = 4u;
//#endif
//#if LOW_8
const LOW = 8u;
//#endif
//#if HIGH_0
const HIGH = 0u;
//#endif
//#if HIGH_1
const HIGH = 1u;
//#endif
//#if HIGH_2
const HIGH = 2u;
//#endif

// The quants of a block, a byte each: of eight words the even ones and the odd ones.
struct Bytes {
  even: vec4<u32>,
  odd: vec4<u32>,
}

// Each word holds four quants at the lowest bits of its bytes, and the next four above them.
fn bytes(words: vec4<u32>, bits: u32) -> Bytes {
  let mask = vec4<u32>(0x01010101u * ((1u << bits) - 1u));
  return Bytes(words & mask, (words >> vec4<u32>(bits)) & mask);
}

//#if TWO_BITS
// Block i of eight, in a field of two bits that begins at vector `first`.
fn two_bits(first: u32, i: u32) -> Bytes {
  let at = first + i / 2u;
  let c = 2u * (i % 2u);
  let words = vec4<u32>(vec2<u32>(quants[at][c]), vec2<u32>(quants[at][c + 1u]));
  return bytes(words >> vec4<u32>(0u, 4u, 0u, 4u), 2u);
}
//#endif

//#if LOW_8
fn block_bytes(block: u32) -> Bytes {
  let a = quants[2u * block];
  let b = quants[2u * block + 1u];
  return Bytes(vec4<u32>(a.xz, b.xz), vec4<u32>(a.yw, b.yw));
}
//#else
fn block_bytes(block: u32) -> Bytes {
  let first = block / 8u * (2u * (LOW + HIGH));
  let i = block % 8u;
  //#if LOW_2
  let low = two_bits(first, i);
  //#else
  let low = bytes(quants[first + i], 4u);
  //#endif
  //#if HIGH_0
  return low;
  //#else
  //#if HIGH_1
  let word = quants[first + 2u * LOW + i / 4u][i % 4u];
  let high = bytes(vec4<u32>(word) >> vec4<u32>(0u, 2u, 4u, 6u), 1u);
  //#else
  let high = two_bits(first + 2u * LOW, i);
  //#endif
  return Bytes(low.even | (high.even << vec4<u32>(LOW)), low.odd | (high.odd << vec4<u32>(LOW)));
  //#endif
}
//#endif

//#if TABLE
//#if EXPONENT
const TABLE = vec4<u32>(0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);
//#else
const TABLE = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
//#endif
//#endif

// Four quants as numbers.
fn numbers(word: u32) -> vec4<f32> {
  //#if LOW_8
  return signed(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u));
  //#else
  let q = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
  //#if TABLE
  let is_odd = (q & vec4<u32>(4u)) != vec4<u32>();
  let low = select(vec4<u32>(TABLE.x), vec4<u32>(TABLE.y), is_odd);
  let high = select(vec4<u32>(TABLE.z), vec4<u32>(TABLE.w), is_odd);
  return signed(select(low, high, q > vec4<u32>(7u)) << (vec4<u32>(24u) - 8u * (q & vec4<u32>(3u))));
  //#else
  return vec4<f32>(q);
  //#endif
  //#endif
}

// The highest bytes, which are signed.
fn signed(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(words) >> vec4<u32>(24u));
}

fn block_quants(block: u32) -> array<vec4<f32>, 8> {
  let q = block_bytes(block);
  return array<vec4<f32>, 8>(
    numbers(q.even.x), numbers(q.odd.x), numbers(q.even.y), numbers(q.odd.y),
    numbers(q.even.z), numbers(q.odd.z), numbers(q.even.w), numbers(q.odd.w),
  );
}

//#if AS_BYTES
// The same as signed bytes.
fn packed_quants(block: u32) -> array<u32, 8> {
  let q = block_bytes(block);
  let words = array<u32, 8>(q.even.x, q.odd.x, q.even.y, q.odd.y, q.even.z, q.odd.z, q.even.w, q.odd.w);
  //#if TABLE
  var packed = array<u32, 8>();
  for (var i = 0u; i < 8u; i++) {
    packed[i] = pack4xI8(vec4<i32>(numbers(words[i])));
  }
  return packed;
  //#else
  return words;
  //#endif
}
//#endif

// For the halves of a block.
struct Scale {
  d: vec2<f32>,
  m: vec2<f32>,
}

fn block_scale(block: u32) -> Scale {
  //#if PAIR
  let dm = unpack2x16float(scales[block]);
  let d = dm.xx;
  let m = dm.yy;
  //#endif
  //#if HALF
  //#if TERNARY
  let i = block / 8u;
  //#else
  let i = block;
  //#endif
  let two = unpack2x16float(scales[i / 2u]);
  let d = vec2<f32>(select(two.x, two.y, i % 2u == 1u));
  //#endif
  //#if EXPONENT
  let e = (scales[block / 4u] >> (8u * (block % 4u))) & 255u;
  // What lies below 2⁻¹²⁶ a driver may take for 0: so it is 0 everywhere.
  let d = vec2<f32>(bitcast<f32>((max(e, 1u) - 1u) << 23u));
  //#endif
  //#if BYTES
  let i = block % 8u;
  let record = 3u * (block / 8u);
  let factor = scales[record + 1u + i / 4u] << (24u - 8u * (i % 4u));
  let d = unpack2x16float(scales[record]).x * signed(vec4<u32>(factor)).xy;
  //#endif
  //#if RECORD
  let i = block % 8u;
  let record = 5u * (block / 8u);
  let dm = unpack2x16float(scales[record]);
  let factors = vec2<u32>(scales[record + 1u + i / 2u]) >> (vec2<u32>(0u, 8u) + 16u * (i % 2u));
  //#if CENTRED
  let d = dm.x * signed(factors.xyxy << vec4<u32>(24u)).xy;
  //#else
  //#if HALVES
  let d = dm.x * vec2<f32>(factors & vec2<u32>(15u));
  let m = -dm.y * vec2<f32>((factors >> vec2<u32>(4u)) & vec2<u32>(15u));
  //#else
  let products = dm * vec2<f32>(factors & vec2<u32>(255u));
  let d = products.xx;
  let m = -products.yy;
  //#endif
  //#endif
  //#endif
  //#if CENTRED
  //#if TERNARY
  let m = -d;
  //#else
  let m = -f32(1u << (LOW + HIGH - 1u)) * d;
  //#endif
  //#endif
  //#if MINIMA
  return Scale(d, m);
  //#else
  return Scale(d, vec2<f32>());
  //#endif
}

fn block_weights(block: u32) -> array<vec4<f32>, 8> {
  let q = block_quants(block);
  let s = block_scale(block);
  let d = s.d;
  let m = vec4<f32>(s.m.x);
  let n = vec4<f32>(s.m.y);
  return array<vec4<f32>, 8>(
    q[0] * d.x + m, q[1] * d.x + m, q[2] * d.x + m, q[3] * d.x + m,
    q[4] * d.y + n, q[5] * d.y + n, q[6] * d.y + n, q[7] * d.y + n,
  );
}

struct Block {
  quants: array<vec4<f32>, 8>,
  scale: Scale,
}

fn read_block(block: u32) -> Block {
  return Block(block_quants(block), block_scale(block));
}

fn read_dot(block: Block, x: array<vec4<f32>, 8>, x_sums: vec2<f32>) -> f32 {
  let q = block.quants;
  let s = block.scale;
  //#if HALVES
  let y = dot(s.d, dots_16(q, x));
  //#else
  let y = s.d.x * dot_32(q, x);
  //#endif
  //#if MINIMA
  return y + dot(s.m, x_sums);
  //#else
  return y;
  //#endif
}
