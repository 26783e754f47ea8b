// One thread of the engine's pool: enters the shared module and stays inside until it is terminated with its parent. Run by
// worker.ts, which is the script of both.

import type { ScopeLike } from './dispatch.js';
import { toPlain } from './errors.js';
import { type Glue, start } from './generated/glue.js';
import { Later } from './later.js';
import type { PoolReply, PoolStart } from './protocol.js';

/** By its name a worker knows that it is one. */
export const POOL_THREAD = 'kinglet-thread';

/** Waits for the one message that says what to enter. */
export function runPoolThread(scope: ScopeLike): void {
  const reply = (message: PoolReply): void => scope.postMessage(message);
  scope.addEventListener('message', async ({ data }: MessageEvent<PoolStart>) => {
    let exports: Glue['exports'];
    try {
      ({ exports } = start(false, data.module, data.memory));
      await new Later(data.later, true).serve(exports, () => {}); // what fails there is thrown
      reply({ kind: 'started' });
    } catch (thrown) {
      return reply({ kind: 'error', error: toPlain(thrown) });
    }
    try {
      exports.poolWorker(data.address, data.index);
    } catch (trap) {
      new BroadcastChannel(data.faultChannel).postMessage(toPlain(trap));
    }
  });
}
