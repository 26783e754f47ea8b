// Where keys and values lie in the cache of a layer, in quads of four elements of a head (src/gpu/cache.rs):
//
//   [page][keys, then values][kv head]   keys    [quad of the head][position]   64 invocations with a position each read on end
//                                        values  [position][quad of the head]   invocations with a quad each read on end
//
// With BLOCKS eight quads have a scale, and behind the quads of a head are its scales, in the same order. Needs a binding `cache`.

override KV_HEADS: u32;
// those of them that the operation has
override OWN_HEADS: u32;
// K, a multiple of 4
override HEAD_SIZE: u32;

const PAGE_POSITIONS = 64u;

// Where the keys of a head begin, or with side 1 the values.
fn head_place(page: u32, side: u32, kv_head: u32) -> u32 {
  let head = (2u * page + side) * KV_HEADS + kv_head;
  //#if BLOCKS
  return head * (HEAD_SIZE / 32u * 9u) * PAGE_POSITIONS;
  //#else
  return head * (HEAD_SIZE / 4u) * PAGE_POSITIONS;
  //#endif
}

fn key_place(page: u32, kv_head: u32, position: u32, quad: u32) -> u32 {
  return head_place(page, 0u, kv_head) + quad * PAGE_POSITIONS + position % PAGE_POSITIONS;
}

fn value_place(page: u32, kv_head: u32, position: u32, quad: u32) -> u32 {
  return head_place(page, 1u, kv_head) + position % PAGE_POSITIONS * (HEAD_SIZE / 4u) + quad;
}

//#if BLOCKS
fn key_scale_place(page: u32, kv_head: u32, position: u32, quad: u32) -> u32 {
  let scales = head_place(page, 0u, kv_head) + HEAD_SIZE / 4u * PAGE_POSITIONS;
  return scales + quad / 8u * PAGE_POSITIONS + position % PAGE_POSITIONS;
}

fn value_scale_place(page: u32, kv_head: u32, position: u32, quad: u32) -> u32 {
  let scales = head_place(page, 1u, kv_head) + HEAD_SIZE / 4u * PAGE_POSITIONS;
  return scales + position % PAGE_POSITIONS * (HEAD_SIZE / 32u) + quad / 8u;
}
//#endif

// Quad i of what was packed.
fn unpack(packed: Packed, i: u32) -> vec4<f32> {
  //#if BLOCKS
  var words = packed;
  return bitcast<f32>(words[8]) * unpack_quad(words[i]);
  //#else
  return unpack_quad(packed[0]);
  //#endif
}

fn cached_key(page: u32, kv_head: u32, position: u32, quad: u32) -> vec4<f32> {
  let y = unpack_quad(cache[key_place(page, kv_head, position, quad)]);
  //#if BLOCKS
  return bitcast<f32>(cache[key_scale_place(page, kv_head, position, quad)]) * y;
  //#else
  return y;
  //#endif
}

fn cached_value(page: u32, kv_head: u32, position: u32, quad: u32) -> vec4<f32> {
  let y = unpack_quad(cache[value_place(page, kv_head, position, quad)]);
  //#if BLOCKS
  return bitcast<f32>(cache[value_scale_place(page, kv_head, position, quad)]) * y;
  //#else
  return y;
  //#endif
}
