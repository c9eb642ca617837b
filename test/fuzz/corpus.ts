import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

/*
 * Bodies that once failed, shrunk, and bodies of each kind about which parsers disagree: `*.bin` is protobuf, `*.json` text.
 */

const CORPUS = join(import.meta.dirname, 'corpus');

export type KeptBody = { readonly name: string; readonly isJson: boolean; readonly bytes: Uint8Array };

export function readCorpus(): KeptBody[] {
  return readdirSync(CORPUS)
    .toSorted()
    .map((name) => ({
      name,
      isJson: name.endsWith('.json'),
      bytes: new Uint8Array(readFileSync(join(CORPUS, name))),
    }));
}

/** Under a name that says what is wrong with it; returns the file. */
export function keep(kind: string, body: Uint8Array): string {
  const words = kind.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  const file = join(CORPUS, `${words}-${crc32(body).toString(16).padStart(8, '0')}.bin`);
  mkdirSync(CORPUS, { recursive: true });
  writeFileSync(file, body);
  return file;
}
