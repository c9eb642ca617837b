import { spawnSync } from 'node:child_process';
import { stripVTControlCharacters } from 'node:util';
import { postgresProgram } from './postgres-programs.ts';

/*
 * Programs that counterparts are built or run with. Where one is missing, the tests that need it are skipped with one
 * line that says what to install; in CI they run and fail.
 */

type Probe = {
  /** Prints its version. */
  command: readonly [string, ...string[]];
  /** Major and minor. */
  atLeast: readonly [number, number];
  install: string;
};

const TOOLCHAINS = {
  go: { command: ['go', 'version'], atLeast: [1, 26], install: 'Go 1.26 or later (https://go.dev/dl)' },
  java: {
    command: ['java', '-version'],
    atLeast: [17, 0],
    install: 'a Java runtime, 17 or later (Debian: openjdk-17-jdk)',
  },
  maven: { command: ['mvn', '--version'], atLeast: [3, 6], install: 'Apache Maven (Debian: maven)' },
  kubectl: {
    command: ['kubectl', 'version', '--client'],
    atLeast: [1, 21],
    install: 'kubectl 1.21 or later (https://kubernetes.io/docs/tasks/tools)',
  },
  postgres: {
    command: [postgresProgram('postgres'), '--version'],
    atLeast: [13, 0],
    install: 'PostgreSQL 13 or later with its server (Debian: postgresql)',
  },
  apt: {
    command: ['apt-get', '--version'],
    atLeast: [2, 0],
    install: 'apt-get and dpkg of Debian 12, from whose packages MariaDB is taken',
  },
  strace: {
    command: ['strace', '--version'],
    atLeast: [5, 3],
    install: 'strace 5.3 or later (Debian: strace)',
  },
  zsh: { command: ['zsh', '--version'], atLeast: [5, 0], install: 'zsh 5 or later (Debian: zsh)' },
  fish: { command: ['fish', '--version'], atLeast: [3, 0], install: 'fish 3 or later (Debian: fish)' },
  /** A terminal for a program. */
  script: {
    command: ['script', '--version'],
    atLeast: [2, 30],
    install: 'script of util-linux (Debian: bsdutils)',
  },
} as const satisfies Record<string, Probe>;

export type Toolchain = keyof typeof TOOLCHAINS;

/** What to install before this can run, in one line; undefined when all is there. */
export function missingToolchain(...needed: readonly Toolchain[]): string | undefined {
  const missing = needed.filter((name) => !isThere(TOOLCHAINS[name]));
  if (missing.length === 0) return undefined;
  return `install ${missing.map((name) => TOOLCHAINS[name].install).join(', and ')}`;
}

function isThere({ command: [program, ...args], atLeast: [major, minor] }: Probe): boolean {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 });
  // Java says it on stderr.
  const version = /(\d+)(?:\.(\d+))?/.exec(stripVTControlCharacters(`${stdout}${stderr}`));
  if (status !== 0 || version === null) return false;
  const [has, hasMinor] = [Number(version[1]), Number(version[2] ?? 0)];
  return has > major || (has === major && hasMinor >= minor);
}
