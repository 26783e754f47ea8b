// Turns whatever the caller gave as a file into a stream of chunks. On the page `describeSource` makes it postable (bytes and
// streams stay on the page and are handed over chunk by chunk when the worker asks, so that nothing is copied twice and a slow
// consumer holds the producer back). In the worker `openSource` reads it. Servers lie: statuses are checked, bytes are counted,
// a short body is an error; what the bytes mean is the parser's business.

import { ByteReader } from './byte-reader.js';
import { describe, KingletError, toPlain } from './errors.js';
import type { FileSource, SourcePull, SourcePush } from './protocol.js';

/** How many bytes of a buffer go over in one message: small enough to never block the page. */
const PIECE_BYTES = 1 << 20;
/** What is asked for of a file of which only the header is wanted; reading stops as soon as it is complete. */
const HEAD_BYTES = 1 << 20;

/** A source being read. `totalBytes` is a hint from the transport, not a promise. */
export interface OpenSource {
  totalBytes?: number;
  /** The server calls it a web page. */
  isPage?: boolean;
  chunks: AsyncIterable<Uint8Array>;
  /** Takes a chunk back that nobody looks at any more; its bytes may change then. */
  recycle?(chunk: Uint8Array): void;
}

/** A source that can be posted, with what must be transferred along. */
export interface Described<D = FileSource> {
  descriptor: D;
  transfer: Transferable[];
  /** Ends the pump on the page, where there is one. */
  dispose(): void;
}

/** Page: checks the caller's source and makes it postable. TypeError for what is no source at all. */
export function describeSource(source: unknown, headers: Record<string, string>, base: string): Described {
  const plain = (descriptor: FileSource): Described => ({ descriptor, transfer: [], dispose() {} });
  if (typeof source === 'string' || source instanceof URL) {
    return plain({ kind: 'url', url: resolveUrl(source, base), headers });
  }
  if (Object.keys(headers).length > 0) throw new TypeError('headers only make sense for a source that is a URL');
  if (source instanceof Blob) return plain({ kind: 'blob', blob: source });
  if (source instanceof ReadableStream) {
    if (source.locked) throw new TypeError('the source stream is already being read by someone else');
    const stream = readStream(source);
    return pump(() => stream, { again: false });
  }
  const bytes = asBytes(source);
  if (bytes) return pump(() => pieces(bytes), { again: true, totalBytes: bytes.byteLength });
  throw new TypeError(
    'source must be a URL, a Blob or File, an ArrayBuffer, a Uint8Array or a ReadableStream of bytes, or { files } of them',
  );
}

/** An absolute URL that can be fetched. */
export function resolveUrl(source: string | URL, base: string): string {
  let url: URL;
  try {
    url = new URL(source, base);
  } catch (cause) {
    throw new TypeError(`source ${JSON.stringify(String(source))} is not a URL`, { cause });
  }
  // The pages of browser extensions have schemes of their own.
  if (!/^(https?|blob|data|file|(chrome|moz|safari-web)-extension):$/.test(url.protocol))
    throw new TypeError(`source ${url.href}: ${url.protocol} URLs cannot be fetched`);
  return url.href;
}

function asBytes(source: unknown): Uint8Array | undefined {
  if (source instanceof Uint8Array) return source;
  if (
    source instanceof ArrayBuffer ||
    (typeof SharedArrayBuffer !== 'undefined' && source instanceof SharedArrayBuffer)
  )
    return new Uint8Array(source);
  return undefined;
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES)
    yield bytes.slice(at, at + PIECE_BYTES) as Uint8Array<ArrayBuffer>;
}

async function* readStream(stream: ReadableStream<unknown>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const bytes = asBytes(value);
      if (!bytes) throw new TypeError('the source stream must give Uint8Array chunks');
      yield* pieces(bytes);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Hands over one chunk per pull, until the other side cancels or there is none left. */
function pump(
  open: () => Generator<Uint8Array<ArrayBuffer>> | AsyncGenerator<Uint8Array<ArrayBuffer>>,
  more: { again: boolean; totalBytes?: number },
): Described {
  const { port1, port2 } = new MessageChannel();
  let iterator = open();
  const dispose = (): void => {
    port1.close();
    void Promise.resolve(iterator.return(undefined)).catch(() => {});
  };
  const push = (message: SourcePush, transfer: Transferable[] = []): void => port1.postMessage(message, transfer);
  port1.onmessage = async ({ data }: MessageEvent<SourcePull>) => {
    if (data.kind === 'cancel') return dispose();
    if (data.kind === 'again') return void (iterator = open());
    try {
      const { done, value } = await iterator.next();
      if (done) push({ kind: 'end' });
      else push({ kind: 'chunk', bytes: value }, [value.buffer]);
    } catch (thrown) {
      push({
        kind: 'error',
        error:
          thrown instanceof TypeError
            ? { code: 'TypeError', message: thrown.message }
            : toPlain(networkError('the source stream failed', thrown)),
      });
    }
  };
  return { descriptor: { kind: 'port', port: port2, ...more }, transfer: [port2], dispose };
}

/** Whether `openSource` can be called a second time. Not for a stream: it flows once. */
export const opensAgain = (source: FileSource): boolean => source.kind !== 'port' || source.again;

/** Worker: begins to read, from the first byte each time. Rejects with E_NETWORK where the server refuses. */
export async function openSource(source: FileSource): Promise<OpenSource> {
  switch (source.kind) {
    case 'blob':
      return {
        totalBytes: source.blob.size,
        ...readAll(source.blob.stream(), { what: 'the file', totalBytes: source.blob.size }),
      };
    case 'port':
      return {
        ...(source.totalBytes === undefined ? {} : { totalBytes: source.totalBytes }),
        chunks: pullAll(source),
      };
    case 'url':
      return openUrl(source.url, source.headers);
  }
}

/**
 * Begins to read a file of which only the beginning is wanted: by Range, where the server knows it; others send everything, and
 * the reader stops. Whether what comes is what was asked for is not known: cross-origin, `Content-Range` cannot be read.
 */
export const openHead = ({ url, headers }: Extract<FileSource, { kind: 'url' }>): Promise<OpenSource> =>
  openUrl(url, { ...headers, range: `bytes=0-${HEAD_BYTES - 1}` });

async function openUrl(url: string, headers: Record<string, string>): Promise<OpenSource> {
  let response: Response;
  try {
    response = await fetch(url, { headers });
  } catch (cause) {
    throw networkError(
      `${url} could not be fetched (no connection, no such host, or the server does not allow this page by CORS)`,
      cause,
      { url },
    );
  }
  if (!response.ok) {
    void response.body?.cancel().catch(() => {});
    throw networkError(`${url}: the server answered ${response.status} ${response.statusText}`.trim(), undefined, {
      url,
      status: response.status,
    });
  }
  if (response.status === 204 || !response.body)
    throw networkError(`${url}: the server answered ${response.status} without a body`, undefined, {
      url,
      status: response.status,
    });
  // Content-Length counts encoded bytes: it says nothing about a body that was compressed on the way.
  const length = response.headers.get('content-encoding')
    ? NaN
    : Number.parseInt(response.headers.get('content-length') ?? '', 10);
  const totalBytes = Number.isSafeInteger(length) && length > 0 ? length : undefined;
  return {
    ...(totalBytes === undefined ? {} : { totalBytes }),
    isPage: /^text\/html\b/i.test(response.headers.get('content-type') ?? ''),
    ...readAll(response.body, { what: url, ...(totalBytes === undefined ? {} : { totalBytes }) }),
  };
}

interface Expected {
  what: string;
  totalBytes?: number;
}

function readAll(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  expected: Expected,
): Required<Pick<OpenSource, 'chunks' | 'recycle'>> {
  const reader = new ByteReader(stream);
  return { chunks: chunksOf(reader, expected), recycle: (chunk) => reader.recycle(chunk) };
}

async function* chunksOf(reader: ByteReader, expected: Expected): AsyncGenerator<Uint8Array> {
  let n_bytes = 0;
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw networkError(`${expected.what}: the connection broke after ${n_bytes} bytes`, cause, {
          loadedBytes: n_bytes,
        });
      });
      ended = done;
      if (done || !value) break;
      n_bytes += value.byteLength;
      yield value;
    }
  } finally {
    if (!ended) reader.cancel();
  }
  if (expected.totalBytes !== undefined && n_bytes < expected.totalBytes) {
    throw networkError(`${expected.what}: the body ended after ${n_bytes} of ${expected.totalBytes} bytes`, undefined, {
      loadedBytes: n_bytes,
      totalBytes: expected.totalBytes,
    });
  }
}

async function* pullAll({ port, again }: Extract<FileSource, { kind: 'port' }>): AsyncGenerator<Uint8Array> {
  let ended = false;
  const ask = (message: SourcePull): void => port.postMessage(message);
  try {
    if (again) ask({ kind: 'again' });
    for (;;) {
      const message = await new Promise<SourcePush>((resolve) => {
        port.onmessage = ({ data }: MessageEvent<SourcePush>) => resolve(data);
        ask({ kind: 'pull' });
      });
      if (message.kind !== 'chunk') ended = true;
      if (message.kind === 'end') return;
      // The plain form, code and message, goes back to the page as it is.
      if (message.kind === 'error') throw message.error;
      yield message.bytes;
    }
  } finally {
    // What can be read again is left open: the page ends its side when the model is loaded.
    if (!again) {
      if (!ended) ask({ kind: 'cancel' });
      port.close();
    }
  }
}

function networkError(message: string, cause: unknown, details: Record<string, unknown> = {}): KingletError {
  return new KingletError('E_NETWORK', cause === undefined ? message : `${message}: ${describe(cause)}`, {
    cause,
    details,
  });
}
