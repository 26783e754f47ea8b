// The worker for chat templates with everything that one may ask for: it takes the place of template-worker.ts where that does not suffice.

import { serve, type ScopeLike } from './dispatch.js';
import { RARE } from './jinja/rare-all.js';
import { provideRare } from './jinja/rare.js';
import type { TemplateRequests } from './protocol.js';
import { TemplateHost } from './template-host.js';

provideRare(RARE);
serve<TemplateRequests>(globalThis as unknown as ScopeLike, new TemplateHost(), { trapsAreFatal: false });
