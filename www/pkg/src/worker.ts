// The script of the engine's worker, and of the threads of its pool, for models that are GGUF files.

import { runEngineWorker } from './engine-worker.js';

runEngineWorker();
