// What `debug.profile` gives.

/** Where the time of requests went: a debugging aid, whose fields may change. */
export interface Profile {
  /** While requests were being worked on in the engine's worker. What is not in `stepsMs` is sampling, text and messages. */
  wallMs: number;
  /**
   * In steps of the model; their number, and that of their rows (tokens). On the GPU by its own clock, from the first dispatch to the end of
   * the last; a step is slower than when nothing is measured.
   */
  stepsMs: number;
  steps: number;
  rows: number;
  /**
   * What kinds of operations took, longest first, such as `MatMul ffn_gate+ffn_up Q4_1`: in the engine's own thread, which is one of
   * `threads`, without its waits. On the GPU a kind has the kernel, too, and `count` is of its dispatches. The browser's clock is coarse: sums over many are right, small ones are not.
   */
  kinds: { kind: string; count: number; ms: number }[];
  barriers: number;
  /** How long the engine's own thread waited for others at barriers, and each of the others on average. */
  barrierWaitMs: number;
  othersWaitMs: number;
  /** Of the newest step. */
  threads: number;
  /** Which kernels ran; on the GPU the variants in use. */
  flavour: string;
}
