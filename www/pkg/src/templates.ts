// The page's side of chat templates: keeps one warm template worker, ends it when a template takes longer than the limit, and
// starts a new one for the next call. There are two scripts: a template for which the first does not suffice is rendered by the second from
// then on. Used by index.ts and chat.ts through `Core`.

import type { TemplateInfo } from './abi.js';
import { Client, type WorkerLike } from './client.js';
import { KingletError } from './errors.js';
import type { RenderInput, RenderOutput, TemplateRequests } from './protocol.js';

/** How long a template may run. Starting the worker and guarding the messages do not count. */
export const TEMPLATE_LIMIT_MS = 250;
/** How long our own preparation of the messages may take. */
const PREPARE_LIMIT_MS = 10_000;

/** For a model whose file has no chat template, where its vocabulary has ChatML's marks. */
export const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/**
 * For a model whose file has no chat template and whose vocabulary has no marks for one: a base model, which goes on with a
 * transcript. Nothing in plain text can tell a message from a forged one.
 */
export const PLAIN =
  "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}{% else %}{{ message['role'] | capitalize + ': ' + message['content'] + '\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";
/** Where an answer to `PLAIN` ends: the model begins another turn. */
export const PLAIN_STOP = '\nUser:';

/** The template of a model: its own, or the default that suits its vocabulary. */
export function templateOf({ chatTemplate, specialStrings }: TemplateInfo): { kind: TemplateKind; source: string } {
  if (chatTemplate !== undefined) return { kind: 'file', source: chatTemplate };
  const hasMarks = ['<|im_start|>', '<|im_end|>'].every((mark) => specialStrings.includes(mark));
  return hasMarks ? { kind: 'chatml', source: CHATML } : { kind: 'plain', source: PLAIN };
}
export type TemplateKind = 'file' | 'chatml' | 'plain';

/** A worker that has been started; `started` is called when it runs, or when it never will. */
export interface TemplateStart {
  worker: WorkerLike;
  startError: () => Error;
  started?: () => void;
}

/** Why a worker was ended whose place the larger one has taken. */
const REPLACED = new Error('there is a larger worker');

export class TemplateRenderer {
  readonly #spawn: (isFull: boolean) => TemplateStart;
  #isFull = false;
  #client: Client<TemplateRequests>;

  /** `start`: starts the worker with everything that a template may ask for, or the one with what most do. */
  constructor(start: (isFull: boolean) => TemplateStart) {
    this.#spawn = start;
    this.#client = this.#start();
  }

  /** Resolves when the worker runs. */
  get started(): Promise<void> {
    return this.#client.started;
  }

  async render(input: RenderInput, signal?: AbortSignal): Promise<RenderOutput> {
    const client = this.#client;
    try {
      const output = await this.#renderBy(client, input, signal);
      if (output) return output;
    } catch (error) {
      if (error !== REPLACED) throw error;
    }
    if (this.#client === client) {
      if (this.#isFull) throw new KingletError('E_INTERNAL', 'full-template-worker.js is not of this version');
      this.#isFull = true;
      this.#client = this.#start();
      client.fail(REPLACED);
    }
    return this.render(input, signal);
  }

  async #renderBy(
    client: Client<TemplateRequests>,
    input: RenderInput,
    signal: AbortSignal | undefined,
  ): Promise<RenderOutput | undefined> {
    await client.started;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = (ms: number): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        // An answer may have arrived while the page was busy: it comes before this second turn.
        timer = setTimeout(
          () =>
            this.#end(
              client,
              new KingletError('E_TEMPLATE', `the chat template ran for more than ${ms} ms and was ended`, {
                details: { limitMs: ms },
              }),
            ),
          0,
        );
      }, ms);
    };
    limit(PREPARE_LIMIT_MS);
    const call = client.call('render', input, { signal, onEvent: () => limit(TEMPLATE_LIMIT_MS) });
    // The worker cannot look at a cancel while it renders; the time limit goes on after an abort.
    void call.settled.then(() => clearTimeout(timer));
    return call.result;
  }

  close(error: unknown): void {
    this.#client.fail(error);
  }

  #end(client: Client<TemplateRequests>, error: KingletError): void {
    client.fail(error);
    // Where the page does not let a second worker start, this one's error stays.
    if (this.#client === client) this.#client = this.#start();
  }

  #start(): Client<TemplateRequests> {
    const { worker, startError, started } = this.#spawn(this.#isFull);
    const client = new Client<TemplateRequests>(worker, startError);
    client.started.then(started, started);
    return client;
  }
}
