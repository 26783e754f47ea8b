// Conversations as files: JSON with every branch, to be read again; Markdown of the branch that is shown, for people. Whatever is
// read is checked first, part by part: a file can say anything. Pure.
import { Tree } from './tree.js';
import { type AnswerFacts, type Message, newId, type Whole } from './types.js';

const FORMAT = 'kinglet-conversations';
const VERSION = 1;
const ENDS: readonly AnswerFacts['end'][] = ['stop', 'length', 'stopped', 'failed', 'running'];
/** The last moment that a Date knows. */
const LATEST_MS = 8.64e15;

/** Why a file was refused, in words for the visitor. */
export class ImportError extends Error {
  override name = 'ImportError';
}

export function toJson(wholes: readonly Whole[]): string {
  const conversations = wholes.map(({ conversation, messages }) => ({
    title: conversation.title,
    created: isoOf(conversation.createdMs),
    updated: isoOf(conversation.updatedMs),
    system: conversation.system,
    leaf: conversation.leaf,
    messages: new Tree(messages).messages.map(({ id, parent, role, text, createdMs, answer }) => ({
      id,
      parent,
      role,
      text,
      created: isoOf(createdMs),
      ...(answer && { model: answer.model, end: answer.end, figures: answer.figures }),
    })),
  }));
  return `${JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 2)}\n`;
}

/** Reads what `toJson` wrote. Everything gets new ids, so that nothing that is here already is written over. */
export function fromJson(text: string): Whole[] {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new ImportError('This file is not JSON, or it was cut off.');
  }
  const file = fields(data, 'The file');
  if (file.format !== FORMAT) throw new ImportError('This file holds no conversations of this page.');
  if (file.version !== VERSION)
    throw new ImportError(`This file is of version ${shown(file.version)}; this page reads version ${VERSION}.`);
  return list(file.conversations, 'conversations').map((one, i) => conversationOf(one, `Conversation ${i + 1}`));
}

function conversationOf(data: unknown, where: string): Whole {
  const read = fields(data, where);
  const id = newId();
  const ids = new Map<string, Message>();
  const messages = list(read.messages, `${where}: messages`).map((one, i) =>
    messageOf(one, { conversation: id, ids, where: `${where}, message ${i + 1}` }),
  );
  const leaf = read.leaf === null ? undefined : ids.get(string(read.leaf, `${where}: leaf`));
  if (!leaf && (messages.length > 0 || read.leaf !== null))
    throw new ImportError(`${where}: its leaf is none of its messages.`);
  const conversation = {
    id,
    title: string(read.title, `${where}: title`),
    createdMs: time(read.created, `${where}: created`),
    updatedMs: time(read.updated, `${where}: updated`),
    system: string(read.system, `${where}: system`),
    leaf: leaf?.id ?? null,
  };
  return { conversation, messages, tokens: [] };
}

/** `ids`: the messages before this one, by their ids in the file. A message comes after the one that it follows, so none can follow itself. */
function messageOf(
  data: unknown,
  { conversation, ids, where }: { conversation: string; ids: Map<string, Message>; where: string },
): Message {
  const read = fields(data, where);
  const { role } = read;
  if (role !== 'user' && role !== 'assistant')
    throw new ImportError(`${where}: its role is ${shown(role)}, neither "user" nor "assistant".`);
  const given = string(read.id, `${where}: id`);
  if (ids.has(given)) throw new ImportError(`${where}: its id is that of a message before it.`);
  const parent = read.parent === null ? undefined : ids.get(string(read.parent, `${where}: parent`));
  if (!parent && read.parent !== null) throw new ImportError(`${where}: it follows no message before it.`);
  if ((parent?.role ?? 'assistant') === role)
    throw new ImportError(`${where}: questions and answers have to take turns, beginning with a question.`);
  const message: Message = {
    id: newId(),
    conversation,
    parent: parent?.id ?? null,
    role,
    text: string(read.text, `${where}: text`),
    // Whatever the dates say, an answer is later than its question.
    createdMs: Math.max(time(read.created, `${where}: created`), (parent?.createdMs ?? -LATEST_MS) + 1),
    ...(role === 'assistant' && { answer: factsOf(read, where) }),
  };
  ids.set(given, message);
  return message;
}

function factsOf(read: Record<string, unknown>, where: string): AnswerFacts {
  const end = ENDS.find((known) => known === read.end);
  if (!end) throw new ImportError(`${where}: its end is ${shown(read.end)}, none of ${ENDS.join(', ')}.`);
  return { model: string(read.model, `${where}: model`), figures: string(read.figures, `${where}: figures`), end };
}

function fields(data: unknown, where: string): Record<string, unknown> {
  if (typeof data !== 'object' || data === null || Array.isArray(data))
    throw new ImportError(`${where} is ${shown(data)}, not an object with fields.`);
  return data as Record<string, unknown>;
}

function list(data: unknown, where: string): unknown[] {
  if (!Array.isArray(data)) throw new ImportError(`${where} is ${shown(data)}, not a list.`);
  return data;
}

function string(data: unknown, where: string): string {
  if (typeof data !== 'string') throw new ImportError(`${where} is ${shown(data)}, not a text.`);
  return data;
}

function time(data: unknown, where: string): number {
  const ms = typeof data === 'string' ? Date.parse(data) : NaN;
  if (Number.isNaN(ms)) throw new ImportError(`${where} is ${shown(data)}, not a date.`);
  return ms;
}

/** A value as a message names it, cut short. */
function shown(data: unknown): string {
  if (data === undefined) return 'missing';
  const text = JSON.stringify(data);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

const isoOf = (ms: number): string => new Date(Math.min(ms, LATEST_MS)).toISOString();

/** The branch that is shown. The model's own Markdown stays as it wrote it. */
export function toMarkdown({ conversation, messages }: Whole): string {
  const { title, createdMs, system, leaf } = conversation;
  const parts = [`# ${title}`, `*${isoOf(createdMs).slice(0, 10)}*`];
  if (system.trim()) parts.push('## System prompt', system.trim());
  for (const { role, text, answer } of new Tree(messages).path(leaf)) {
    parts.push(role === 'user' ? '## You' : `## ${answer?.model || 'Model'}`);
    parts.push(text.trim() || '*(no answer)*');
  }
  return `${parts.join('\n\n')}\n`;
}

/** A title as a name that every system takes for a file. */
export const fileName = (title: string, extension: string): string =>
  `${
    title
      .replace(/[\u0000-\u001f\\/:*?"<>|]+/g, ' ')
      .replace(/\s+/g, ' ')
      .trim()
      .slice(0, 80)
      .replace(/^\.+|[. ]+$/g, '') || 'conversation'
  }.${extension}`;
