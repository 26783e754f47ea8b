// `import { summarize } from 'kinglet/tasks'`: what small models are for, as calls on an engine of `kinglet`.

export { answer } from './answer.js';
export { classify } from './classify.js';
export { complete } from './complete.js';
export { embed } from './embed.js';
export { fillMask } from './fill-mask.js';
export { rerank } from './rerank.js';
export { SearchIndex } from './search-index.js';
export { summarize } from './summarize.js';
export { support } from './support.js';
export { tag } from './tag.js';
export { translate } from './translate.js';
export type * from './types.js';
