// Starts module workers, also where that is not simple: under Trusted Types, and for a package served from another origin. Used by
// index.ts (engine, templates; in Node.js node/host.ts does it) and worker.ts (pool).

import { describe, KingletError } from './errors.js';

/** Name of the Trusted Types policy that a page has to allow where it enforces them: `trusted-types kinglet`. */
const POLICY = 'kinglet';

interface Policy {
  createScriptURL(url: string): unknown;
}
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): Policy;
}

let policy: Policy | undefined;

/** Starts the script at an absolute URL; `name` is what it finds in its global `name`. */
export function spawn(href: string, name = ''): Worker {
  try {
    if (isHere(href)) return start(href, name);
    // A worker must be of the page's origin; a module that it imports need not be (the server has to allow it by CORS).
    const shell = URL.createObjectURL(new Blob([`import ${JSON.stringify(href)};`], { type: 'text/javascript' }));
    setTimeout(() => URL.revokeObjectURL(shell), 60_000);
    return start(shell, name);
  } catch (thrown) {
    if (thrown instanceof KingletError) throw thrown;
    throw new KingletError('E_CSP', `${href} could not be started as a worker: ${describe(thrown)}`, {
      cause: thrown,
      details: { directive: 'worker-src' },
    });
  }
}

/** Whether a worker may be made of it. A blob's origin is that of the page that made it. */
const isHere = (url: string): boolean => !globalThis.location || new URL(url).origin === globalThis.location.origin;

// Whether a page enforces Trusted Types cannot be asked without a report of a violation: a policy is made wherever there are any, and
// where that is refused, the plain text may still do.
function start(url: string, name: string): Worker {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  let refused: unknown;
  try {
    policy ??= trustedTypes?.createPolicy(POLICY, { createScriptURL: (text) => text });
  } catch (thrown) {
    refused = thrown;
  }
  try {
    return new Worker((policy ? policy.createScriptURL(url) : url) as string, { type: 'module', name });
  } catch (thrown) {
    if (!refused) throw thrown;
    throw new KingletError(
      'E_CSP',
      `Trusted Types: this page's Content-Security-Policy does not allow the policy "${POLICY}" (add it to trusted-types; for a second copy of the package 'allow-duplicates', too)`,
      { cause: refused, details: { directive: 'trusted-types' } },
    );
  }
}

/** Listens for the page's Content-Security-Policy stopping a worker; gives the error for one that did not start. */
export function watchStart(file: string, url: string): { error(): KingletError; stop(): void } {
  let directive: string | undefined;
  const onViolation = (event: SecurityPolicyViolationEvent): void => {
    if (/^(worker-src|child-src|script-src|default-src)/.test(event.effectiveDirective))
      directive = event.effectiveDirective;
  };
  const target = globalThis.document ?? globalThis;
  target.addEventListener?.('securitypolicyviolation', onViolation as EventListener);
  return {
    stop: () => target.removeEventListener?.('securitypolicyviolation', onViolation as EventListener),
    error: () =>
      directive === undefined
        ? new KingletError(
            'E_NETWORK',
            `${file} did not start: ${url} is missing, is not JavaScript, or did not arrive in time (${remedy(url)})`,
            { details: { url } },
          )
        : new KingletError(
            'E_CSP',
            `${file} was stopped by the page's Content-Security-Policy: ${directive} has to allow it ('self', or blob: for a package from another origin)`,
            { details: { directive, url } },
          ),
  };
}

/** What is likely wrong with an address. */
function remedy(url: string): string {
  if (url.includes('/.vite/')) return "Vite 7 and older need optimizeDeps: { exclude: ['kinglet'] }";
  return isHere(url)
    ? 'where a bundler has not copied it, workerUrl says where it is'
    : "its server has to allow it by CORS, and a Content-Security-Policy's worker-src blob: and its origin";
}
