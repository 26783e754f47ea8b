// `import { summarize } from 'kinglet/tasks'`: what small models are for, as calls on an engine of `kinglet`.

export type * from './types.js';
export type * from './api-draft.js';
