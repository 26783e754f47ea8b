// Writes checkpoints/*/header.bin: what checkpointHeader makes of the checkpoint. `npm test` in www/pkg has to have compiled it.
//   node write_headers.mjs
import fs from 'node:fs';
import { headerOf, NAMES } from '../../www/pkg/test/build/test/checkpoints.js';

for (const name of NAMES) fs.writeFileSync(new URL(`checkpoints/${name}/header.bin`, import.meta.url), headerOf(name));
