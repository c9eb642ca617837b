import { open, mkdir, readdir, rename, stat, statfs, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { constants, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * What the log needs of a file system, and nothing more: the seam at which tests put a disk that loses what
 * was not synced, or fails. Paths are absolute. Everything rejects with the error of the system call.
 */
export interface FileSystem {
  /** Makes the folder and its parents (mode 0700) where they are missing, durably; also after a crash in between. */
  makeDirectory(path: string): Promise<void>;
  list(path: string): Promise<string[]>;
  /** A new file (mode 0600); rejects with EEXIST if there is one. Not durable until `syncDirectory`. */
  create(path: string): Promise<OpenFile>;
  open(path: string, how?: { readonly readOnly: boolean }): Promise<OpenFile>;
  /** Milliseconds since the epoch. */
  modifiedAt(path: string): Promise<number>;
  remove(path: string): Promise<void>;
  /** Replaces what is there. Not durable until `syncDirectory`. */
  rename(from: string, to: string): Promise<void>;
  /** Makes created and removed entries of this folder durable. */
  syncDirectory(path: string): Promise<void>;
  /** Bytes that may still be written on the disk of this folder; Infinity where the disk does not say. */
  freeBytes(path: string): Promise<number>;
}

export interface OpenFile {
  /** Bytes read at `position` into `into`; fewer only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes all of it at `position`, or rejects. Not durable until `sync`. */
  write(buffers: readonly Uint8Array[], position: number): Promise<void>;
  /** As `write`, at once: for few bytes, where the next step must not begin before them. Throws. */
  writeSync(bytes: Uint8Array, position: number): void;
  /** fdatasync(2): the data, and the size that is needed to read it back. */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export const realFileSystem: FileSystem = {
  async makeDirectory(path) {
    // Not by mkdir's own recursion: in /proc, Node's never ends.
    let isNew = true;
    await mkdir(path, { mode: 0o700 }).catch(async (error: NodeJS.ErrnoException) => {
      isNew = error.code === 'ENOENT' && dirname(path) !== path;
      if (error.code === 'EEXIST') return;
      if (!isNew) throw error;
      await this.makeDirectory(dirname(path));
      await mkdir(path, { mode: 0o700 });
    });
    // One that is there already may be the work of a start that was cut off before it had synced.
    await this.syncDirectory(dirname(path)).catch((error: NodeJS.ErrnoException) => {
      // Or a folder above ours was made by somebody else, and may be passed through but not opened.
      if (error.code !== 'EACCES' || isNew) throw error;
    });
  },
  list: (path) => readdir(path),
  create: async (path) =>
    openFile(await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)),
  open: async (path, { readOnly } = { readOnly: false }) =>
    openFile(await open(path, readOnly ? constants.O_RDONLY : constants.O_RDWR)),
  modifiedAt: async (path) => (await stat(path)).mtimeMs,
  remove: (path) => unlink(path),
  rename: (from, to) => rename(from, to),
  async syncDirectory(path) {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  async freeBytes(path) {
    const { bavail, blocks, bsize } = await statfs(path);
    return blocks === 0 ? Infinity : bavail * bsize;
  },
};

/** Also when it was removed before, though the disk had said otherwise. */
export async function removeIfThere(fs: FileSystem, path: string): Promise<void> {
  await fs.remove(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

/** Whether a system call failed because there is no room, or a quota is used up. */
export function isDiskFull(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function openFile(handle: FileHandle): OpenFile {
  return {
    async read(into, position) {
      let done = 0;
      while (done < into.length) {
        const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done;
    },
    async write(buffers, position) {
      const { bytesWritten } = await handle.writev([...buffers], position);
      let total = 0;
      for (const buffer of buffers) {
        // A short write is legal (a signal, a nearly full disk): what is left goes piece by piece.
        let from = Math.min(Math.max(bytesWritten - total, 0), buffer.length);
        while (from < buffer.length) {
          const rest = await handle.write(buffer, from, buffer.length - from, position + total + from);
          from += rest.bytesWritten;
        }
        total += buffer.length;
      }
    },
    writeSync(bytes, position) {
      let from = 0;
      while (from < bytes.length)
        from += writeSync(handle.fd, bytes, from, bytes.length - from, position + from);
    },
    sync: () => handle.datasync(),
    truncate: (size) => handle.truncate(size),
    size: async () => (await handle.stat()).size,
    close: () => handle.close(),
  };
}
