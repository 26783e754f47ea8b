// One thread of the engine's pool: enters the shared module and stays inside until it is terminated with its parent.

import { toPlain } from './errors.js';
import { initSync, poolWorker } from './generated/kinglet_cpu.js';
import type { PoolReply, PoolStart } from './protocol.js';

const reply = (message: PoolReply): void =>
  (globalThis as unknown as { postMessage(message: PoolReply): void }).postMessage(message);

globalThis.addEventListener(
  'message',
  ({ data }: MessageEvent<PoolStart>) => {
    try {
      initSync({ module: data.module, memory: data.memory });
      reply({ kind: 'started' });
    } catch (thrown) {
      return reply({ kind: 'error', error: toPlain(thrown) });
    }
    try {
      poolWorker(data.address, data.index);
    } catch (trap) {
      new BroadcastChannel(data.faultChannel).postMessage(toPlain(trap));
    }
  },
  { once: true },
);
