import { execFileSync } from 'node:child_process';
import { postgresProgram } from './postgres-programs.ts';

/*
 * Programs that counterparts are built or run with. Where one is missing, the tests that need it are skipped with one
 * line that says what to install; in CI they run and fail.
 */

const TOOLCHAINS = {
  go: { probe: ['go', 'version'], install: 'Go 1.26 or later (https://go.dev/dl)' },
  java: { probe: ['java', '-version'], install: 'a Java runtime, 17 or later (Debian: openjdk-17-jdk)' },
  maven: { probe: ['mvn', '--version'], install: 'Apache Maven (Debian: maven)' },
  kubectl: { probe: ['kubectl', 'version', '--client'], install: 'kubectl' },
  postgres: {
    probe: [postgresProgram('postgres'), '--version'],
    install: 'PostgreSQL 13 or later with its server (Debian: postgresql)',
  },
} as const satisfies Record<string, { probe: readonly [string, ...string[]]; install: string }>;

export type Toolchain = keyof typeof TOOLCHAINS;

/** What to install before this can run, in one line; undefined when all is there. */
export function missingToolchain(...needed: readonly Toolchain[]): string | undefined {
  const missing = needed.filter((name) => !isThere(TOOLCHAINS[name].probe));
  if (missing.length === 0) return undefined;
  return `install ${missing.map((name) => TOOLCHAINS[name].install).join(', and ')}`;
}

function isThere([command, ...args]: readonly [string, ...string[]]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore', timeout: 60_000 });
    return true;
  } catch {
    return false;
  }
}
