// Our types against those of OpenAI's own client: what we answer is what it answers, and what we take it takes, where we claim its shape. It
// compiles, or types.test.mjs fails. Where the two differ, the reason is beside the difference.
import type {
  AssistantMessage,
  ChatCompletion,
  ChatCompletionChunk,
  ChatMessage,
  ChatParams,
  Completion,
  CompletionChunk,
  CompletionLogprobs,
  CompletionParams,
  EmbeddingParams,
  EmbeddingResponse,
  Stream,
  SystemMessage,
  ToolCall,
  ToolMessage,
  UserMessage,
} from 'kinglet';
import type OpenAI from 'openai';

/** Compiles where a `Given` may stand wherever a `Wanted` is asked for. */
type Assignable<Given extends Wanted, Wanted> = [Given, Wanted];

// Answers. What we add (`token_ids`, `timings`) is more than was asked for, which is assignable.

/**
 * OpenAI's server gives null before a prompt's first token, and as `finish_reason` and `usage` until the last chunk; the types of its client
 * leave that out, and we do not: a caller who trusts them would add null to a number.
 */
type AsTypedByOpenAI<Answer extends Completion | CompletionChunk> = Omit<Answer, 'choices' | 'usage'> & {
  usage?: NonNullable<Answer['usage']>;
  choices: (Omit<Answer['choices'][number], 'logprobs' | 'finish_reason'> & {
    logprobs: NonNullableItems<CompletionLogprobs> | null;
    finish_reason: NonNullable<Answer['choices'][number]['finish_reason']>;
  })[];
};
type NonNullableItems<Lists> = { [K in keyof Lists]: Lists[K] extends (infer Item)[] ? NonNullable<Item>[] : never };

export type Answers = [
  Assignable<ChatCompletion, OpenAI.ChatCompletion>,
  Assignable<ChatCompletionChunk, OpenAI.ChatCompletionChunk>,
  Assignable<Stream<ChatCompletionChunk>, AsyncIterable<OpenAI.ChatCompletionChunk>>,
  Assignable<AsTypedByOpenAI<Completion>, OpenAI.Completion>,
  Assignable<AsTypedByOpenAI<CompletionChunk>, OpenAI.Completion>,
  Assignable<EmbeddingResponse, OpenAI.CreateEmbeddingResponse>,
  // What was answered may be said in the next call.
  Assignable<ChatCompletion['choices'][number]['message'], ChatMessage>,
];

// Messages, both ways. OpenAI's parts that are no text (images, sound, files, refusals) are not built.

type TextOnly<Message> = Omit<Message, 'content'> & { content: string | OpenAI.ChatCompletionContentPartText[] };
/** Where ours says less, because templates of models ask for less: ids may be left out. Where it says more: arguments may be an object. */
type StrictCall = Required<ToolCall> & { function: { arguments: string } };
type StrictAssistant = Omit<AssistantMessage, 'tool_calls'> & { tool_calls?: StrictCall[] };

export type Messages = [
  Assignable<SystemMessage | UserMessage | StrictAssistant, OpenAI.ChatCompletionMessageParam>,
  Assignable<ToolMessage & { tool_call_id: string }, OpenAI.ChatCompletionMessageParam>,
  Assignable<TextOnly<OpenAI.ChatCompletionSystemMessageParam>, ChatMessage>,
  Assignable<TextOnly<OpenAI.ChatCompletionDeveloperMessageParam>, ChatMessage>,
  Assignable<TextOnly<OpenAI.ChatCompletionUserMessageParam>, ChatMessage>,
  Assignable<TextOnly<OpenAI.ChatCompletionToolMessageParam>, ChatMessage>,
  Assignable<OpenAI.ChatCompletionMessageFunctionToolCall, ToolCall>,
];

// Parameters. OpenAI's `model` has to be there, ours may be.

/** Extensions, which OpenAI does not have. */
type Extension =
  | 'top_k'
  | 'min_p'
  | 'repeat_penalty'
  | 'ignore_eos'
  | 'cache_prompt'
  | 'num_beams'
  | 'length_penalty'
  | 'early_stopping'
  | 'speculation'
  | 'chat_template_kwargs'
  | 'truncation';
/**
 * We take null for "not given" everywhere, as OpenAI does nearly everywhere. It leaves it out of the types of a few, and so does this for
 * them.
 */
type Given<Params, Names extends keyof Params> = Omit<Params, Names> & { [K in Names]?: NonNullable<Params[K]> };
type Chat = Omit<ChatParams, Extension | 'messages' | 'stream'> & { model: string; messages: StrictAssistant[] };
/** `max_completion_tokens` is chat's. Ours takes tokens in a typed array, too, as `tokenize` may give them. */
type Legacy = Omit<CompletionParams, Extension | 'max_completion_tokens' | 'prompt' | 'stream'> & {
  model: string;
  prompt: Exclude<CompletionParams['prompt'], Uint32Array>;
};

export type Parameters = [
  Assignable<Given<Chat, 'tools' | 'tool_choice' | 'response_format'>, OpenAI.ChatCompletionCreateParamsNonStreaming>,
  Assignable<
    Given<Chat, 'tools' | 'tool_choice' | 'response_format'> & { stream: true },
    OpenAI.ChatCompletionCreateParamsStreaming
  >,
  Assignable<Legacy, OpenAI.CompletionCreateParamsNonStreaming>,
  Assignable<Legacy & { stream: true }, OpenAI.CompletionCreateParamsStreaming>,
  Assignable<
    Omit<Given<EmbeddingParams, 'dimensions' | 'encoding_format'>, 'input'> & { model: string; input: string[] },
    OpenAI.EmbeddingCreateParams
  >,
  // The other way round: ours also takes lists that are read-only.
  Assignable<OpenAI.EmbeddingCreateParams['input'], EmbeddingParams['input']>,
];

// That `Assignable` can fail:
export type Wrong = [
  // @ts-expect-error: an answer that does not say what it is
  Assignable<Omit<ChatCompletion, 'object'>, OpenAI.ChatCompletion>,
  // @ts-expect-error: base64 is not what OpenAI's client gives
  Assignable<EmbeddingResponse<string>, OpenAI.CreateEmbeddingResponse>,
  // @ts-expect-error: images are not built
  Assignable<OpenAI.ChatCompletionUserMessageParam, ChatMessage>,
];
