// The page's side of chat templates: keeps one warm template worker, ends it when a template takes longer than the limit, and
// starts a new one for the next call. Used by index.ts and chat.ts through `Core`.

import { Client, type WorkerLike } from './client.js';
import { KingletError } from './errors.js';
import type { RenderInput, RenderOutput, TemplateRequests } from './protocol.js';

/** How long a template may run. Starting the worker and guarding the messages do not count. */
export const TEMPLATE_LIMIT_MS = 250;
/** How long our own preparation of the messages may take. */
const PREPARE_LIMIT_MS = 10_000;

/** What is used for a model without a chat template; `info.chatTemplate` then says `'chatml'`. */
export const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

export class TemplateRenderer {
  readonly #spawn: () => { worker: WorkerLike; startError: () => Error };
  #client: Client<TemplateRequests>;

  constructor(start: () => { worker: WorkerLike; startError: () => Error }) {
    this.#spawn = start;
    this.#client = this.#start();
  }

  /** Resolves when the worker runs. */
  get started(): Promise<void> {
    return this.#client.started;
  }

  async render(input: RenderInput, signal?: AbortSignal): Promise<RenderOutput> {
    const client = this.#client;
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
    const { worker, startError } = this.#spawn();
    return new Client<TemplateRequests>(worker, startError);
  }
}
