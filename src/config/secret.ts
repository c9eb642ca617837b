import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { RelayError, messageOf } from '../errors.ts';

/** Longer than any client secret; a wrong path to something large is noticed. */
const MAX_SECRET_BYTES = 65_536;

export type SecretSource = { readonly file: string } | { readonly value: string };

/**
 * A secret, read from its file at each call, so that a rotated one is used as soon as it is there.
 * One trailing line break is no part of it.
 *
 * @throws RelayError CONFIG_UNREADABLE (at the call), which names the file: not readable, empty, or too long.
 */
export function secretReader(source: SecretSource): () => Promise<string> {
  if ('value' in source) return () => Promise.resolve(source.value);
  const { file } = source;
  return async () => {
    let bytes: Buffer;
    try {
      bytes = await readFile(file);
    } catch (cause) {
      throw unreadable(file, cause);
    }
    return secretOf(file, bytes);
  };
}

/**
 * As a `secretReader`, at once.
 * @param file 0: standard input
 */
export function readSecret(file: string | 0): string {
  const name = file === 0 ? '/dev/stdin' : file;
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    throw unreadable(name, cause);
  }
  return secretOf(name, bytes);
}

function secretOf(file: string, bytes: Buffer): string {
  if (bytes.byteLength > MAX_SECRET_BYTES) {
    throw new RelayError(
      'CONFIG_UNREADABLE',
      `the secret in ${file} is longer than ${MAX_SECRET_BYTES} bytes`,
    );
  }
  const secret = bytes.toString('utf8').replace(/\r?\n$/, '');
  if (secret === '') throw new RelayError('CONFIG_UNREADABLE', `the secret file ${file} is empty`);
  return secret;
}

function unreadable(file: string, cause: unknown): RelayError {
  return new RelayError('CONFIG_UNREADABLE', `cannot read the secret file ${file}: ${messageOf(cause)}`, {
    cause,
  });
}
