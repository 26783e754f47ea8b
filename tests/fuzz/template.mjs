// The fuzz target of chat templates for as long as one likes: the cases are those of www/pkg/test/template-fuzzer.ts, which
// `npm --prefix www/pkg test` has compiled. Run by `./build.sh fuzz template`.
//
//   node tests/fuzz/template.mjs [SECONDS] [SEED]
import { knownTemplates, TemplateFuzzer } from '../../www/pkg/test/build/test/template-fuzzer.js';

const seconds = Number(process.argv[2] ?? 60);
const first = Number(process.argv[3] ?? Math.floor(Math.random() * 2 ** 31));
const fuzzer = new TemplateFuzzer(knownTemplates());
const until = performance.now() + 1000 * seconds;
let seed = first;
while (performance.now() < until) await fuzzer.run(seed++);
fuzzer.close();
console.log(`template: ${seed - first} executions from seed ${first}: ${JSON.stringify(fuzzer.counts)}`);
