// Starts the browser for end-to-end tests. The environment names it (KINGLET_CHROMIUM, set by build.sh).
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const CANDIDATES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Command-line options with which Chromium has WebGPU on a machine without a GPU: SwiftShader plays one. */
export const SOFTWARE_GPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
];

/** A headless Chromium. As root it has no sandbox; `args` are further command-line options. */
export function launch({ args = [] } = {}) {
  const executablePath = process.env.KINGLET_CHROMIUM ?? CANDIDATES.find((path) => existsSync(path));
  if (!executablePath) throw new Error('no Chromium: set KINGLET_CHROMIUM, or run ./build.sh test, which installs it');
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath, args: [...sandbox, '--disable-dev-shm-usage', ...args] });
}
