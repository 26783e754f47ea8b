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
  // 0: a token, 1: an embedding row
  kind: u32,
  position: u32,
  // where the page table of its sequence begins
  pages: u32,
}
