// The fuzz target of chat templates: any template and conversation, through the renderer and a worker as in a page. It ends with
// text or E_TEMPLATE, within the limits; what a user wrote becomes no special string; and the next template finds the renderer
// unharmed. Used by template-fuzzer.test.ts for a moment and by tests/fuzz/template.mjs for as long as one likes.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import type { WorkerLike } from '../src/client.js';
import { KingletError } from '../src/errors.js';
import type { RenderOutput } from '../src/protocol.js';
import { CHATML, TEMPLATE_LIMIT_MS, TemplateRenderer } from '../src/templates.js';
import { conversation, mutate, seeded, template } from './random-template.js';

/** Special strings that no template has: one that is in the text was made of what a user wrote. */
const SPECIALS = ['<|§7|>', '<§>', '[§', '§§]>'];
const MAX_OUTPUT_CHARS = 100_000;
/** How long a call may take at most on a busy machine, beside the limit. */
const SLACK_MS = 20_000;

export class TemplateFuzzer {
  readonly #renderer = new TemplateRenderer(startThread);
  readonly #known: readonly string[];
  counts = { text: 0, refused: 0, ended: 0 };

  constructor(known: readonly string[]) {
    this.#known = [CHATML, ...known];
  }

  /** The case with this number; rejects where a promise is broken. */
  async run(seed: number): Promise<void> {
    const random = seeded(seed);
    let source = random(3) === 0 ? template(random, 1 + random(5), 3) : (this.#known[random(this.#known.length)] ?? '');
    const changes = random(4);
    for (let i = 0; i < changes; i++) source = mutate(random, source, this.#known);
    const messages = conversation(random, SPECIALS);
    try {
      await this.render(source, messages);
    } catch (cause) {
      throw new Error(`seed ${seed}: ${JSON.stringify({ source, messages })}`, { cause });
    }
  }

  /** Renders, and holds what comes to the promises. */
  async render(source: string, messages: Record<string, unknown>[]): Promise<void> {
    const before = performance.now();
    const result = await this.#renderer
      .render({
        template: source,
        messages,
        data: { add_generation_prompt: true, tools: null },
        tokens: { bos_token: '<s>', eos_token: '</s>' },
        specialStrings: SPECIALS,
        maxOutputChars: MAX_OUTPUT_CHARS,
      })
      .catch((error: unknown) => error);
    const took = performance.now() - before;
    assert.ok(took < TEMPLATE_LIMIT_MS + SLACK_MS, `it took ${took} ms`);
    if (result instanceof Error) {
      checkError(result);
      if (result.message.includes('was ended')) this.counts.ended++;
      else this.counts.refused++;
    } else {
      checkText(result as RenderOutput);
      this.counts.text++;
    }
  }

  close(): void {
    this.#renderer.close(new Error('closed'));
  }
}

export function checkError(error: Error): void {
  assert.ok(error instanceof KingletError && error.code === 'E_TEMPLATE', `${error.stack}`);
}

export function checkText({ text, joiner }: RenderOutput): void {
  assert.ok(text.length <= MAX_OUTPUT_CHARS, `${text.length} characters`);
  assert.ok(joiner.length > 0);
  for (const special of SPECIALS)
    assert.ok(!text.includes(special), `the text has ${special}: ${JSON.stringify(text)}`);
}

/** llama.cpp's templates, where build.sh has put them. */
export function knownTemplates(): string[] {
  const folder = path.join(process.env.KINGLET_CACHE ?? '', 'llama.cpp/templates');
  if (!process.env.KINGLET_CACHE || !fs.existsSync(folder)) return [];
  const names = fs.readdirSync(folder).filter((name) => name.endsWith('.jinja'));
  return names.sort().map((name) => fs.readFileSync(path.join(folder, name), 'utf8'));
}

export function startThread(isFull: boolean): { worker: WorkerLike; startError: () => Error } {
  const thread = new Worker(new URL('./template-thread.js', import.meta.url), { workerData: isFull });
  const listen = (type: string, listener: (event: never) => void): void => {
    thread.on(type, (value: unknown) =>
      listener((type === 'error' ? { message: String(value) } : { data: value }) as never),
    );
  };
  const worker: WorkerLike = {
    postMessage: (message, transfer) => thread.postMessage(message, transfer as never),
    addEventListener: listen,
    terminate: () => void thread.terminate(),
  };
  return { worker, startError: () => new Error('the thread did not start') };
}
