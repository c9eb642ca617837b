import type { FileSystem, OpenFile } from '../../../src/queue/filesystem.ts';

/** A file apart from its name: handles keep it when it is renamed or removed. */
type Inode = { bytes: Buffer; size: number; isShared: boolean };

/**
 * A disk in memory, for thousands of starts of a queue. It answers with the errors of system calls and keeps all that
 * is written; that a real disk loses what was not synced is shown elsewhere. Folders are not kept: a path has none
 * until a file is in it.
 */
export class MemoryDisk implements FileSystem {
  readonly #names = new Map<string, Inode>();

  /** @param files by absolute path; their bytes are copied before they are changed */
  constructor(files: Iterable<readonly [string, Buffer]> = []) {
    for (const [path, bytes] of files) {
      this.#names.set(path, { bytes, size: bytes.length, isShared: true });
    }
  }

  /** What is on it now, by path. */
  files(under = ''): Map<string, Buffer> {
    const files = [...this.#names].filter(([path]) => path.startsWith(`${under}/`));
    return new Map(files.map(([path, { bytes, size }]) => [path, Buffer.from(bytes.subarray(0, size))]));
  }

  /** Changes a file behind the back of who has it open. */
  change(path: string, change: (bytes: Buffer) => void): void {
    const inode = this.#find(path, 'open');
    change(inode.bytes.subarray(0, inode.size));
  }

  async makeDirectory(): Promise<void> {}

  async list(path: string): Promise<string[]> {
    const inside = [...this.#names.keys()].filter((name) => name.startsWith(`${path}/`));
    return [...new Set(inside.map((name) => name.slice(path.length + 1).split('/', 1)[0] ?? ''))];
  }

  async create(path: string): Promise<OpenFile> {
    if (this.#names.has(path)) throw systemError('EEXIST', 'open', path);
    const inode = { bytes: Buffer.alloc(0), size: 0, isShared: false };
    this.#names.set(path, inode);
    return openInode(inode);
  }

  async open(path: string): Promise<OpenFile> {
    return openInode(this.#find(path, 'open'));
  }

  async modifiedAt(path: string): Promise<number> {
    this.#find(path, 'stat');
    return 0;
  }

  async remove(path: string): Promise<void> {
    this.#find(path, 'unlink');
    this.#names.delete(path);
  }

  async rename(from: string, to: string): Promise<void> {
    const inode = this.#find(from, 'rename');
    this.#names.delete(from);
    this.#names.set(to, inode);
  }

  async syncDirectory(): Promise<void> {}

  async freeBytes(): Promise<number> {
    return Infinity;
  }

  #find(path: string, call: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw systemError('ENOENT', call, path);
    return inode;
  }
}

/** As Node words what the system says. */
export function systemError(code: string, call: string, path?: string): NodeJS.ErrnoException {
  const where = path === undefined ? '' : ` '${path}'`;
  return Object.assign(new Error(`${code}: made to fail, ${call}${where}`), { code, syscall: call });
}

function openInode(inode: Inode): OpenFile {
  const grow = (size: number) => {
    if (!inode.isShared && size <= inode.bytes.length) return;
    const bytes = Buffer.alloc(Math.max(size, inode.isShared ? inode.size : 2 * inode.bytes.length));
    inode.bytes.copy(bytes, 0, 0, inode.size);
    inode.bytes = bytes;
    inode.isShared = false;
  };
  return {
    async read(into, position) {
      return inode.bytes.copy(
        into,
        0,
        Math.min(position, inode.size),
        Math.min(position + into.length, inode.size),
      );
    },
    async write(buffers, position) {
      const length = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
      grow(position + length);
      let at = position;
      for (const buffer of buffers) {
        inode.bytes.set(buffer, at);
        at += buffer.length;
      }
      inode.size = Math.max(inode.size, at);
    },
    writeSync(bytes, position) {
      grow(position + bytes.length);
      inode.bytes.set(bytes, position);
      inode.size = Math.max(inode.size, position + bytes.length);
    },
    async sync() {},
    async truncate(size) {
      grow(Math.max(size, inode.size));
      inode.bytes.fill(0, Math.min(size, inode.size));
      inode.size = size;
    },
    size: async () => inode.size,
    async close() {},
  };
}
