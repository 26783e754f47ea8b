// All that is rare. Used by full-template-worker.ts.

import { FILTERS } from './rare-filters.js';
import { cycler, field, joiner, ofLoop } from './rare-globals.js';
import { METHODS } from './rare-methods.js';
import { printf } from './rare-numbers.js';
import type { Rare } from './rare.js';

export const RARE: Rare = { printf, filters: FILTERS, methods: METHODS, joiner, cycler, ofLoop, field };
