// The small checkpoints of tests/golden/checkpoints, read as the worker reads them. Also used by the script that writes their headers.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Checkpoint, checkpointHeader } from '../src/checkpoint/header.js';
import { headerLength, LENGTH_BYTES, readHeader } from '../src/checkpoint/safetensors.js';
import { vocabularyKeys } from '../src/tokenizer-json.js';

/** From test/build/test, where this runs. */
export const CHECKPOINTS = path.join(
  path.dirname(fileURLToPath(import.meta.url)),
  '../../../../../tests/golden/checkpoints',
);
export const NAMES = fs
  .readdirSync(CHECKPOINTS)
  .filter((name) => fs.existsSync(path.join(CHECKPOINTS, name, 'config.json')));

export function bytesOf(name: string, file: string): Buffer<ArrayBuffer> {
  return fs.readFileSync(path.join(CHECKPOINTS, name, file)) as Buffer<ArrayBuffer>;
}

export function readCheckpoint(name: string): Checkpoint {
  const files = fs.readdirSync(path.join(CHECKPOINTS, name));
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- JSON of the tests' own
  const json = (file: string): any =>
    files.includes(file) ? JSON.parse(bytesOf(name, file).toString('utf8')) : undefined;
  const template = files.includes('chat_template.jinja')
    ? bytesOf(name, 'chat_template.jinja').toString('utf8')
    : json('tokenizer_config.json')?.chat_template;
  return {
    name,
    config: json('config.json'),
    vocabulary: vocabularyKeys(json('tokenizer.json'), json('tokenizer_config.json')),
    generation: json('generation_config.json'),
    template,
    files: files
      .filter((file) => file.endsWith('.safetensors'))
      .map((file) => {
        const bytes = bytesOf(name, file);
        const n = headerLength(file, bytes);
        return { name: file, tensors: readHeader(file, bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + n)) };
      }),
    quantize: undefined,
  };
}

export const headerOf = (name: string): Uint8Array => checkpointHeader(readCheckpoint(name)).header;
