// The script of the engine's worker for checkpoints as published, and for a tokenizer.json: worker.ts with what reads them, which pages
// with GGUF files never fetch.

import { CheckpointFiles } from './checkpoint/files.js';
import { runEngineWorker } from './engine-worker.js';
import { readVocabulary } from './tokenizer-source.js';

runEngineWorker({ checkpoint: (source, quantize) => new CheckpointFiles(source, quantize), readVocabulary });
