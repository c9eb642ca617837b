import { basename, join } from 'node:path';
import type { FileSystem, OpenFile } from './filesystem.ts';
import type { Segment } from './segment.ts';

const NOTE = '.only-copy';

/** Bytes of the log that failed their checksums. */
export type Damage = {
  readonly segment: string;
  readonly offset: number;
  readonly bytes: number;
  /** Nothing good follows: it may be a write that was cut, and never acknowledged. From the bytes one cannot tell. */
  readonly atEnd: boolean;
  /** Where they were put aside; undefined if the disk would not take or give them. */
  readonly keptIn: string | undefined;
};

export type DamagedPlace = Omit<Damage, 'keptIn'>;

/**
 * Copies damaged bytes into a file of their own, for a person to look at, and tells of it; each place once, also
 * across restarts.
 * @returns whether the copy is on stable storage; only then the original may go
 */
export async function putAside(
  fs: FileSystem,
  file: OpenFile,
  directory: string,
  place: DamagedPlace,
  onDamage: (damage: Damage) => void,
): Promise<boolean> {
  const { segment, offset, bytes } = place;
  const target = join(directory, `${basename(segment)}-${offset}-${bytes}.bytes`);
  try {
    await fs.makeDirectory(directory);
    if ((await fs.list(directory)).includes(basename(target))) {
      await fs.syncDirectory(directory); // of a try that was cut off in between
      return true;
    }
    const content = Buffer.alloc(bytes);
    const length = await file.read(content, offset);
    const partial = `${target}.partial`;
    await fs.remove(partial).catch(() => {}); // of a try that was cut off
    const copy = await fs.create(partial);
    try {
      await copy.write([content.subarray(0, length)], 0);
      await copy.sync();
    } finally {
      await copy.close();
    }
    await fs.rename(partial, target);
    await fs.syncDirectory(directory);
    onDamage({ ...place, keptIn: target });
    return true;
  } catch {
    onDamage({ ...place, keptIn: undefined });
    return false;
  }
}

/**
 * Notes that a segment has bytes of which there is no copy, also for later starts: it is kept when nobody needs it any
 * more. A disk that does not take the note keeps it for this run.
 */
export async function markOnlyCopy(fs: FileSystem, segment: Segment, directory: string): Promise<void> {
  segment.isOnlyCopy = true;
  const note = join(directory, basename(segment.path) + NOTE);
  try {
    await fs.makeDirectory(directory);
    if ((await fs.list(directory)).includes(basename(note))) return;
    const file = await fs.create(note);
    await file.close();
    await fs.syncDirectory(directory);
  } catch {
    // Told already, as damage that could not be copied.
  }
}

/** Names of the segment files that have such a note. */
export async function onlyCopies(fs: FileSystem, directory: string): Promise<ReadonlySet<string>> {
  const names = await fs.list(directory).catch(() => []);
  return new Set(names.filter((name) => name.endsWith(NOTE)).map((name) => name.slice(0, -NOTE.length)));
}

/** Moves a file into the folder of what is kept: it takes no room, and works again after a try that did not. */
export async function keepAside(fs: FileSystem, path: string, directory: string): Promise<void> {
  await fs.makeDirectory(directory);
  await fs.rename(path, join(directory, basename(path))).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error; // moved, though the disk had said otherwise
  });
  await fs.remove(join(directory, basename(path) + NOTE)).catch(() => {}); // it was not written, or is not needed
  await fs.syncDirectory(directory);
}
