// Writes what was packed to the cache, from quad `first` of a head on. After pages.wgsl.

fn store_key(page: u32, kv_head: u32, position: u32, first: u32, packed: Packed) {
  var words = packed;
  for (var i = 0u; i < TOGETHER; i++) {
    cache[key_place(page, kv_head, position, first + i)] = words[i];
  }
  //#if BLOCKS
  cache[key_scale_place(page, kv_head, position, first)] = words[8];
  //#endif
}

fn store_value(page: u32, kv_head: u32, position: u32, first: u32, packed: Packed) {
  var words = packed;
  for (var i = 0u; i < TOGETHER; i++) {
    cache[value_place(page, kv_head, position, first + i)] = words[i];
  }
  //#if BLOCKS
  cache[value_scale_place(page, kv_head, position, first)] = words[8];
  //#endif
}
