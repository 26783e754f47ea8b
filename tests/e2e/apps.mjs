// Installs the packed tarball into copies of the apps in apps/, as their users would, and builds those that have a bundler.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const source = (name) => join(root, 'tests/e2e/apps', name);

/** Packs the package into a new folder, `{ folder, tarball }`, in which the apps are made. */
export function packPackage() {
  const folder = mkdtempSync(join(tmpdir(), 'kinglet-e2e-'));
  npm(root, 'pack', './www/pkg', '--pack-destination', folder);
  const name = readdirSync(folder).find((file) => file.endsWith('.tgz'));
  return { folder, tarball: join(folder, name) };
}

/** A copy of an app with the package and what its lock file names, at the path that it resolves to. `page` is an app whose page it has. */
export function installApp({ folder, tarball }, name, { page } = {}) {
  const app = join(folder, name);
  if (page) cpSync(source(page), app, { recursive: true });
  cpSync(source(name), app, { recursive: true });
  if (existsSync(join(app, 'package-lock.json'))) npm(app, 'ci', '--prefer-offline');
  npm(app, 'install', '--no-save', '--prefer-offline', tarball);
  return app;
}

/** Runs the app's own build, and gives the folder to serve. */
export function buildApp(app) {
  npm(app, 'run', 'build');
  return join(app, 'dist');
}

/** For package.test.mjs: `{ plain, vite, package }`, folders to serve, and the package as npm unpacked it. */
export function installApps() {
  const packed = packPackage();
  const plain = installApp(packed, 'plain');
  return { plain, vite: buildApp(installApp(packed, 'vite')), package: join(plain, 'node_modules/kinglet') };
}

function npm(cwd, ...args) {
  const quiet = { npm_config_audit: 'false', npm_config_fund: 'false', npm_config_loglevel: 'error' };
  const env = { ...process.env, ...quiet, NEXT_TELEMETRY_DISABLED: '1', NO_COLOR: '1' };
  try {
    execFileSync('npm', args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], env });
  } catch (thrown) {
    throw new Error(`npm ${args.join(' ')} in ${cwd}:\n${thrown.stdout}\n${thrown.stderr}`, { cause: thrown });
  }
}
