// out = norm(x): rms or layer norm of each of the RUNS runs of WIDTH elements of a row; with ADD out = residual + SCALE · norm(x).
// One workgroup per run.
//
// Each invocation adds up its strip of the row, then all of the partial sums: one barrier where others have a tree.

@group(0) @binding(0) var<storage, read> x: array<Lane>;
@group(0) @binding(1) var<storage, read> weight: array<Lane>;
@group(0) @binding(2) var<storage, read_write> out: array<Lane>;
//#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<Lane>;
//#endif

//#if ADD
@group(0) @binding(4) var<storage, read> residual: array<Lane>;
override SCALE: f32;
//#endif

override WIDTH: u32;
override RUNS: u32;
override EPS: f32;

const WORKGROUP = 64u;
var<workgroup> sums: array<f32, WORKGROUP>;
//#if LAYER
var<workgroup> totals: array<f32, WORKGROUP>;
//#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) me: u32) {
  let n = WIDTH / LANE_LEN;
  let row = (group.y * RUNS + group.x) * n;
  //#if LAYER
  var total = 0.0;
  for (var i = me; i < n; i += WORKGROUP) {
    total += lane_sum(x[row + i]);
  }
  totals[me] = total;
  workgroupBarrier();
  total = 0.0;
  for (var i = 0u; i < WORKGROUP; i++) {
    total += totals[i];
  }
  let mean = total / f32(WIDTH);
  //#else
  let mean = 0.0;
  //#endif
  var sum = 0.0;
  for (var i = me; i < n; i += WORKGROUP) {
    let d = x[row + i] - mean;
    sum += lane_sum(d * d);
  }
  sums[me] = sum;
  workgroupBarrier();
  sum = 0.0;
  for (var i = 0u; i < WORKGROUP; i++) {
    sum += sums[i];
  }
  let inverse = 1.0 / sqrt(sum / f32(WIDTH) + EPS);
  for (var i = me; i < n; i += WORKGROUP) {
    var y = (x[row + i] - mean) * inverse * weight[i];
    //#if BIAS
    y += bias[i];
    //#endif
    //#if ADD
    y = residual[row + i] + SCALE * y;
    //#endif
    out[row + i] = y;
  }
}
