// How what one row sees is cut into parts, as src/gpu/dispatch.rs has it.

// positions of a part, at least
override PART: u32;
override MOST_PARTS: u32;

// Of n positions.
fn count_parts(n: u32) -> u32 {
  return clamp(n / PART, 1u, MOST_PARTS);
}
