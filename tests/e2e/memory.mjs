// Memory of the browsers that this process has started (Linux): proportional set sizes, so that what processes share counts once.
import { readFileSync } from 'node:fs';

/** MiB by kind of process: `browser`, `renderer`, `gpu-process`, …. */
export function memoryOf() {
  const byKind = {};
  for (const pid of childrenOf(process.pid).flatMap(tree)) {
    const kind = /--type=([a-z-]+)/.exec(read(`/proc/${pid}/cmdline`))?.[1] ?? 'browser';
    const pssKib = Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
    byKind[kind] = (byKind[kind] ?? 0) + pssKib / 1024;
  }
  return byKind;
}

/** All of it, MiB. */
export const memoryMib = () => Object.values(memoryOf()).reduce((sum, mib) => sum + mib, 0);

/** Runs `work`, looking every 100 ms: what it gave, and the most by kind beyond what there is now. */
export async function peakOf(work) {
  const before = memoryOf();
  const peak = {};
  const look = () => {
    for (const [kind, mib] of Object.entries(memoryOf()))
      peak[kind] = Math.max(peak[kind] ?? 0, mib - (before[kind] ?? 0));
  };
  const timer = setInterval(look, 100);
  try {
    const value = await work();
    look();
    return { value, peak };
  } finally {
    clearInterval(timer);
  }
}

const tree = (pid) => [pid, ...childrenOf(pid).flatMap(tree)];

const childrenOf = (pid) => read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean);

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // the process has gone
  }
}
