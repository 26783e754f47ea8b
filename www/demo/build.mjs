// The last steps of the demo page's build, after tsc: copies what is not TypeScript, puts the npm package beside the page,
// and points `import … from 'kinglet'` (and 'kinglet/tasks', 'kinglet/eval') at it. (An import map would do that too, but it would be an inline script, which the
// page's content security policy forbids.) Called by `npm run build`.
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';

const source = new URL('./src/', import.meta.url);
const target = new URL('./dist/', import.meta.url);
const packageDist = new URL('../pkg/dist/', import.meta.url);

for (const name of readdirSync(source, { recursive: true })) {
  if (/\.(html|css|svg)$/.test(name)) cpSync(new URL(name, source), new URL(name, target));
}

rmSync(new URL('kinglet', target), { recursive: true, force: true });
for (const name of readdirSync(target, { recursive: true })) {
  if (!name.endsWith('.js')) continue;
  const file = new URL(name, target);
  const top = name.includes('/') ? '../'.repeat(name.split('/').length - 1) : './';
  const script = readFileSync(file, 'utf8').replaceAll(
    /((?:from|import\() ?)'kinglet(\/\w+)?'/g,
    (_, before, module = '') => `${before}'${top}kinglet${module}/index.js'`,
  );
  writeFileSync(file, script);
}
cpSync(packageDist, new URL('kinglet', target), { recursive: true });
