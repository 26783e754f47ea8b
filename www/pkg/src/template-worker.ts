// The worker in which chat templates run, alone, so that one that never ends can be ended. What few of them ask for is not there
// (jinja/rare.ts).

import { serve, type ScopeLike } from './dispatch.js';
import type { TemplateRequests } from './protocol.js';
import { TemplateHost } from './template-host.js';

serve<TemplateRequests>(globalThis as unknown as ScopeLike, new TemplateHost(), { trapsAreFatal: false });
