import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import packages from './node-packages.json' with { type: 'json' };
import { ensureInstalled } from './install.ts';
import { StackError } from './processes.ts';

/* Node itself, in the versions that the relay has to run with: bare binaries in npm packages without an install script. */

export type NodeMajor = 22 | 24;

type NodePackage = { name: string; version: string; integrity: string };

/** False where there is no package for this platform, and this process runs with another one. */
export function canHaveNode(major: NodeMajor): boolean {
  return isThisOne(major) || packageOf(major) !== undefined;
}

/**
 * The path of its binary: of 22 the oldest that there is for this platform.
 * @throws StackError when there is none, or it cannot be installed
 */
export async function ensureNode(
  major: NodeMajor,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<string> {
  const wanted = packageOf(major);
  if (isThisOne(major) && (major !== 22 || wanted === undefined)) return process.execPath;
  const what = `Node ${major}`;
  if (wanted === undefined) throw new StackError(`there is no package with ${what} for ${platform()}`);
  const { name, version, integrity } = wanted;
  const { directory } = await ensureInstalled(
    {
      what,
      name: `node-${major}`,
      inputs: [name, version, integrity],
      async make(folder, step) {
        const root = { private: true, dependencies: { [name]: version } };
        const lock = {
          lockfileVersion: 3,
          packages: { '': root, [`node_modules/${name}`]: { version, integrity } },
        };
        await writeFile(join(folder, 'package.json'), JSON.stringify(root));
        await writeFile(join(folder, 'package-lock.json'), JSON.stringify(lock));
        const isInstalled = await step('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
        if (!isInstalled) throw new StackError(`${what} could not be installed`);
        if (!(await step(binary(folder, name), ['--version'])))
          throw new StackError(`${what} does not run here`);
      },
    },
    { signal },
  );
  return binary(directory, name);
}

function packageOf(major: NodeMajor): NodePackage | undefined {
  const byPlatform: Record<string, NodePackage> = packages[major];
  return byPlatform[platform()];
}

function isThisOne(major: NodeMajor): boolean {
  return process.versions.node.startsWith(`${major}.`);
}

function platform(): string {
  return `${process.platform}-${process.arch}`;
}

function binary(directory: string, name: string): string {
  return join(directory, 'node_modules', name, 'bin/node');
}
