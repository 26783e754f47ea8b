// Messages of a conversation, by role. Part of the public types (types.ts).

/** One part of a message's content. Only text is built. */
export interface TextPart {
  type: 'text';
  text: string;
}

/** A call of a tool by the assistant. */
export interface ToolCall {
  /** OpenAI wants it; most models' templates know no ids. */
  id?: string;
  type?: 'function';
  /** `arguments` go to the template as they are: most templates want an object, some want OpenAI's JSON text. */
  function: { name: string; arguments: string | Record<string, unknown> };
}

export interface SystemMessage {
  /** `developer` is called `system` where the template does not know it. */
  role: 'system' | 'developer';
  content: string | TextPart[];
  name?: string;
}

export interface UserMessage {
  role: 'user';
  content: string | TextPart[];
  name?: string;
}

export interface AssistantMessage {
  role: 'assistant';
  /** May be absent beside `tool_calls`. */
  content?: string | TextPart[] | null;
  name?: string;
  tool_calls?: ToolCall[];
  /** In OpenAI's answers; always null. */
  refusal?: null;
  /** Extension: what it thought before it answered. `thinking` and `reasoning` mean the same. */
  reasoning_content?: string | null;
  thinking?: string | null;
  reasoning?: string | null;
}

export interface ToolMessage {
  role: 'tool';
  content: string | TextPart[];
  /** The call that this answers. OpenAI wants it; most models' templates know no ids. */
  tool_call_id?: string;
  /** Extension: the tool, where the template wants to be told. */
  name?: string;
}

/**
 * One message of a conversation. Its strings are data: they can never become a special token or another role. Parts of content go to the
 * template as they are; to one that cannot take them, as one text.
 */
export type ChatMessage = SystemMessage | UserMessage | AssistantMessage | ToolMessage;
