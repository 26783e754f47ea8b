// What matrix × vector and matrix × matrix have in common: the sizes, and where a product goes.

//#if COUNTED
@group(0) @binding(0) var<uniform> step: Step;
//#endif
//#if BIAS
@group(0) @binding(5) var<storage, read> bias: array<f32>;
//#endif
//#if ADD
@group(0) @binding(6) var<storage, read> residual: array<f32>;
override SCALE: f32;
//#endif
//#if SCALED
override SCALE: f32;
//#endif
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
//#if PARTS_2
@group(0) @binding(8) var<storage, read_write> out_1: array<f32>;
//#endif
//#if PARTS_3
@group(0) @binding(9) var<storage, read_write> out_2: array<f32>;
//#endif

// weights of a row, and blocks
override K: u32;
override BLOCKS: u32;
// where the first row of the matrix goes, when it is a shard of a larger one
override FIRST_ROW: u32;
// rows of the matrix (of the first part, of the shard): the first, and how many
override ROW_0: u32;
override N: u32;
// elements per row of `out`
override WIDTH: u32;
//#if PARTS_2
// where the second part begins, and how many rows it has
override ROW_1: u32;
override N_1: u32;
//#endif
//#if PARTS_3
override ROW_2: u32;
override N_2: u32;
//#endif
//#if GLU
// rows from the first matrix to the second
override UP_ROW: u32;
//#endif
// the rows are those that ask for outputs
override OUTPUTS: bool;

// T
fn n_rows() -> u32 {
  //#if COUNTED
  return select(step.n_rows, step.n_outputs, OUTPUTS);
  //#else
  return 1u;
  //#endif
}

//#if BEST
// for candidates.wgsl: a block is the rows of a team, in all of its rounds
@group(0) @binding(10) var<storage, read_write> blocks: array<vec2<u32>>;
override ROUNDS: u32;

// Of what an invocation has stored: the key of the largest, Σ e^(y − largest), whether something is not finite.
var<private> largest = 0u;
var<private> total = 0.0;
var<private> faulty = false;

fn see(y: f32) {
  let bits = bitcast<u32>(y);
  let key = ordered(bits);
  faulty = faulty || !is_finite(bits);
  if key > largest {
    if largest > 0u {
      total *= exp(number(largest) - y);
    }
    total += 1.0;
    largest = key;
  } else {
    total += exp(y - number(largest));
  }
}

fn store_block(block: u32) {
  blocks[block] = vec2<u32>(largest, select(bitcast<u32>(total), NOT_A_NUMBER, faulty));
}
//#endif

//#if GLU
fn store(t: u32, row: u32, gate_product: f32, up_product: f32) {
  let column = row - ROW_0;
  if t >= n_rows() || column >= N {
    return;
  }
  var gate = gate_product;
  var up = up_product;
  //#if BIAS
  gate += bias[row];
  up += bias[UP_ROW + row];
  //#endif
  out[t * WIDTH + column] = activated(gate) * up;
}
//#else
fn store(t: u32, row: u32, product: f32) {
  if t >= n_rows() {
    return;
  }
  var y = product;
  //#if BIAS
  y += bias[FIRST_ROW + row];
  //#endif
  if row - ROW_0 < N {
    let i = t * WIDTH + FIRST_ROW + row - ROW_0;
    //#if ADD
    y = residual[i] + SCALE * y;
    //#endif
    //#if ACTIVATED
    y = activated(y);
    //#endif
    //#if SCALED
    y *= SCALE;
    //#if CAP
    y = capped(y);
    //#endif
    //#endif
    out[i] = y;
    //#if BEST
    see(y);
    //#endif
  }
  //#if PARTS_2
  if row >= ROW_1 && row - ROW_1 < N_1 {
    out_1[t * N_1 + row - ROW_1] = y;
  }
  //#endif
  //#if PARTS_3
  if row >= ROW_2 && row - ROW_2 < N_2 {
    out_2[t * N_2 + row - ROW_2] = y;
  }
  //#endif
}
//#endif
