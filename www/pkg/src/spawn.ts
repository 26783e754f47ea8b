// Starts module workers where starting them is not simple: under Trusted Types, and for a package served from another origin.
// The `new Worker(new URL('./x.js', import.meta.url), …)` itself stays a literal at every call site, because bundlers look for
// that text. Used by index.ts (engine, templates) and worker.ts (pool).

import { describe, KingletError } from './errors.js';

/** Name of the Trusted Types policy that a page has to allow: `trusted-types kinglet`. */
const POLICY = 'kinglet';

// Not `import.meta.url` in one expression with `new URL`: bundlers would copy the unbundled file as an asset.
const here: string = import.meta.url;

interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL(url: string): string },
  ): { createScriptURL(url: string): unknown };
}

let policy: { createScriptURL(url: string): unknown } | undefined;

/** Runs `literal`; where the browser refuses it, starts `file` (beside this module, or at `url`) in the way that is allowed. */
export function spawn(literal: () => Worker, file: string, url?: string | URL): Worker {
  try {
    if (url === undefined) return literal();
  } catch (thrown) {
    const retry = thrown instanceof TypeError || (thrown instanceof DOMException && thrown.name === 'SecurityError');
    if (!retry) throw startError(file, thrown);
  }
  try {
    return start(
      url === undefined ? new URL(file, here) : new URL(url, globalThis.document?.baseURI ?? globalThis.location.href),
    );
  } catch (thrown) {
    throw thrown instanceof KingletError ? thrown : startError(file, thrown);
  }
}

function start(url: URL): Worker {
  if (url.origin === globalThis.location.origin || url.protocol === 'blob:')
    return new Worker(trusted(url.href), { type: 'module' });
  // A worker must be of the page's origin; a module that it imports need not be (the server has to allow it by CORS).
  const shell = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' }));
  const worker = new Worker(trusted(shell), { type: 'module' });
  setTimeout(() => URL.revokeObjectURL(shell), 60_000);
  return worker;
}

function trusted(url: string): string {
  const trustedTypes = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  if (!trustedTypes) return url;
  try {
    policy ??= trustedTypes.createPolicy(POLICY, { createScriptURL: (text) => text });
  } catch (cause) {
    throw new KingletError(
      'E_CSP',
      `Trusted Types: this page's Content-Security-Policy does not allow the policy "${POLICY}" (add it to trusted-types)`,
      { cause, details: { directive: 'trusted-types' } },
    );
  }
  return policy.createScriptURL(url) as string;
}

function startError(file: string, cause: unknown): KingletError {
  return new KingletError('E_CSP', `${file} could not be started as a worker: ${describe(cause)}`, {
    cause,
    details: { directive: 'worker-src' },
  });
}

/** Listens for the page's Content-Security-Policy stopping a worker; gives the error for one that did not start. */
export function watchStart(file: string, url?: string | URL): { error(): KingletError; stop(): void } {
  let directive: string | undefined;
  const onViolation = (event: SecurityPolicyViolationEvent): void => {
    if (/^(worker-src|child-src|script-src|default-src)/.test(event.effectiveDirective))
      directive = event.effectiveDirective;
  };
  const target = globalThis.document ?? globalThis;
  target.addEventListener?.('securitypolicyviolation', onViolation as EventListener);
  const where = url === undefined ? new URL(file, here).href : String(url);
  return {
    stop: () => target.removeEventListener?.('securitypolicyviolation', onViolation as EventListener),
    error: () =>
      directive === undefined
        ? new KingletError(
            'E_NETWORK',
            `${file} did not start: ${where} is missing, is not JavaScript, or did not arrive in time`,
            { details: { url: where } },
          )
        : new KingletError(
            'E_CSP',
            `${file} was stopped by the page's Content-Security-Policy: ${directive} has to allow it ('self', or blob: for a package from another origin)`,
            { details: { directive, url: where } },
          ),
  };
}
