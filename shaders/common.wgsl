// What every shader may use: the step's parameters as src/gpu/step.rs writes them.

struct Step {
  // T
  n_rows: u32,
  // rows that ask for outputs
  n_outputs: u32,
  // how many of the best logits are wanted
  n_best: u32,
  unused: u32,
}

struct Row {
  // token id, or index of an embedding row
  input: u32,
  // bit 0: an embedding row, no token; bit 1: the second text of a pair
  kind: u32,
  position: u32,
  // where the page table of its sequence begins
  pages: u32,
  // the first row of its sequence in the step, and how many there are
  first_row: u32,
  n_rows: u32,
  // where the page table of its sequence's memory begins, and how many positions that has
  memory: u32,
  n_memory: u32,
}
