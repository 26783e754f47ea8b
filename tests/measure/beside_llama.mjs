// Decode and prefill speed of kinglet in Chromium on the CPU beside native llama.cpp's, file by file. In each round both take a
// file in turn, so that a machine that is faster at one time than at another changes both. On a quiet machine:
//
//     node tests/measure/beside_llama.mjs --llama-bench PATH [--rounds 5] [--threads 1,2] [--prompt 132,512] [--depth 132,2000]
//                                         [--decode 64] [--wasm simd] FILE.gguf…
//
// A round is three runs of kinglet after one that warms up, and one of llama.cpp, which warms up by itself. PATH: llama-bench, built with GGML_NATIVE=ON from the source in PyPI's llama-cpp-python. Prints for each file, number of threads
// and case the medians in tokens per second, with the least and the most, and the median of the rounds' ratios.
import { execFile } from 'node:child_process';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const run = promisify(execFile);
const BENCH = fileURLToPath(new URL('../e2e/bench.mjs', import.meta.url));

const { values: options, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    'llama-bench': { type: 'string' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '1,2' },
    prompt: { type: 'string', default: '132' },
    depth: { type: 'string', default: '132' },
    decode: { type: 'string', default: '64' },
    wasm: { type: 'string' },
  },
});
if (!options['llama-bench'] || files.length === 0) throw new Error('usage: beside_llama.mjs --llama-bench PATH FILE.gguf…');

const sorted = (values) => values.toSorted((a, b) => a - b);
const median = (values) => sorted(values)[Math.floor(values.length / 2)];

/** Speeds by `threads · case`, of one run. */
async function kinglet(model) {
  const wasm = options.wasm ? ['--wasm', options.wasm] : [];
  const { threads, prompt, depth, decode } = options;
  const args = ['--model', model, '--threads', threads, '--prompt', prompt, '--depth', depth, '--decode', decode, '--runs', '3'];
  const { stdout } = await run(process.execPath, [BENCH, ...args, ...wasm, '--json']);
  const found = {};
  for (const line of stdout.trim().split('\n')) {
    const measured = JSON.parse(line);
    for (const [name, values] of Object.entries(measured)) {
      if (/^(decode at|prefill) /.test(name)) found[`${measured.threads} · ${name}`] = median(values);
    }
  }
  return found;
}

/** The same of llama.cpp. It decodes behind nothing where kinglet decodes behind a short prompt. */
async function llama(model) {
  const { threads, prompt, depth, decode } = options;
  const found = {};
  const bench = async (args) => {
    const all = ['-m', model, '-t', threads, '-r', '1', '-o', 'json', ...args];
    const { stdout } = await run(options['llama-bench'], all, { maxBuffer: 1 << 26 });
    return JSON.parse(stdout);
  };
  for (const { n_threads, n_prompt, avg_ts } of await bench(['-p', prompt, '-n', '0'])) {
    found[`${n_threads} · prefill ${n_prompt}`] = avg_ts;
  }
  for (const n of depth.split(',')) {
    const behind = Number(n) < 256 ? [] : ['-d', n];
    for (const { n_threads, avg_ts } of await bench(['-p', '0', '-n', decode, ...behind])) {
      found[`${n_threads} · decode at ${n}`] = avg_ts;
    }
  }
  return found;
}

const range = (values) => `${median(values).toFixed(1)} (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)})`;
for (const file of files) {
  const rounds = [];
  for (let i = 0; i < Number(options.rounds); i++) rounds.push([await kinglet(file), await llama(file)]);
  console.log(basename(file));
  console.table(
    Object.keys(rounds[0][0]).map((name) => ({
      'threads · case': name,
      kinglet: range(rounds.map(([ours]) => ours[name])),
      'llama.cpp': range(rounds.map(([, theirs]) => theirs[name])),
      ratio: Number(median(rounds.map(([ours, theirs]) => ours[name] / theirs[name])).toFixed(2)),
    })),
  );
}
