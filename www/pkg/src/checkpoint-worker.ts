// The script of the engine's worker for models of several files: checkpoints as published, GGUF files in parts, and those with a
// tokenizer.json. It is worker.ts with what reads them, which pages with one GGUF file never fetch.

import { CheckpointFiles } from './checkpoint/files.js';
import { runEngineWorker } from './engine-worker.js';
import { Parts } from './parts.js';
import { readVocabulary } from './tokenizer-source.js';

runEngineWorker({
  parts: (files, siblings) => new Parts(files, siblings),
  checkpoint: (source, quantize) => new CheckpointFiles(source, quantize),
  readVocabulary,
});
