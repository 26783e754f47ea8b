// The public types of the heads: what `classify`, `label` and `fillMask` look at, and what they say.

/** What a head looks at: a text, two texts together (a question and a passage, say), or token ids as they are. */
export type EncoderInput = string | { text: string; text_pair: string } | readonly number[];

/** How much a label applies to a text. */
export interface Classification {
  /** One of `info.labels`. */
  label: string;
  /** Probability among all labels; of a single label, as rankers have it, 1 / (1 + e^-logit). */
  score: number;
  /** What the model gave. */
  logit: number;
}

/** A token and its label. */
export interface LabelledToken {
  /** Id of the token. */
  token: number;
  /** The part of the text that it stands for, as in `text.slice(start, end)`; null where that is not known. */
  start: number | null;
  end: number | null;
  /** The most probable of `info.labels`. */
  label: string;
  /** Its probability. */
  score: number;
  /** Of all labels, in the order of `info.labels`. */
  logits: Float32Array;
}

/** A token that may stand in the place of a mask. */
export interface FilledMask {
  token: number;
  text: string;
  /** Its probability. */
  score: number;
  logprob: number;
}
