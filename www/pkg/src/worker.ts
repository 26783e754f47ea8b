// The script of the engine's worker, and of the threads of its pool, for models that are one GGUF file.

import { runEngineWorker } from './engine-worker.js';

runEngineWorker();
