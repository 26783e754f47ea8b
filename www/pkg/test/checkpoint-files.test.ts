// Checkpoints from a folder on a server and from the page, through the client, the worker's host and a fake engine.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { KingletError } from '../src/errors.js';
import { checkLoad } from '../src/params.js';
import { bytesOf, CHECKPOINTS, headerOf } from './checkpoints.js';
import { load as loadFrom, type LoadResult, type LoadTest } from './load.js';
import { readGguf } from './read-gguf.js';

const SHARDED = 'llama-sharded';
const filesOf = (name: string): string[] =>
  fs.readdirSync(path.join(CHECKPOINTS, name)).filter((file) => !/^(expected\.json|header\.bin)$/.test(file));
const weightsOf = (name: string): string[] => filesOf(name).filter((file) => file.endsWith('.safetensors'));
/** The data of the weights' files, one behind the other. */
const dataOf = (name: string): Buffer =>
  Buffer.concat(
    weightsOf(name).map((file) => {
      const bytes = bytesOf(name, file);
      return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
    }),
  );

const requests: string[] = [];
/** What is answered to paths that end so, instead of the file. */
const answers = new Map<string, { status: number; type?: string; body?: Uint8Array | string }>();
const server = http.createServer((request, response) => {
  const url = new URL(request.url ?? '', 'http://host');
  requests.push(decodeURIComponent(url.pathname + url.search) + (request.headers.range ? ' (range)' : ''));
  const file = path.join(CHECKPOINTS, decodeURIComponent(url.pathname).replace('/resolve/main/', '/'));
  const other = [...answers].find(([end]) => url.pathname.endsWith(end))?.[1];
  const is = !other && fs.statSync(file, { throwIfNoEntry: false })?.isFile();
  const {
    status,
    type = '',
    body = '',
  } = other ?? (is ? { status: 200, body: fs.readFileSync(file) } : { status: 404 });
  response.writeHead(status, { 'content-type': type, 'content-length': body.length }).end(body);
});
let base = '';
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests.splice(0);
  answers.clear();
});

const load = (source: unknown, options?: LoadTest): Promise<LoadResult> => loadFrom(source, base, options);

/** The header that the engine is tested with, but for the model's name, and all data. */
function assertWhole({ engine, loaded, events, error }: LoadResult, name: string): void {
  assert.equal(error, undefined, String(error));
  const found = readGguf(engine.checkpoint ?? new Uint8Array());
  const expected = readGguf(headerOf(name));
  found.values.delete('general.name');
  expected.values.delete('general.name');
  assert.deepEqual(found, expected);
  assert.ok(Buffer.from(engine.fed).equals(dataOf(name)));
  const total = weightsOf(name).reduce((sum, file) => sum + bytesOf(name, file).length, 0);
  assert.equal(loaded?.fileBytes, total);
  const last = events.at(-1);
  assert.deepEqual([last?.phase, last?.loadedBytes, last?.totalBytes], ['ready', total, total]);
  const n = weightsOf(name).length;
  assert.deepEqual(last?.file, { name: weightsOf(name).at(-1), number: n, count: n });
}

function assertFails({ error }: { error?: unknown }, code: string, pattern: RegExp): void {
  assert.ok(error instanceof KingletError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, pattern);
}

describe('the URL of a folder', () => {
  test('or of a file in it: what is there is read once, what is not is no fault', async () => {
    for (const end of ['', 'config.json', 'model.safetensors', 'model.safetensors.index.json']) {
      requests.splice(0);
      assertWhole(await load(`${base}/llama/${end}?key=a%2Fb`), 'llama');
      const asked = requests.map((request) => request.replace('/llama/', '').replace('?key=a/b', ''));
      assert.deepEqual(asked.sort(), [
        '1_Pooling/config.json',
        'chat_template.jinja',
        'config.json',
        'generation_config.json',
        'model.safetensors',
        'model.safetensors.index.json',
        'tokenizer.json',
        'tokenizer_config.json',
      ]);
      assert.ok(requests.every((request) => request.includes('?key=a/b')));
    }
  });

  test('files of weights by the index; of the later ones the beginning first', async () => {
    assertWhole(await load(`${base}/${SHARDED}/`), SHARDED);
    const weights = requests.filter((request) => request.includes('model-'));
    const url = (i: number): string => `/${SHARDED}/${weightsOf(SHARDED)[i]}`;
    assert.deepEqual(weights, [url(0), `${url(1)} (range)`, `${url(2)} (range)`, url(1), url(2)]);
  });

  test('the model is called as its folder', async () => {
    for (const [url, name] of [
      [`${base}/qwen3/`, 'qwen3'],
      [`${base}/qwen3/resolve/main/`, 'qwen3'],
    ] as const) {
      const { engine } = await load(url);
      assert.equal(readGguf(engine.checkpoint as Uint8Array).values.get('general.name'), name);
    }
  });

  test('what a server of one page, or a store, answers for files that are not there', async () => {
    answers.set('chat_template.jinja', { status: 200, type: 'text/html; charset=utf-8', body: '<!doctype html>' });
    answers.set('index.json', { status: 200, type: 'text/html', body: '<!doctype html>' });
    answers.set('1_Pooling/config.json', { status: 403 });
    assertWhole(await load(`${base}/llama/`), 'llama');
  });

  test('what has to be there is missing', async () => {
    answers.set('/tokenizer.json', { status: 404 });
    assertFails(await load(`${base}/llama/`), 'E_FILE_FORMAT', /has no tokenizer\.json/);
    answers.clear();
    for (const name of ['config.json', 'model.safetensors']) {
      answers.set(`/${name}`, { status: 404 });
      const outcome = await load(`${base}/llama/`);
      assertFails(outcome, 'E_NETWORK', new RegExp(`/llama/${name}: the server answered 404`));
      assert.equal(outcome.engine?.fed.length ?? 0, 0);
      answers.clear();
    }
    answers.set('00002-of-00003.safetensors', { status: 404 });
    assertFails(await load(`${base}/${SHARDED}/`), 'E_NETWORK', /model-00002-of-00003.safetensors.*404/);
    answers.set('generation_config.json', { status: 500 });
    assertFails(await load(`${base}/llama/`), 'E_NETWORK', /generation_config.json.*500/);
  });

  test('a page, an index or a file that is wrong', async () => {
    const fails = async (file: string, body: string | Uint8Array, code: string, pattern: RegExp, name = 'llama') => {
      answers.clear();
      answers.set(`/${file}`, { status: 200, type: 'application/octet-stream', body });
      assertFails(await load(`${base}/${name}/`), code, pattern);
    };
    const format = 'E_FILE_FORMAT';
    await fails('config.json', '<!doctype html>', format, /config.json: this is no JSON/);
    await fails(
      'config.json',
      '{"model_type":"llama","model_type":"gpt2"}',
      format,
      /config.json: an object has a key twice/,
    );
    await fails('config.json', '[]', format, /config.json: is \[\]/);
    await fails('tokenizer.json', '{}', format, /tokenizer.json: \$\.model is missing/);
    const index = 'model.safetensors.index.json';
    await fails(index, '{}', format, /weight_map is no object/);
    await fails(index, '{"weight_map":{"a":"../../secret.safetensors"}}', format, /weight_map is no object/);
    await fails(index, '{"weight_map":{"a":"model.safetensors"}}', format, /tensor "a" is not in model.safetensors/);
    const many = Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [i, `${i}.safetensors`]));
    await fails(index, JSON.stringify({ weight_map: many }), 'E_FILE_LIMIT', /1001 files/);
    const whole = bytesOf('llama', 'model.safetensors');
    const weights = (body: Uint8Array, code: string, pattern: RegExp) =>
      fails('model.safetensors', body, code, pattern);
    await weights(new Uint8Array(5), format, /ends too early: 5 of the 8 bytes of its header/);
    await weights(whole.subarray(0, 100), format, /ends too early: 100 of the \d+ bytes of its header/);
    await weights(whole.subarray(0, -1), format, /ends too early: \d+ of \d+ bytes/);
    await weights(Buffer.concat([whole, Buffer.of(0)]), format, /goes on behind its \d+ bytes/);
    await weights(new TextEncoder().encode('version https://git-lfs.github.com/spec/v1'), format, /pointer of Git LFS/);
  });

  test('checksums of the files that are named', async () => {
    // The fake's sum of anything.
    const right = 'a'.repeat(64);
    assertWhole(
      await load(`${base}/llama/`, { sha256: { 'config.json': right, 'model.safetensors': right } }),
      'llama',
    );
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors'])
      assertFails(
        await load(`${base}/llama/`, { sha256: { [name]: 'b'.repeat(64) } }),
        'E_INTEGRITY',
        new RegExp(name),
      );
    const { error } = await load(`${base}/llama/`, { sha256: { 'README.md': right } });
    assert.ok(error instanceof RangeError);
    assert.ok((await load(`${base}/llama/`, { sha256: right })).error instanceof TypeError);
  });
});

describe('files from the page', () => {
  const kinds: Record<string, (bytes: Buffer<ArrayBuffer>, name: string) => unknown> = {
    blobs: (bytes) => new Blob([bytes]),
    bytes: (bytes) => new Uint8Array(bytes),
    streams: (bytes) => new Blob([bytes]).stream(),
    URLs: (_bytes, name) => `${base}/${SHARDED}/${name}`,
  };
  for (const [kind, make] of Object.entries(kinds))
    test(`${kind}, in any order and with other files`, async () => {
      const names = filesOf(SHARDED).reverse();
      const files = Object.fromEntries(names.map((name) => [name, make(bytesOf(SHARDED, name), name)]));
      assertWhole(await load({ files: { 'README.md': new Blob(['#']), ...files } }), SHARDED);
    });

  test('a list of Files, also of a whole folder, and without an index', async () => {
    const list = filesOf(SHARDED).map((name) => new File([bytesOf(SHARDED, name)], name));
    assertWhole(await load(list), SHARDED);
    assertWhole(await load(list.filter((file) => !file.name.endsWith('index.json'))), SHARDED);
    const inFolder = list.concat(new File(['{"pooling_mode_cls_token":1}'], 'config.json'));
    for (const [i, file] of inFolder.entries()) {
      const folder = i < list.length ? 'model' : 'model/other/deep';
      Object.defineProperty(file, 'webkitRelativePath', { value: `${folder}/${file.name}` });
    }
    const { error, engine } = await load(inFolder);
    assert.equal(error, undefined);
    assert.ok(Buffer.from(engine.fed).equals(dataOf(SHARDED)));
  });

  test('what is missing is named', async () => {
    const files = (name: string, without: RegExp, more: Record<string, Blob> = {}) => ({
      files: {
        ...Object.fromEntries(
          filesOf(name)
            .filter((file) => !without.test(file))
            .map((file) => [file, new Blob([bytesOf(name, file)])]),
        ),
        ...more,
      },
    });
    const format = 'E_FILE_FORMAT';
    assertFails(await load(files('llama', /^config/)), format, /has no config\.json: it says what the model is/);
    assertFails(await load(files('llama', /^tokenizer/)), format, /has no tokenizer\.json: other forms/);
    assertFails(await load(files('llama', /safetensors/)), format, /has no model\.safetensors: .*pytorch_model\.bin/);
    const pickle = { 'pytorch_model.bin': new Blob(['x']) };
    assertFails(
      await load(files('llama', /safetensors/, pickle)),
      format,
      /pytorch_model\.bin: .*which may be a program/,
    );
    assertFails(await load(files(SHARDED, /00002-of/)), format, /has no model-00002-of-00003\.safetensors/);
    assertFails(await load(files(SHARDED, /00002-of|index/)), format, /of 3 files of weights these are missing: 2$/);
    const gguf = await load(files('llama', /^$/, { 'model.gguf': new Blob(['x']) }));
    assert.ok(gguf.error instanceof TypeError && /which of the two/.test(gguf.error.message));
  });

  test('ByT5 has no tokenizer.json and needs none', async () => {
    const config = { tokenizer_class: 'ByT5Tokenizer', extra_ids: 29 };
    const files = {
      ...Object.fromEntries(
        ['config.json', 'model.safetensors'].map((file) => [file, new Blob([bytesOf('t5', file)])]),
      ),
      'tokenizer_config.json': new Blob([JSON.stringify(config)]),
    };
    const { engine, error } = await load({ files });
    assert.equal(error, undefined);
    const { values } = readGguf(engine.checkpoint as Uint8Array);
    const tokens = values.get('tokenizer.ggml.tokens') as string[];
    assert.equal(tokens.length, 288);
    assert.deepEqual(
      [0, 1, 2, 3, 258, 259, 287].map((id) => tokens[id]),
      ['<pad>', '</s>', '<unk>', '<0x00>', '<0xFF>', '<extra_id_0>', '<extra_id_28>'],
    );
    assert.equal(values.get('tokenizer.ggml.model'), 'byt5');
  });

  test('every file that is read has a checksum, where there are any', async () => {
    const names = filesOf('llama');
    const files = Object.fromEntries(names.map((name) => [name, new Blob([bytesOf('llama', name)])]));
    const sums = Object.fromEntries(names.map((name) => [name, 'A'.repeat(64)]));
    assertWhole(await load({ files }, { sha256: sums }), 'llama');
    const { 'config.json': _, ...fewer } = sums;
    assert.ok((await load({ files }, { sha256: fewer })).error instanceof RangeError);
    assertFails(
      await load({ files }, { sha256: { ...sums, 'model.safetensors': 'b'.repeat(64) } }),
      'E_INTEGRITY',
      /model/,
    );
  });
});

test('a GPU that fails its check: the CPU begins again, and nothing is fetched twice', async () => {
  const faults = { checkRejects: { code: 'E_GPU_WRONG', message: 'wrong' } };
  const { engines, ...outcome } = await load(`${base}/llama/`, { faults });
  assert.deepEqual(
    engines.map((engine) => engine.options.device),
    ['webgpu', 'cpu'],
  );
  assertWhole({ engines, ...outcome }, 'llama');
  assert.equal(requests.filter((request) => request.endsWith('/model.safetensors')).length, 1);
});

test('quantize is checked, and reaches the header', async () => {
  const { engine } = await load(`${base}/llama/`, { quantize: 'q4_0' });
  const types = readGguf(engine.checkpoint as Uint8Array).tensors.map(({ type }) => type);
  assert.deepEqual([...new Set(types)].sort(), [0, 2, 8]);
  for (const quantize of ['f16', 'q8_0', 'q4_0', undefined] as const)
    checkLoad(quantize === undefined ? {} : { quantize });
  assert.throws(() => checkLoad({ quantize: 'q4_k' as 'q4_0' }), RangeError);
  assert.throws(() => checkLoad({ quantize: 4 as unknown as 'q4_0' }), TypeError);
});
