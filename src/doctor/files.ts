import { readFileSync, statSync } from 'node:fs';
import { failed, ok, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';

/* Who may read and write the files of a configuration. That they are there, loading it has shown. */

const OTHERS_READ = 0o004;
const OTHERS_WRITE = 0o002;

/** Whoever writes it can send traces and secrets to another place. */
export function checkConfigFile(file: string): Verdict<undefined> {
  const mode = modeOf(file);
  return (mode & OTHERS_WRITE) === 0
    ? ok(`${file} can be written by its owner and group alone`)
    : failed(
        `${file} can be written by every user of this machine (mode ${octal(mode)})`,
        `chmod o-w ${file}`,
      );
}

/** A file that nobody but the relay should read: a key, or a secret. */
export function checkClosedFile(file: string): Verdict<undefined> {
  const mode = modeOf(file);
  const rights = [
    ...((mode & OTHERS_READ) === 0 ? [] : ['read']),
    ...((mode & OTHERS_WRITE) === 0 ? [] : ['written']),
  ];
  return rights.length === 0
    ? ok(`${file} is closed to other users (mode ${octal(mode)})`)
    : failed(
        `${file} can be ${rights.join(' and ')} by every user of this machine (mode ${octal(mode)})`,
        `chmod 600 ${file}; as a Kubernetes volume: defaultMode: 0440, with fsGroup`,
      );
}

/** @param file undefined for a secret of the environment */
export function checkSecret(file: string | undefined): Verdict<undefined> {
  if (file === undefined) return ok('comes from the environment');
  const verdict = checkClosedFile(file);
  if (verdict.state !== 'ok') return verdict;
  // One line break at its end is no part of it.
  const secret = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  return secret === secret.trim()
    ? verdict
    : warning(
        `the secret in ${file} begins or ends with white space, which is sent as a part of it`,
        `write the file again without it: printf %s SECRET > ${file}`,
      );
}

function modeOf(file: string): number {
  return statSync(file).mode & 0o777;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}
