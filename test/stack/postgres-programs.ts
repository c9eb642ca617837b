import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Debian keeps the programs of each version in a folder of its own, and off the PATH. */
const DEBIAN = '/usr/lib/postgresql';

/** The newest that Debian has installed, else what the PATH has by that name. */
export function postgresProgram(name: 'postgres' | 'initdb' | 'psql'): string {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN) : [];
  const newestFirst = versions.toSorted((a, b) => Number(b) - Number(a));
  return newestFirst.map((version) => join(DEBIAN, version, 'bin', name)).find(existsSync) ?? name;
}
