// The last steps of the demo page's build, after tsc: copies what is not TypeScript, puts the npm package beside the page,
// and points `import … from 'kinglet'` at it. (An import map would do that too, but it would be an inline script, which the
// page's content security policy forbids.) Called by `npm run build`.
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';

const source = new URL('./src/', import.meta.url);
const target = new URL('./dist/', import.meta.url);
const packageDist = new URL('../pkg/dist/', import.meta.url);

for (const name of readdirSync(source)) {
  if (!name.endsWith('.ts')) cpSync(new URL(name, source), new URL(name, target));
}

rmSync(new URL('kinglet', target), { recursive: true, force: true });
cpSync(packageDist, new URL('kinglet', target), { recursive: true });

for (const name of readdirSync(target)) {
  if (!name.endsWith('.js')) continue;
  const file = new URL(name, target);
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll(/from 'kinglet'/g, "from './kinglet/index.js'"));
}
