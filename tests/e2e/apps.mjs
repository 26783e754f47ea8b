// Installs the packed tarball into copies of the apps in apps/, as their users would, and builds the one that has a bundler.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Resolves to `{ plain, vite, package }`: folders to serve, and the package as npm unpacked it. */
export function installApps() {
  const folder = mkdtempSync(join(tmpdir(), 'kinglet-e2e-'));
  npm(root, 'pack', './www/pkg', '--pack-destination', folder);
  const tarball = join(
    folder,
    readdirSync(folder).find((name) => name.endsWith('.tgz')),
  );
  const app = (name) => {
    const to = join(folder, name);
    cpSync(join(root, 'tests/e2e/apps', name), to, { recursive: true });
    return to;
  };
  const plain = app('plain');
  npm(plain, 'install', '--no-save', tarball);
  const vite = app('vite');
  npm(vite, 'ci');
  npm(vite, 'install', '--no-save', tarball);
  npm(vite, 'exec', '--', 'vite', 'build', '--logLevel', 'warn');
  return { plain, vite: join(vite, 'dist'), package: join(plain, 'node_modules/kinglet') };
}

function npm(cwd, ...args) {
  execFileSync('npm', [...args], {
    cwd,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, npm_config_audit: 'false', npm_config_fund: 'false', npm_config_loglevel: 'error' },
  });
}
