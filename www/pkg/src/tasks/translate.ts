// translate: a text in parts that are translated one after the other, with the white space of the original between them.

import type { FinishReason } from '../types.js';
import { overflow, split } from './chunks.js';
import { languageName } from './languages.js';
import { checkOptions, checkText } from './options.js';
import { Progress } from './progress.js';
import { translationPrompt } from './prompts.js';
import { CUT, sentenceCuts } from './sentences.js';
import { supported } from './support.js';
import type { TaskEngine, TranslateOptions, Written } from './types.js';
import { Costs, Writer } from './writing.js';

/** A translation may take so many tokens for each of the original's, and some more. */
const GROWTH = 3;
const MORE_TOKENS = 32;

/**
 * Translates a text. Encoder-decoders read it sentence by sentence, as T5 was trained (between English and German, French or Romanian);
 * models that chat read it paragraph by paragraph. Lines and paragraphs stay; what has no letters is copied. `max_tokens` is for each
 * part; by default it grows with the part.
 *
 * @throws KingletError E_UNSUPPORTED_TASK for a model that does not write, or was not trained to follow instructions; RangeError for an
 * unknown language.
 */
export async function translate(engine: TaskEngine, text: string, options: TranslateOptions): Promise<Written> {
  checkOptions('translate', options);
  supported(engine, 'translate');
  const writer = new Writer(engine, options.signal);
  const from = languageName(options.from, 'from', writer.isEncoderDecoder);
  const to = languageName(options.to, 'to', writer.isEncoderDecoder);
  checkText(text);
  const prompt = translationPrompt(writer.manner, from, to);
  const parts = await partsOf(text, writer, await mostTokens(writer, prompt, text, options.max_tokens));

  const progress = new Progress(parts.length, options.onProgress);
  const costs = new Costs();
  const written: Written = { text: '', chunks: parts.length, finish_reason: 'stop', ...costs };
  const show = (piece: string): void => {
    written.text += piece;
    if (piece !== '') options.onText?.(piece);
  };
  for (const { lead, core, trail } of parts) {
    show(lead);
    if (/\p{L}/u.test(core)) {
      const max_tokens = options.max_tokens ?? GROWTH * (await writer.measure(core)) + MORE_TOKENS;
      const ask = { max_tokens, options, onText: options.onText };
      const part = costs.add(await writer.write(prompt.before + core + prompt.after, ask));
      written.text += part.text;
      if (part.finish_reason === 'length') written.finish_reason = 'length' satisfies FinishReason;
    } else show(core);
    show(trail);
    progress.step();
  }
  return written;
}

/** Tokens of a part, so that its translation fits too. */
async function mostTokens(
  writer: Writer,
  prompt: { before: string; after: string },
  text: string,
  max_tokens: number | undefined,
): Promise<number> {
  const room = await writer.room(prompt);
  const { contextLength } = writer.engine.info;
  const forAnswer = writer.isEncoderDecoder ? contextLength : room;
  const fair = Math.floor((forAnswer - MORE_TOKENS) / (writer.isEncoderDecoder ? GROWTH : GROWTH + 1));
  const most = max_tokens === undefined ? fair : writer.isEncoderDecoder ? room : room - max_tokens;
  const limit = Math.min(room, most);
  if (limit < 1) throw overflow(await writer.measure(text), limit);
  return limit;
}

interface Part {
  lead: string;
  core: string;
  trail: string;
}

/** Sentences or paragraphs, and smaller parts of those that do not fit, each with the white space around it. */
async function partsOf(text: string, writer: Writer, limit: number): Promise<Part[]> {
  const least = writer.isEncoderDecoder ? CUT.sentence : CUT.paragraph;
  const parts: Part[] = [];
  let start = 0;
  for (const { at } of sentenceCuts(text).filter(({ strength }) => strength >= least)) {
    for (const span of await split(text.slice(start, at), limit, writer.measure)) {
      const part = text.slice(start + span.start, start + span.end);
      const core = part.trim();
      const lead = core === '' ? part : part.slice(0, part.indexOf(core));
      parts.push({ lead, core, trail: part.slice(lead.length + core.length) });
    }
    start = at;
  }
  return parts;
}
