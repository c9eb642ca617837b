import type { OpenFile } from './filesystem.ts';

/** Disks fail by sectors, and Linux reads them by pages of this size. */
const BLOCK = 4096;

/** The same file, but for a disk that gives only parts of it: what it cannot read is zeros. */
export function salvaging(file: OpenFile): OpenFile {
  const readOrZeros = async (into: Uint8Array, position: number) => {
    await file.read(into, position).catch((error: unknown) => {
      if (!isUnreadable(error)) throw error;
      into.fill(0);
    });
  };
  return {
    ...file,
    async read(into, position) {
      const length = Math.max(Math.min(into.length, (await file.size()) - position), 0);
      for (let at = 0; at < length;) {
        const end = Math.min(at + BLOCK - ((position + at) % BLOCK), length);
        await readOrZeros(into.subarray(at, end), position + at);
        at = end;
      }
      return length;
    },
  };
}

export function isUnreadable(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EIO';
}
