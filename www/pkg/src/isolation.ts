// For hosts that cannot send headers, such as GitHub Pages: makes a page cross-origin isolated, so that the engine has threads. Not a part
// of the engine; a site copies dist/isolation.js to the folder of its pages, and each page has, before its other scripts,
//
//     <script src="isolation.js"></script>
//
// In the page this registers itself as a service worker and loads the page again, once, when that works; as a service worker it
// adds the headers to the site's documents and workers, and touches no other request. Limits: docs/packaging.md, "Threads".
//
// First with `credentialless`, under which images of other origins still come (without cookies); a browser that does not know that
// value gets `require-corp`, under which they need a header of their own.

export {};

interface ServiceWorkerScope {
  registration: unknown;
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  addEventListener(type: string, listener: (event: WorkerEvent) => void): void;
}
interface WorkerEvent {
  request: Request;
  waitUntil(work: Promise<unknown>): void;
  respondWith(response: Promise<Response>): void;
}
type Mode = 'credentialless' | 'require-corp';

/** Reloads of this tab without success; in sessionStorage. */
const COUNT = 'kinglet.isolation';
/** One for each mode, and one more after a reload that went past the service worker (with the shift key). */
const MOST_RELOADS = 3;

const modeOf = (script: string): Mode =>
  new URL(script).search === '?require-corp' ? 'require-corp' : 'credentialless';

/** What is a document or a worker has to have the headers itself. */
const WITH_HEADERS = ['document', 'iframe', 'frame', 'worker', 'sharedworker'];
const WITHOUT_BODY = [101, 204, 205, 304];

function serve(scope: ServiceWorkerScope, mode: Mode): void {
  scope.addEventListener('install', () => void scope.skipWaiting());
  scope.addEventListener('activate', (event) => event.waitUntil(scope.clients.claim()));
  scope.addEventListener('fetch', (event) => {
    if (WITH_HEADERS.includes(event.request.destination)) event.respondWith(withHeaders(event.request, mode));
  });
}

async function withHeaders(request: Request, mode: Mode): Promise<Response> {
  const response = await fetch(request);
  if (response.type.startsWith('opaque')) return response; // such as a redirection, which the browser follows itself
  const headers = new Headers(response.headers);
  headers.set('cross-origin-opener-policy', 'same-origin');
  headers.set('cross-origin-embedder-policy', mode);
  const { status, statusText } = response;
  return new Response(WITHOUT_BODY.includes(status) ? null : response.body, { status, statusText, headers });
}

async function isolate(script: string): Promise<void> {
  if (globalThis.crossOriginIsolated) return sessionStorage.removeItem(COUNT);
  if (globalThis.top !== globalThis.self) return; // a frame is as isolated as the page around it
  const { serviceWorker } = navigator;
  if (!serviceWorker) throw new Error('this browser has no service workers here: they need https: or localhost');
  const n_reloads = Number(sessionStorage.getItem(COUNT) ?? 0);
  const controller = serviceWorker.controller?.scriptURL;
  const failed = controller?.startsWith(script) ? modeOf(controller) : undefined;
  if (failed === 'require-corp' || n_reloads >= MOST_RELOADS)
    throw new Error('the headers are there, and this browser does not isolate the page');
  const changed = new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
  const registration = await serviceWorker.register(trusted(failed ? `${script}?require-corp` : script));
  // Nothing changes where the reload went past a service worker that is there.
  if (!registration.active || registration.installing || registration.waiting) await changed;
  sessionStorage.setItem(COUNT, `${n_reloads + 1}`);
  location.reload();
}

interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL(url: string): string },
  ): { createScriptURL(url: string): unknown };
}
/** Its policy has a name of its own: the package makes one too, and a name is given once. */
function trusted(url: string): string {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  const policy = trustedTypes?.createPolicy('kinglet-isolation', { createScriptURL: (text) => text });
  return (policy?.createScriptURL(url) ?? url) as string;
}

const scope = globalThis as unknown as ServiceWorkerScope;
if (typeof document === 'undefined') {
  serve(scope, modeOf(globalThis.location.href));
} else {
  const { currentScript } = document;
  if (!(currentScript instanceof HTMLScriptElement && currentScript.src))
    throw new TypeError('isolation.js is for <script src="isolation.js"></script>, neither inline nor a module');
  isolate(currentScript.src).catch((error: unknown) =>
    console.warn(`isolation.js: the page is not cross-origin isolated, and works on one thread: ${String(error)}`),
  );
}
