// Where keys and values lie in the cache of a layer, in quads of four elements of a head (src/gpu/cache.rs):
//
//   [page][keys, then values][kv head]   keys    [quad of the head][position]   64 invocations with a position each read on end
//                                        values  [position][quad of the head]   invocations with a quad each read on end

override KV_HEADS: u32;
// those of them that the operation has
override OWN_HEADS: u32;
// K, a multiple of 4
override HEAD_SIZE: u32;

const PAGE_POSITIONS = 64u;

fn key_place(page: u32, kv_head: u32, position: u32, quad: u32) -> u32 {
  let head = 2u * page * KV_HEADS + kv_head;
  return (head * (HEAD_SIZE / 4u) + quad) * PAGE_POSITIONS + position % PAGE_POSITIONS;
}

fn value_place(page: u32, kv_head: u32, position: u32, quad: u32) -> u32 {
  let head = (2u * page + 1u) * KV_HEADS + kv_head;
  return (head * PAGE_POSITIONS + position % PAGE_POSITIONS) * (HEAD_SIZE / 4u) + quad;
}
