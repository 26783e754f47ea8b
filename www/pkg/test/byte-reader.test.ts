import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader } from '../src/byte-reader.js';
import { SourceFile } from '../src/source-file.js';

const N_CHUNKS = 40;
const CHUNK_BYTES = 1000;
const chunk = (i: number): Uint8Array<ArrayBuffer> => new Uint8Array(CHUNK_BYTES).fill(i + 1);

/** A stream of bytes; `views` are what it was given to fill. */
function byteStream(views: ArrayBufferLike[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  let i = 0;
  return new ReadableStream({
    type: 'bytes',
    pull(controller) {
      const request = controller.byobRequest;
      if (i === N_CHUNKS) {
        controller.close();
        return request?.respond(0);
      }
      if (!request?.view) return controller.enqueue(chunk(i++));
      views.push(request.view.buffer);
      new Uint8Array(request.view.buffer, request.view.byteOffset).set(chunk(i++));
      request.respond(CHUNK_BYTES);
    },
  });
}

const plainStream = (): ReadableStream<Uint8Array<ArrayBuffer>> => {
  let i = 0;
  return new ReadableStream({
    pull: (controller) => (i === N_CHUNKS ? controller.close() : controller.enqueue(chunk(i++))),
  });
};

async function readAll(reader: ByteReader, keeps: boolean): Promise<Uint8Array[]> {
  const read: Uint8Array[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !value) return read;
    read.push(keeps ? value : value.slice());
    if (!keeps) reader.recycle(value);
  }
}

test('the bytes are the same into buffers that are used again, into new ones, and as they come', async () => {
  const expected = Array.from({ length: N_CHUNKS }, (_, i) => chunk(i));
  const views: ArrayBufferLike[] = [];
  assert.deepEqual(await readAll(new ByteReader(byteStream(views)), false), expected);
  assert.equal(views.length, N_CHUNKS, 'every chunk went into a buffer of ours');
  assert.deepEqual(await readAll(new ByteReader(byteStream([])), true), expected);
  assert.deepEqual(await readAll(new ByteReader(plainStream()), false), expected);
});

test('what a file keeps is not written over', async () => {
  const recycled: number[] = [];
  const reader = new ByteReader(byteStream([]));
  const file = new SourceFile(
    { name: 'a' },
    async () => ({
      chunks: (async function* () {
        for (;;) {
          const { done, value } = await reader.read();
          if (done || !value) return;
          yield value;
        }
      })(),
      recycle: (bytes) => {
        recycled.push(bytes[0] ?? 0);
        reader.recycle(bytes);
      },
    }),
    false,
  );
  let n = 0;
  for await (const _ of file.read()) if (++n === 10) break;
  const all: number[] = [];
  for await (const bytes of file.read()) {
    all.push(bytes[0] ?? 0);
    if (all.length === 12) file.forget();
  }
  assert.deepEqual(
    all,
    Array.from({ length: N_CHUNKS }, (_, i) => i + 1),
  );
  assert.deepEqual(recycled, all.slice(11), 'from the one on which nothing had to be kept any more');
});
