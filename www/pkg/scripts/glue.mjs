// Makes one glue of the two that wasm-bindgen writes, for a worker has both kinds of binary to start: what a binary of the CPU imports, one
// of the GPU imports, too, only not always by the same name. As a function, for after a GPU has failed both kinds run in one worker.
// Used by build.mjs.

/** The imports of a glue's text: what each does, by its name. What a comment says of it is not what it does. */
function importsOf(text) {
  const found = new Map();
  for (const [, name, body] of text.matchAll(/^ {8}(\w+): (function.*?^ {8}\}(?:, arguments\); \})?),$/gms))
    found.set(name, body.replace(/^\s*\/\/.*\n/gm, ''));
  return found;
}

/** Replaces what has to be there once. */
function replaceOnce(text, what, by) {
  const { length } = [...text.matchAll(new RegExp(what, 'g'))];
  if (length !== 1)
    throw new Error(`wasm-bindgen's glue has ${length} times ${what}: scripts/glue.mjs has to learn its new form`);
  return text.replace(what, by);
}

/** What `cpu` imports by names of its own, as text: `name: import0.name, …`. */
function renamed(cpu, gpu) {
  const theirs = importsOf(gpu);
  return [...importsOf(cpu)].flatMap(([name, body]) => {
    if (theirs.get(name) === body) return [];
    const same = [...theirs].find(([, other]) => other === body)?.[0];
    if (!same) throw new Error(`${name} of the CPU's glue has no like in the GPU's`);
    return [`${name}: import0.${same}`];
  });
}

/** The text of `src/generated/glue.js`, made of both glues: a module whose `start` starts a binary of either kind. */
export function joinGlue(cpu, gpu) {
  let text = gpu.slice(0, gpu.indexOf('let wasmModule, wasmInstance, wasm;'));
  text = text.replace(/^export (?=class|function)/gm, '').replace(/^function load_later.*?^\}$/ms, '');
  text = replaceOnce(text, /memory: memory \|\| new WebAssembly\.Memory\(.*?\),/, 'memory,');
  text = replaceOnce(
    text,
    /"(\.\/kinglet_)gpu(_bg\.js)": import0,/,
    `"$1gpu$2": import0, "$1cpu$2": { ...import0, ${renamed(cpu, gpu).join(', ')} },`,
  );
  // What a canvas may be made of; nothing is drawn.
  text = replaceOnce(text, /(const __wbindgen_enum_GpuTextureFormat = )\[.*?\]/, '$1[]');
  return `export function start(module, memory) {
let wasm;
${text}
wasm = new WebAssembly.Instance(module, __wbg_get_imports(memory)).exports;
wasm.__wbindgen_start();
return { exports: wasm, Engine, Sha256 };
}
`;
}

/** Its declarations. */
export const GLUE_TYPES = `import type { Engine, EngineOptions } from '../abi.js';

/** A binary that runs, with memory of its own. */
export interface Glue {
  /** \`poolWorker\`: of a binary of the CPU; the entry of a thread, returns when the pool ends. */
  exports: WebAssembly.Exports & { poolWorker(address: number, index: number): void };
  Engine: { create(options: EngineOptions): Promise<Engine> };
  Sha256: new () => { update(bytes: Uint8Array): void; hex(): string };
}

export function start(module: WebAssembly.Module, memory: WebAssembly.Memory): Glue;
`;
