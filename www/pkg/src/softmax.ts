/** Logits as probabilities. */
export function softmax(logits: ArrayLike<number>): number[] {
  const all = Array.from(logits);
  const most = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = all.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
