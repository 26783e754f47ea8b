// Times the kernels of the wasm build in Node (V8, as in Chromium) on one thread: a JSON line per case, the median of 21 samples
// of at least 2 ms each; then whole steps of a model. Builds what it needs (release, about a minute each time the sources have changed).
//
//   node tests/bench/kernels.mjs [simd|relaxed] [part of a case's name, or model]
//
// wasm-bindgen must be on the path, in the version of Cargo.toml.

import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';

const [flavour = 'relaxed', wanted = ''] = process.argv.slice(2);
const features = { simd: '+simd128', relaxed: '+simd128,+relaxed-simd' }[flavour];
if (!features) throw new Error(`${flavour} is neither simd nor relaxed`);

// Node 20 has relaxed SIMD behind a flag.
if (parseInt(process.versions.node, 10) < 21) v8.setFlagsFromString('--experimental-wasm-relaxed-simd');

const root = fileURLToPath(new URL('../../', import.meta.url));
const target = `${root}target/bench-${flavour}`;

function run(command, args) {
    const env = { ...process.env, RUSTFLAGS: `-Ctarget-feature=${features}` };
    const { status } = spawnSync(command, args, { cwd: root, env, stdio: 'inherit' });
    if (status !== 0) throw new Error(`${command} ended with ${status}`);
}

run('cargo', [
    'build', '--release', '--quiet', '--example', 'kernels', '--target', 'wasm32-unknown-unknown', '--target-dir', target,
]);
const wasm = `${target}/wasm32-unknown-unknown/release/examples/kernels.wasm`;
run('wasm-bindgen', ['--target', 'nodejs', '--out-dir', `${target}/glue`, wasm]);
const { Bench, Model } = createRequire(import.meta.url)(`${target}/glue/kernels.js`);

function sample(bench, iterations) {
    const start = performance.now();
    bench.run(iterations);
    return (performance.now() - start) / iterations;
}

for (let i = 0; ; i++) {
    const bench = Bench.new(i);
    if (!bench) break;
    if (bench.name().includes(wanted)) {
        // V8 compiles a function again once it has run for a while: warm up for 200 ms.
        let iterations = 1;
        for (const end = performance.now() + 200; performance.now() < end; ) {
            iterations = Math.max(iterations, Math.ceil(2 / sample(bench, iterations)));
        }
        const times = Array.from({ length: 21 }, () => sample(bench, iterations)).sort((a, b) => a - b);
        const rate = (ms) => Number((bench.products() / ms / 1e6).toFixed(2));
        const line = { case: bench.name(), flavour, gigaweightsPerSecond: rate(times[10]), best: rate(times[0]) };
        console.log(JSON.stringify(line));
    }
    bench.free();
}

if ('model'.includes(wanted)) {
    const model = new Model();
    const rate = (what, n, run) => {
        const times = Array.from({ length: 5 }, () => {
            const start = performance.now();
            run();
            return performance.now() - start;
        });
        const tokensPerSecond = Number(((n * 1000) / times.sort((a, b) => a - b)[2]).toFixed(1));
        console.log(JSON.stringify({ case: what, flavour, tokensPerSecond }));
    };
    model.prefill(64);
    model.decode(16);
    rate('prefill 256', 256, () => model.prefill(256));
    rate('decode 32 behind 256 to 416', 32, () => model.decode(32));
    for (const n of [1, 2, 4, 8]) {
        rate(`verify ${n} behind 256`, 32 * n, () => Array.from({ length: 32 }, () => model.verify(256, n)));
    }
    rate('prefill 2000', 2000, () => model.prefill(2000));
    rate('decode 32 behind 2000 to 2160', 32, () => model.decode(32));
    model.free();
}
