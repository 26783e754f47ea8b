// Makes one glue of the two that wasm-bindgen writes, for a worker has both kinds of binary to start: what a binary of the CPU imports, one
// of the GPU imports, too, only not always by the same name. As a function, for after a GPU has failed both kinds run in one worker.
// Used by build.mjs.

/** What is imported, in a glue's text: `name: function …`, as one of its lines; all of them are in one statement. */
const IMPORT = /^ {8}(\$?\w+): (function.*?^ {8}\}(?:, arguments\); \})?),$/gms;
/** What begins what we do ourselves: how a module is loaded. */
const LOADING = 'let wasmModule, wasmInstance, wasm;';
/** Functions that call what a binary exports for them may have names of a glue's own; those of the CPU get other ones. */
const OWN_NAME = /(?<![.\w])\$(\w+)/g;
const CANVAS = '__wbindgen_enum_GpuTextureFormat';

/** A glue's text, taken apart. */
function takenApart(text, what) {
  const from = /"([^"]+)": import0,/.exec(text)?.[1];
  const loading = text.indexOf(LOADING);
  const imports = new Map();
  for (const [, name, body] of text.matchAll(IMPORT)) imports.set(name, body.replace(/^\s*\/\/.*\n/gm, ''));
  if (from === undefined || loading < 0 || imports.size === 0)
    throw new Error(`the glue of the ${what} has a new form: scripts/glue.mjs has to learn it`);
  const statements = new Map();
  for (const one of text
    .slice(0, loading)
    .split(/^(?=(?:export |function|class|const|let|if)\b)/m)
    .slice(1)) {
    const [line] = one.split('\n');
    const name = /^(?:export )?(?:function|class|const|let) ([$\w]+)/.exec(line)?.[1] ?? line;
    statements.set(name, one.replace(/^export /, '').replace(/^\/\*\*[^]*?\*\/$/gm, ''));
  }
  for (const name of ['__wbg_get_imports', 'load_later', 'poolWorker']) statements.delete(name);
  return { from, imports, statements };
}

/** The text of `src/generated/glue.js`, made of both glues: a module whose `start` starts a binary of either kind. */
export function joinGlue(cpuText, gpuText) {
  const cpu = takenApart(cpuText.replace(OWN_NAME, 'cpu$$$1'), 'CPU');
  const gpu = takenApart(gpuText, 'GPU');
  const nameOf = new Map([...gpu.imports].map(([name, body]) => [body, name]));
  // By the same name, by another, or what it is; most are the same.
  const others = [...cpu.imports].flatMap(([name, body]) => {
    if (gpu.imports.get(name) === body) return [];
    return [`${name}: ${nameOf.has(body) ? `gpu.${nameOf.get(body)}` : body}`];
  });
  // What both have is for shared memory in the CPU's glue, and fits any; conditions only make up for what a place lacks.
  const ofGpu = [...gpu.statements].filter(([name]) => !name.startsWith('if '));
  const statements = new Map([...ofGpu, ...cpu.statements]);
  // What a canvas may be made of; nothing is drawn.
  if (statements.has(CANVAS)) statements.set(CANVAS, `const ${CANVAS} = [];\n`);
  return `export function start(isGpu, module, memory) {
let wasm;
${[...statements.values()].join('')}
const gpu = {
memory,
${[...gpu.imports].map(([name, body]) => `${name}: ${body}`).join(',\n')}
};
const imports = isGpu ? { '${gpu.from}': gpu } : { '${cpu.from}': { ...gpu, ${others.join(', ')} } };
wasm = new WebAssembly.Instance(module, imports).exports;
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

export function start(isGpu: boolean, module: WebAssembly.Module, memory: WebAssembly.Memory): Glue;
`;
