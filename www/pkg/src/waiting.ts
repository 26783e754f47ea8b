// How the engine's worker waits: for messages that have arrived, for the GPU without missing any, and for bytes of a file. Called by
// engine-host.ts and loading.ts.

/** A wait that lasts longer is helped along, again and again. */
const NUDGE_AFTER_MS = 2;
const NUDGE_EVERY_MS = 1;
/** A chunk that takes longer comes from afar. */
const IDLE_AFTER_MS = 5;

const channel = new MessageChannel();
const resumed: (() => void)[] = [];
channel.port1.onmessage = () => resumed.shift()?.();

/** Lets every message that has already arrived be handled, without the 4 ms that a timer would cost. */
export function macrotask(): Promise<void> {
  return new Promise((resolve) => {
    resumed.push(resolve);
    channel.port2.postMessage(0);
  });
}

/**
 * Waits for the GPU: until `ready` settles, or `call` is cancelled. Meanwhile `nudge` is called about every millisecond:
 * Firefox looks only every 100 ms whether the GPU is done, unless something is submitted (bug 1870699).
 */
export async function waitForGpu(
  ready: Promise<void>,
  nudge: () => void,
  call: { readonly cancelled: boolean } = { cancelled: false },
): Promise<void> {
  let isOver = false;
  const over = ready.finally(() => {
    isOver = true;
  });
  await Promise.race([over, pause(NUDGE_AFTER_MS)]);
  while (!isOver && !call.cancelled) {
    nudge();
    await Promise.race([over, pause(NUDGE_EVERY_MS)]);
  }
}

/**
 * Every chunk. Where the next one is not there soon, `work` is called again and again until it is, or until it has said that there is
 * nothing to do for now.
 */
export async function* whileWaiting<T>(chunks: AsyncGenerator<T>, work: () => boolean): AsyncGenerator<T> {
  try {
    for (;;) {
      let isThere = false;
      const next = chunks.next().finally(() => {
        isThere = true;
      });
      next.catch(() => {}); // it is awaited below
      await Promise.race([next.catch(() => {}), pause(IDLE_AFTER_MS)]);
      while (!isThere && work()) await macrotask();
      const { done, value } = await next;
      if (done) return;
      yield value;
    }
  } finally {
    void chunks.return(undefined).catch(() => {});
  }
}

/** A timer that is set in a timer's own turn may last 4 ms at least, so it is set in another. */
const pause = (ms: number): Promise<void> => macrotask().then(() => new Promise((resolve) => setTimeout(resolve, ms)));
