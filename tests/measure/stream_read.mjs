// How fast WebAssembly in Chromium can read memory at all: what decoding a large model cannot beat, because every weight is
// read once per token.
//
//     node tests/measure/stream_read.mjs [MiB, 640] [threads, 2] [runs, 5]
//
// Each thread reads its own part of a shared memory, 64 bytes a turn, over and over for half a second. Prints GB/s of all threads
// together: the median of the runs, the lowest and the highest.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { launch } from '../e2e/browser.mjs';
import { serve } from '../../www/demo/serve.mjs';

const [mib, n_threads, runs] = [2, 3, 4].map((i) => Number(process.argv[i] ?? [640, 2, 5][i - 2]));
const folder = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

const load = (i) => `(local.set $sum${i} (v128.xor (local.get $sum${i}) (v128.load offset=${16 * i} (local.get $at))))`;
const WAT = `(module
  (import "env" "memory" (memory 1 65536 shared))
  (func (export "read") (param $at i32) (param $end i32) (result i32)
    (local $sum0 v128) (local $sum1 v128) (local $sum2 v128) (local $sum3 v128)
    (loop $next
      ${[0, 1, 2, 3].map(load).join('\n      ')}
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (i32x4.extract_lane 0 (v128.xor
      (v128.xor (local.get $sum0) (local.get $sum1)) (v128.xor (local.get $sum2) (local.get $sum3))))))`;

function assemble() {
  const directory = mkdtempSync(`${tmpdir()}/stream-read-`);
  try {
    writeFileSync(`${directory}/read.wat`, WAT);
    const features = ['--enable-threads', '--enable-simd', '--enable-bulk-memory'];
    execFileSync(folder('scripts/node_modules/.bin/wasm-as'), [...features, `${directory}/read.wat`, '-o', `${directory}/read.wasm`]);
    return readFileSync(`${directory}/read.wasm`).toString('base64');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** In the page. */
async function measure({ wasm, mib, n_threads, runs }) {
  const module = await WebAssembly.compile(Uint8Array.from(atob(wasm), (c) => c.charCodeAt(0)));
  const pages = mib * 16;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: 65_536, shared: true });
  new Uint32Array(memory.buffer).fill(0x9e3779b9); // every page of it is there
  const source = `let read;
    onmessage = async ({ data }) => {
      if (data.module) {
        read = (await WebAssembly.instantiate(data.module, { env: { memory: data.memory } })).exports.read;
        return postMessage(0);
      }
      const started = performance.now();
      let n_bytes = 0, now = started;
      while (now - started < 500) {
        // In pieces, so that the compiler's better code is entered soon.
        for (let at = data.start; at < data.end; at += 1 << 20) read(at, Math.min(data.end, at + (1 << 20)));
        n_bytes += data.end - data.start;
        now = performance.now();
      }
      postMessage(n_bytes / (now - started) / 1e6);
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const workers = Array.from({ length: n_threads }, () => new Worker(url));
  const ask = (worker, message) =>
    new Promise((resolve) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.postMessage(message);
    });
  await Promise.all(workers.map((worker) => ask(worker, { module, memory })));
  const part = Math.floor((pages * 65_536) / n_threads / 64) * 64;
  const speeds = [];
  for (let run = 0; run <= runs; run++) {
    const all = await Promise.all(workers.map((w, i) => ask(w, { start: i * part, end: (i + 1) * part })));
    if (run > 0) speeds.push(all.reduce((sum, speed) => sum + speed));
  }
  return speeds.sort((a, b) => a - b);
}

const site = await serve({ mounts: { '/': folder('www/demo/dist') }, port: 0 });
const browser = await launch();
try {
  // Workers of a blob: the demo page's policy has none.
  const page = await browser.newPage({ bypassCSP: true });
  page.setDefaultTimeout(0);
  await page.goto(site.url);
  const speeds = await page.evaluate(measure, { wasm: assemble(), mib, n_threads, runs });
  const [low, middle, high] = [speeds[0], speeds[speeds.length >> 1], speeds.at(-1)].map((s) => s.toFixed(1));
  console.log(`${mib} MiB, ${n_threads} threads, ${runs} runs: ${middle} GB/s (${low} to ${high})`);
} finally {
  await browser.close();
  await site.close();
}
