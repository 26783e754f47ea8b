// What is kept of a conversation. Messages are a tree: editing a message or making an answer again adds a branch beside the one
// before, and nothing that was said is lost.
import type { PlainError } from '../words.js';

export interface Conversation {
  id: string;
  title: string;
  createdMs: number;
  updatedMs: number;
  /** The system prompt that the last answer was given with. */
  system: string;
  /** The last message of the branch that is shown; null before anything has been said. */
  leaf: string | null;
}

export interface Message {
  id: string;
  conversation: string;
  /** The message that this one follows; null at the beginning. */
  parent: string | null;
  role: 'user' | 'assistant';
  text: string;
  createdMs: number;
  /** With role `assistant`. */
  answer?: AnswerFacts;
}

/** How an answer came to be. */
export interface AnswerFacts {
  /** What the page called the model. */
  model: string;
  /** "41 tokens · 62.1 tok/s · first after 180 ms". */
  figures: string;
  /**
   * `stop`: the model ended it; `length`: a limit did; `stopped`: the visitor; `failed`: an error. `running`: the page was closed
   * while the model was writing.
   */
  end: 'stop' | 'length' | 'stopped' | 'failed' | 'running';
  error?: PlainError;
  /** Tokens in the context after this answer. */
  contextTokens?: number;
}

/** A token that could have stood in the place of one. */
export interface Alternative {
  text: string;
  logprob: number;
  /** What was kept before the package told them has none. */
  id?: number;
}

/** One token of an answer. */
export interface Token {
  id: number;
  /** What it adds to the text: empty where a character needs more tokens. */
  text: string;
  /** Of this token, and of the most probable ones in its place, best first; where they were asked for. */
  logprob?: number;
  top?: Alternative[];
}

/** The tokens of an answer, kept beside it. They mean something only to the model that wrote them. */
export interface AnswerTokens {
  message: string;
  conversation: string;
  model: string;
  tokens: Token[];
}

/** A conversation with all that belongs to it. */
export interface Whole {
  conversation: Conversation;
  messages: Message[];
  tokens: AnswerTokens[];
}

/** 128 random bits. (crypto.randomUUID is missing where the page comes by plain HTTP.) */
export const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

let lastMs = 0;

/** The time, later with every call, so that it gives messages an order. */
export const now = (): number => (lastMs = Math.max(Date.now(), lastMs + 1));

const LONGEST_TITLE_CHARS = 60;

/** The first line of the first message, cut at a word. */
export function titleOf(text: string): string {
  const line = text.trim().split('\n', 1)[0]?.replace(/\s+/g, ' ') ?? '';
  if (line.length <= LONGEST_TITLE_CHARS) return line || 'Untitled';
  return `${line.slice(0, LONGEST_TITLE_CHARS).replace(/\s+\S*$/, '')}…`;
}
