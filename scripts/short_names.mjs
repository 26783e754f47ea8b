// Gives what a module and wasm-bindgen's glue import and export from each other names of a letter or two: hashes do not compress. What the
// glue does not use is exported no longer, so that wasm-opt finds it unused.
//   node scripts/short_names.mjs MODULE.wasm GLUE.js      both are written anew
import { readFileSync, writeFileSync } from 'node:fs';

const IMPORTS = 2;
const EXPORTS = 7;
/** What is exported for the splitter (scripts/split) and no glue. */
const OURS = new Set(['load_later']);

const [moduleFile, glueFile] = process.argv.slice(2);
const bytes = readFileSync(moduleFile);
const glue = readFileSync(glueFile, 'utf8');
const [, from] = /"(\.\/\w+_bg\.js)": import0/.exec(glue) ?? fail('the glue has no imports of a known form');
// Numbered as the glue has them, which is one for two modules.
const imports = named([...glue.matchAll(/^ {8}(__wb\w+): function/gm)], '');
const invoked = named([...glue.matchAll(/\bwasm\.(wasm_bindgen_\w+)\(/g)], '$');
const used = new Set([...glue.matchAll(/\bwasm\.(\w+)/g)].map(([, name]) => name));
/** Names of ours as they are, the glue's own as the letters that they get. */
const short = (name) => imports.get(name) ?? invoked.get(name) ?? name;

writeFileSync(glueFile, glue.replaceAll(`"${from}"`, '"glue"').replace(/\b(__wb|wasm_bindgen_)\w+/g, short));
writeFileSync(moduleFile, Buffer.concat([bytes.subarray(0, 8), ...sections()]));

function fail(what) {
  throw new Error(what);
}

/** a, b, … z, aa, ba, … behind `prefix`, for each name once. */
function named(matches, prefix) {
  const letters = (n) => String.fromCharCode(97 + (n % 26)) + (n < 26 ? '' : letters(Math.floor(n / 26) - 1));
  const names = [...new Set(matches.map(([, name]) => name))];
  return new Map(names.map((name, i) => [name, prefix + letters(i)]));
}

/** The module's sections, two of them with other names. */
function* sections() {
  for (let at = 8; at < bytes.length;) {
    const start = at;
    const id = bytes[at];
    const [length, body] = number(at + 1);
    at = body + length;
    if (id === IMPORTS) yield section(id, entries(body, importAt));
    else if (id === EXPORTS) yield section(id, entries(body, exportAt));
    else yield bytes.subarray(start, at);
  }
}

function section(id, all) {
  const body = Buffer.concat([leb(all.length), ...all]);
  return Buffer.concat([Buffer.of(id), leb(body.length), body]);
}

/** What is left of the entries of a section that begins at `at`, each read by `read`: [its bytes, if it stays; its end]. */
function entries(at, read) {
  const [n, first] = number(at);
  const all = [];
  for (let i = 0, next = first; i < n; i++) {
    const [entry, end] = read(next);
    if (entry) all.push(entry);
    next = end;
  }
  return all;
}

function importAt(at) {
  const [module, nameAt] = text(at);
  const [name, kindAt] = text(nameAt);
  if (module !== from) fail(`an import from ${module}`);
  if (name !== 'memory' && !imports.has(name)) fail(`the glue has no ${name}`);
  const end = bytes[kindAt] === 0 ? number(kindAt + 1)[1] : memoryEnd(kindAt);
  return [Buffer.concat([string('glue'), string(short(name)), bytes.subarray(kindAt, end)]), end];
}

function memoryEnd(at) {
  if (bytes[at] !== 2) fail(`an import of kind ${bytes[at]}`);
  const [, most] = number(at + 2);
  return bytes[at + 1] & 1 ? number(most)[1] : most;
}

function exportAt(at) {
  const [name, kindAt] = text(at);
  const [, end] = number(kindAt + 1);
  const stays = used.has(name) || OURS.has(name);
  return [stays && Buffer.concat([string(short(name)), bytes.subarray(kindAt, end)]), end];
}

function number(at) {
  let value = 0;
  for (let factor = 1; ; factor *= 128) {
    value += (bytes[at] & 127) * factor;
    if (bytes[at++] < 128) return [value, at];
  }
}

function text(at) {
  const [length, start] = number(at);
  return [bytes.toString('utf8', start, start + length), start + length];
}

function leb(value) {
  const out = [];
  for (; value >= 128; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Buffer.of(...out, value);
}

function string(value) {
  const encoded = Buffer.from(value);
  return Buffer.concat([leb(encoded.length), encoded]);
}
