// The engine's worker under observation, served beside the real worker.js and started through `workerUrl`. What happens is said
// by watch.js, which has to run first.
import './watch.js';
import './worker.js';
