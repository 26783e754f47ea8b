import type { ChatMessage } from 'kinglet';
import { type FormEvent, useRef, useState } from 'react';
import { useKinglet } from './useKinglet';

export function Chat({ model }: { model: string }) {
  const { engine, error } = useKinglet(model);
  const [messages, setMessages] = useState<ChatMessage[]>([]);
  const [running, setRunning] = useState<AbortController>();
  const input = useRef<HTMLInputElement>(null);

  async function ask(event: FormEvent) {
    event.preventDefault();
    const content = input.current?.value;
    if (!engine || !content) return;
    const question: ChatMessage[] = [...messages, { role: 'user', content }];
    const controller = new AbortController();
    setRunning(controller);
    try {
      const stream = await engine.chat.completions.create(
        { messages: question, max_tokens: 100, temperature: 0, stream: true },
        { signal: controller.signal },
      );
      let answer = '';
      for await (const chunk of stream) {
        answer += chunk.choices[0]?.delta.content ?? '';
        setMessages([...question, { role: 'assistant', content: answer }]);
      }
    } catch (thrown) {
      if (!controller.signal.aborted) throw thrown;
    } finally {
      setRunning(undefined);
    }
  }

  if (error) return <p role="alert">{String(error)}</p>;
  return (
    <form onSubmit={ask}>
      {messages.map(({ role, content }, i) => (
        <p key={i} className={role}>
          {content as string}
        </p>
      ))}
      <input ref={input} aria-label="Message" disabled={!engine} />
      {running ? (
        <button type="button" onClick={() => running.abort()}>
          Stop
        </button>
      ) : (
        <button disabled={!engine}>Send</button>
      )}
    </form>
  );
}
