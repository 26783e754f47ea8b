// Copies what is not TypeScript (the page, its style, the mark) from src/ to dist/. Called by `npm run build` after tsc.
import { cpSync, readdirSync } from 'node:fs';

const source = new URL('./src/', import.meta.url);
const target = new URL('./dist/', import.meta.url);
for (const name of readdirSync(source)) {
  if (!name.endsWith('.ts')) cpSync(new URL(name, source), new URL(name, target), { recursive: true });
}
