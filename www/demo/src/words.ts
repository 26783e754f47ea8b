// Numbers and errors in plain words.

/** 4096 → "4,096". (Intl would do it too, but starting it costs the page 10 ms.) */
export const count = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',');

/** 98000000 → "98.0 MB". Decimal units, as downloads are counted. */
export function bytes(n: number): string {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(0)} kB`;
  if (n < 1e9) return `${(n / 1e6).toFixed(1)} MB`;
  return `${(n / 1e9).toFixed(2)} GB`;
}

/** 134515008 → "135 million". */
export function parameters(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toFixed(1)} billion`;
  return n >= 1e6 ? `${Math.round(n / 1e6)} million` : count(n);
}

/** Milliseconds → "180 ms", "2.4 s", "3 min". */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}

/** "41.2 of 98.0 MB · 42 % · 18.0 MB/s · 3 s left"; what is not known is left out. */
export function progress(loaded: number, total: number | undefined, bytesPerSecond: number): string {
  const parts = [total ? `${bytes(loaded)} of ${bytes(total)}` : bytes(loaded)];
  if (total) parts.push(`${Math.floor((100 * loaded) / total)} %`);
  if (bytesPerSecond > 0) {
    parts.push(`${bytes(Math.round(bytesPerSecond))}/s`);
    if (total && total > loaded)
      parts.push(`${duration(Math.max(1000, (1000 * (total - loaded)) / bytesPerSecond))} left`);
  }
  return parts.join(' · ');
}

/** As llama.cpp names the parts of a model. */
const PART = /-\d{5}-of-(\d{5})\.gguf$/;

/** A file by which a checkpoint is known, and the folder it is in: Hugging Face's are <model>/resolve/<revision>/. */
const CHECKPOINT = /^(?:.*?([^/]+)\/(?:resolve\/[^/]+\/)?)?(?:config\.json|[^/]*\.safetensors|)$/;

/**
 * What to call a model of these files: "bird-00001-of-00003.gguf" → "bird, 3 parts"; of a checkpoint, or of an address that ends in
 * "/", the name of its folder.
 */
export function modelName(files: string[]): string {
  const known = files.map((name) => CHECKPOINT.exec(name)).find((found) => found !== null);
  if (known) return known[1] ?? 'a checkpoint';
  const weights = files.filter((name) => !name.endsWith('.json'));
  const first = weights[0] ?? files[0] ?? '';
  const parts = Number(PART.exec(first)?.[1] ?? weights.length);
  return parts > 1 ? `${first.replace(PART, '').replace(/\.gguf$/, '')}, ${count(parts)} parts` : first;
}

/** "GPU" or "CPU". */
export const processor = ({ device }: { device: { kind: 'webgpu' | 'cpu' } }): string =>
  device.kind === 'webgpu' ? 'GPU' : 'CPU';

/** What a visitor reads: `text` says what happened and what to do, `code` and `detail` are for a report. */
export interface PlainError {
  text: string;
  code: string;
  detail: string;
}

const PLAIN: Record<string, string> = {
  E_FILE_FORMAT:
    'This is not a GGUF file or a checkpoint that can be read, or it is damaged. Try downloading it again.',
  E_FILE_LIMIT: 'A number in this file is beyond what any sound model needs, so it was refused.',
  E_UNSUPPORTED_ARCH: 'This kind of model is not supported yet.',
  E_UNSUPPORTED_QUANT: 'This model’s number format is not supported yet. Try its Q8_0, Q4_0 or Q4_1 file.',
  E_INTEGRITY: 'The file is not the one that was promised: its length or checksum differs. Try again.',
  E_NETWORK:
    'The file could not be fetched or read. The address may be wrong, its server may not let other sites read it, or the file was moved.',
  E_RANGE: 'The server does not answer requests for a part of a file.',
  E_QUOTA: 'There is no room left in this browser’s storage.',
  E_MEMORY: 'This model does not fit in the memory that the browser gives a page. Try a smaller one.',
  E_GPU_UNAVAILABLE:
    'This page gets no GPU from this browser. Choose Automatic or CPU. For the GPU, see that hardware acceleration is on in the browser’s settings, or try a current Chrome, Edge, Safari or Firefox.',
  E_GPU_LOST: 'The GPU stopped answering. Load the model again; if it happens again, choose CPU.',
  E_GPU_WRONG: 'This GPU computes wrong results, so it is not used. Choose Automatic or CPU.',
  E_TEMPLATE: 'The model’s chat template could not be applied to this conversation.',
  E_CONTEXT_OVERFLOW: 'The conversation is longer than the model can hold. Start a new chat or write less.',
  E_UNSUPPORTED_FEATURE: 'This is not built yet.',
  E_UNSUPPORTED_TASK: 'This model reads texts but writes none. For a conversation choose one that does.',
  E_CSP: 'The page’s security policy keeps the engine from starting.',
  E_BUSY: 'The engine is still busy with something else. Try again in a moment.',
  E_INTERNAL: 'The engine has failed; this is a defect of it. Load the model again.',
};

/** A problem of the page itself, already in plain words. */
export class PlainProblem extends Error {
  readonly code: string;

  constructor(code: string, text: string) {
    super(text);
    this.code = code;
  }
}

export function plainError(error: unknown): PlainError {
  if (error instanceof PlainProblem) return { text: error.message, code: error.code, detail: error.message };
  const detail = error instanceof Error ? error.message : String(error);
  const given: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  const code = typeof given === 'string' ? given : error instanceof Error ? error.name : 'Error';
  return { text: missingParts(error) ?? PLAIN[code] ?? 'Something went wrong.', code, detail };
}

/** What the engine says of a file that is only a part. */
function missingParts(error: unknown): string | undefined {
  const { parts } = (error as { details?: { parts?: unknown } } | undefined)?.details ?? {};
  return typeof parts === 'number'
    ? `This model comes in ${count(parts)} files. Choose or drop all of them together, or give the address of one of them.`
    : undefined;
}
