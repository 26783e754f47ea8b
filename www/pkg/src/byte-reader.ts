// Reads a stream of bytes into buffers that are used again. Of a chunk in a buffer of its own the memory comes back only when the
// garbage collector looks, which in a download of a gigabyte is hundreds of megabytes later.

const BUFFER_BYTES = 1 << 20;

type Read = { done: boolean; value?: Uint8Array<ArrayBuffer> | undefined };

export class ByteReader {
  readonly #intoBuffers: ReadableStreamBYOBReader | undefined;
  readonly #asItComes: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  readonly #spare: ArrayBuffer[] = [];

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    try {
      this.#intoBuffers = stream.getReader({ mode: 'byob' });
    } catch {
      this.#asItComes = stream.getReader(); // no stream of bytes: not every browser has them
    }
  }

  read(): Promise<Read> {
    if (this.#intoBuffers)
      return this.#intoBuffers.read(new Uint8Array(this.#spare.pop() ?? new ArrayBuffer(BUFFER_BYTES)));
    return this.#asItComes?.read() ?? Promise.resolve({ done: true });
  }

  /** Takes a chunk back that nobody looks at any more. */
  recycle(chunk: Uint8Array): void {
    const { buffer } = chunk;
    if (this.#intoBuffers && buffer instanceof ArrayBuffer && buffer.byteLength > 0) this.#spare.push(buffer);
  }

  cancel(): void {
    (this.#intoBuffers ?? this.#asItComes)?.cancel().catch(() => {});
  }
}
