// The messages of one conversation as a tree: which follow which, and the branch that a message is on. Pure.
import type { Message } from './types.js';

export class Tree {
  readonly #messages = new Map<string, Message>();
  readonly #children = new Map<string | null, Message[]>();

  constructor(messages: readonly Message[] = []) {
    for (const message of [...messages].sort((a, b) => a.createdMs - b.createdMs)) this.add(message);
  }

  /** All messages, each after the one that it follows. */
  get messages(): Message[] {
    return [...this.#messages.values()];
  }

  get(id: string | null): Message | undefined {
    return id === null ? undefined : this.#messages.get(id);
  }

  add(message: Message): void {
    this.#messages.set(message.id, message);
    const siblings = this.#children.get(message.parent);
    if (siblings) siblings.push(message);
    else this.#children.set(message.parent, [message]);
  }

  /** The message and those that stand in its place on other branches, the oldest first. */
  versions(message: Message): Message[] {
    return this.#children.get(message.parent) ?? [message];
  }

  /** From the first message to this one. */
  path(leaf: string | null): Message[] {
    const path: Message[] = [];
    for (let message = this.get(leaf); message; message = this.get(message.parent)) path.push(message);
    return path.reverse();
  }

  /** The end of the newest branch on which a message is. */
  leafBelow(id: string): string {
    let leaf = id;
    for (let next = this.#newest(leaf); next; next = this.#newest(leaf)) leaf = next.id;
    return leaf;
  }

  #newest(id: string): Message | undefined {
    return this.#children.get(id)?.at(-1);
  }
}
