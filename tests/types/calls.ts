// Calls that compile, and calls that must not: each `@ts-expect-error` is an error itself where the line below it compiles.
import {
  type ChatCompletion,
  type ChatCompletionChunk,
  type ChatMessage,
  type Conversation,
  type EmbeddingResponse,
  Kinglet,
  KingletError,
  MemoryBudget,
  type MemoryShare,
  type Stream,
} from 'kinglet';
import { compare, evaluate, readBenchmark } from 'kinglet/eval';
import { answer, SearchIndex, summarize } from 'kinglet/tasks';

/** Compiles where both are the same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <_Holds extends true>(): void => {};

const messages: ChatMessage[] = [{ role: 'user', content: 'hello' }];

export async function loading(): Promise<void> {
  await Kinglet.load('/model.gguf');
  await Kinglet.load(new URL('https://example.org/model/'), { quantize: 'q8_0', threads: 2, cache: 'revalidate' });
  await Kinglet.load(new Blob([]), { signal: AbortSignal.timeout(1), onProgress: ({ loadedBytes }) => loadedBytes });
  await Kinglet.load({ files: { 'config.json': new Uint8Array(), 'model.safetensors': '/model.safetensors' } });
  const budget = new MemoryBudget(1e9);
  await Kinglet.load('/model.gguf', { budget, onProgress: ({ model }) => model?.memory['weightsBytes']?.toFixed() });
  const release = budget.reserve('textures', 1e8);
  release();
  is<Same<typeof budget.shares, MemoryShare[]>>();
  // @ts-expect-error: a number is no budget
  await Kinglet.load('/model.gguf', { budget: 1e9 });
  // @ts-expect-error: a source is asked for
  await Kinglet.load();
  // @ts-expect-error: a number is no source
  await Kinglet.load(42);
  // @ts-expect-error: not one of the devices
  await Kinglet.load('/model.gguf', { device: 'gpu' });
  // @ts-expect-error: not one of the formats
  await Kinglet.load('/model.gguf', { kvType: 'q4_0' });
  // @ts-expect-error: an option that there is not
  await Kinglet.load('/model.gguf', { context: 512 });
  // @ts-expect-error: only load makes one
  new Kinglet();
}

export async function chats(engine: Kinglet): Promise<void> {
  const whole = await engine.chat.completions.create({ messages, temperature: 0, stop: ['\n'], top_k: 5 });
  is<Same<typeof whole, ChatCompletion>>();
  const text: string = whole.choices[0]?.message.content ?? '';
  const stream = await engine.chat.completions.create({
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  is<Same<typeof stream, Stream<ChatCompletionChunk>>>();
  for await (const chunk of stream) chunk.choices[0]?.delta.content?.concat(text);
  const either = await engine.chat.completions.create({ messages, stream: Math.random() < 0.5 });
  is<Same<typeof either, ChatCompletion | Stream<ChatCompletionChunk>>>();
  const next: ChatMessage[] = [
    ...messages,
    ...whole.choices.map(({ message }) => message),
    { role: 'user', content: 'and?' },
  ];
  const roles = ['user', 'assistant'] as const;
  await engine.chat.completions.create({ messages: next.concat(roles.map((role) => ({ role, content: 'so' }))) });
  const { truncated_messages } = await engine.chat.completions.create({ model: 'any', messages, truncation: 'auto' });
  is<Same<typeof truncated_messages, number | undefined>>();
  // @ts-expect-error: not one of the ways
  await engine.chat.completions.create({ messages, truncation: 'oldest' });
  // @ts-expect-error: a name is a text
  await engine.chat.completions.create({ model: 5, messages });
  // @ts-expect-error: messages are asked for
  await engine.chat.completions.create({});
  // @ts-expect-error: a prompt is for completions
  await engine.chat.completions.create({ prompt: 'hello' });
  // @ts-expect-error: not one of the roles
  await engine.chat.completions.create({ messages: [{ role: 'bot', content: 'hello' }] });
  // @ts-expect-error: a user says something
  await engine.chat.completions.create({ messages: [{ role: 'user' }] });
  // @ts-expect-error: only the assistant calls tools
  await engine.chat.completions.create({ messages: [{ role: 'user', content: '', tool_calls: [] }] });
  const image = { role: 'user' as const, content: [{ type: 'image_url' as const, image_url: '' }] };
  // @ts-expect-error: images are not built
  await engine.chat.completions.create({ messages: [image] });
  // @ts-expect-error: a text is no number
  await engine.chat.completions.create({ messages, temperature: '0' });
  // @ts-expect-error: schemas are not built
  await engine.chat.completions.create({ messages, response_format: { type: 'json_object' } });
  // @ts-expect-error: tools are not built
  await engine.chat.completions.create({ messages, tools: [{ type: 'function', function: { name: 'f' } }] });
  // @ts-expect-error: a parameter that there is not
  await engine.chat.completions.create({ messages, maxTokens: 5 });
  // @ts-expect-error: a whole answer is not iterated
  for await (const _ of whole) break;
}

export async function conversations(engine: Kinglet): Promise<void> {
  const chat: Conversation = engine.conversation({ messages, temperature: 0, truncation: 'auto' });
  const answer = await chat.send('hello', { max_tokens: 5 }, { signal: AbortSignal.timeout(1), whenBusy: 'fail' });
  // @ts-expect-error: a call waits or fails
  await chat.snapshot({ whenBusy: 'queue' });
  is<Same<typeof answer, ChatCompletion>>();
  const stream = await chat
    .fork()
    .stream([{ role: 'tool', content: '5' }], { stream_options: { include_usage: true } });
  is<Same<typeof stream, Stream<ChatCompletionChunk>>>();
  const again = await engine.restore(await chat.snapshot());
  const said: ChatMessage[] = again.messages;
  await again.send(said.at(-1) ?? []);
  // @ts-expect-error: an answer is one
  await chat.send('hello', { n: 2 });
  // @ts-expect-error: that is stream's
  await chat.send('hello', { stream: true });
  // @ts-expect-error: a conversation has its own
  await chat.send('hello', { messages });
  // @ts-expect-error: bytes are asked for
  await engine.restore('bytes');
}

export async function others(engine: Kinglet): Promise<void> {
  const { choices } = await engine.completions.create({ prompt: [1, 2, 3], echo: true, logprobs: 2 });
  const first: number | null | undefined = choices[0]?.logprobs?.token_logprobs[0];
  // @ts-expect-error: the first may be null
  const never: number | undefined = first;
  // @ts-expect-error: several prompts are not built
  await engine.completions.create({ prompt: ['a', 'b'] });
  // @ts-expect-error: as chat has it
  await engine.completions.create({ prompt: 'a', logprobs: true });

  const floats = await engine.embeddings.create({ input: ['a', 'b'] as const });
  is<Same<typeof floats, EmbeddingResponse<number[]>>>();
  const base64 = await engine.embeddings.create({ input: 'a', encoding_format: 'base64' });
  is<Same<typeof base64, EmbeddingResponse<string>>>();
  // @ts-expect-error: an input is asked for
  await engine.embeddings.create({});

  await engine.detokenize(await engine.tokenize('a', { addSpecial: false }));
  // @ts-expect-error: tokens are numbers
  await engine.detokenize('a');
  // @ts-expect-error: read only
  engine.info = never;
}

export async function ending(): Promise<void> {
  await using engine = await Kinglet.load('/model.gguf');
  await engine.close();
}

export function errors(thrown: unknown): string {
  if (!(thrown instanceof KingletError)) return '';
  // @ts-expect-error: not one of the codes
  if (thrown.code === 'E_NOTHING') return '';
  return thrown.code === 'E_CSP' ? String(thrown.details['directive']) : thrown.message;
}

export async function beside(engine: Kinglet, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const { text } = await summarize(engine, 'a long text', { length: 'short', onText: (piece) => piece });
  await answer(engine, { question: text, context: text });
  await SearchIndex.create(engine).add([{ id: '1', text }]);
  // @ts-expect-error: not one of the lengths
  await summarize(engine, 'a long text', { length: 'tiny' });
  const benchmark = readBenchmark(bytes, { fileName: 'a.jsonl' });
  const report = await evaluate(engine, benchmark, { limit: 5 });
  compare(report, report);
  // @ts-expect-error: an engine is asked for
  await evaluate(benchmark);
}
