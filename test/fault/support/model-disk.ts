import { basename, dirname } from 'node:path';
import type { FileSystem, OpenFile } from '../../../src/queue/filesystem.ts';
import { ModelDirectory } from './model-directory.ts';
import type { Node } from './model-directory.ts';
import { ModelFile } from './model-file.ts';
import type { Filler } from './model-file.ts';
import type { Random } from './random.ts';

/** Freed bytes of so many files may show up in others. */
const STALE_FILES = 4;

/**
 * A disk in memory that can lose power. It promises what POSIX does and no more: bytes are safe after their file was
 * synced, a file's entry after its folder was. Its calls end in microtasks, in an order that chance decides.
 */
export class ModelDisk {
  readonly #root = new ModelDirectory();
  readonly #random: Random;
  /** Contents of removed files: what a careless file system shows where a file has grown without being written. */
  readonly #stale: Buffer[] = [];
  #mounted: Mount | undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The disk for one process; that of the process before is dead. */
  mount(): Mount {
    this.#mounted?.end();
    this.#mounted = new Mount({
      root: this.#root,
      random: this.#random,
      removed: (bytes) => {
        this.#stale.unshift(bytes);
        this.#stale.length = Math.min(this.#stale.length, STALE_FILES);
      },
    });
    return this.#mounted;
  }

  /** What is to be seen of a file, undefined if there is none; no process does this. */
  peek(path: string): Buffer | undefined {
    const node = this.#root.find(path);
    return node instanceof ModelFile ? node.bytes : undefined;
  }

  /** The process ends at once. Everything that it wrote is still to be seen, but no more durable than before. */
  killProcess(): void {
    this.#mounted?.end();
  }

  /** Everything stops, and of what was not synced any part is gone. */
  losePower(random: Random): void {
    this.#mounted?.end();
    const visit = (directory: ModelDirectory) => {
      directory.losePower(random);
      for (const node of directory.nodes) {
        if (node instanceof ModelDirectory) visit(node);
        else node.losePower(random, this.#filler(random));
      }
    };
    visit(this.#root);
  }

  #filler(random: Random): Filler {
    const kind = random.pick(['zeros', 'noise', 'stale']);
    const stale = this.#stale[random.below(STALE_FILES)] ?? Buffer.alloc(0);
    return (from, length) => {
      if (kind === 'noise') return Buffer.alloc(length, random.below(2 ** 32).toString(36));
      const bytes = Buffer.alloc(length);
      if (kind === 'stale') bytes.set(stale.subarray(from, from + length));
      return bytes;
    };
  }
}

/** What later calls come to once the disk has stopped. */
export type AfterStop = 'hangs' | 'fails';

type MountOptions = {
  readonly root: ModelDirectory;
  readonly random: Random;
  readonly removed: (bytes: Buffer) => void;
};

/** The disk as one process has it. */
export class Mount implements FileSystem {
  readonly #root: ModelDirectory;
  readonly #random: Random;
  readonly #removed: (bytes: Buffer) => void;
  #callsLeft = Infinity;
  #afterStop: AfterStop = 'hangs';
  #callsToFail = 0;
  #refusals = 0;
  #ended = false;

  constructor({ root, random, removed }: MountOptions) {
    this.#root = root;
    this.#random = random;
    this.#removed = removed;
  }

  /** The disk does so many calls more. The next one may still have an effect, but is never answered with success. */
  stopAfter(calls: number, afterwards: AfterStop): void {
    this.#callsLeft = calls;
    this.#afterStop = afterwards;
  }

  /** So many calls fail, and may have done something for all that; then the disk works again. */
  failNext(calls: number): void {
    this.#callsToFail = calls;
  }

  /** How many calls were not answered with success. */
  get refusals(): number {
    return this.#refusals;
  }

  get stopped(): boolean {
    return this.#ended || this.#callsLeft < 0;
  }

  /** Nothing is done or answered any more. */
  end(): void {
    this.#ended = true;
  }

  async makeDirectory(path: string): Promise<void> {
    const make = () => this.#call(() => this.#add(path, new ModelDirectory()));
    await make().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return;
      if (error.code !== 'ENOENT') throw error;
      await this.makeDirectory(dirname(path));
      await make();
    });
    await this.syncDirectory(dirname(path));
  }

  list(path: string): Promise<string[]> {
    return this.#call(() => this.#directory(path).names);
  }

  create(path: string): Promise<OpenFile> {
    return this.#call(() => {
      const file = new ModelFile();
      this.#add(path, file);
      return this.#opened(file);
    });
  }

  open(path: string): Promise<OpenFile> {
    return this.#call(() => this.#opened(this.#file(path)));
  }

  modifiedAt(path: string): Promise<number> {
    return this.#call(() => {
      this.#file(path);
      return 0;
    });
  }

  remove(path: string): Promise<void> {
    return this.#call(() => {
      const file = this.#file(path);
      this.#removed(Buffer.from(file.bytes));
      this.#directory(dirname(path)).remove(basename(path), file);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call(() => {
      const [source, target] = [this.#directory(dirname(from)), this.#directory(dirname(to))];
      const file = this.#file(from);
      if (source === target) source.rename(file, basename(to));
      else source.moveTo(target, basename(from), file, basename(to));
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.#sync(() => this.#directory(path));
  }

  freeBytes(): Promise<number> {
    return this.#call(() => Number.MAX_SAFE_INTEGER);
  }

  #opened(file: ModelFile): OpenFile {
    return {
      read: (into, position) => this.#call(() => file.read(into, position)),
      write: async (buffers, position) => {
        const bytes = Buffer.concat(buffers);
        await this.#call(
          () => file.write(bytes, position),
          // A write that is cut off has got somewhere.
          () => file.write(bytes.subarray(0, this.#random.below(bytes.length + 1)), position),
        );
      },
      writeSync: (bytes, position) => this.#callSync(() => file.write(bytes, position)),
      sync: () => this.#sync(() => file),
      truncate: (size) => this.#call(() => file.truncate(size)),
      size: () => this.#call(() => file.size),
      close: () => this.#call(() => {}),
    };
  }

  async #sync(find: () => ModelFile | ModelDirectory): Promise<void> {
    const fail = () => {
      const node = find();
      if (!this.stopped && node instanceof ModelFile) node.failSync();
    };
    const end = await this.#call(() => find().beginSync(), fail);
    await this.#delay();
    if (this.stopped) return this.#refuse();
    end();
  }

  /** @param cut what is left of a call that is not answered with success; by default all of it or nothing */
  async #call<T>(effect: () => T, cut: () => void = effect): Promise<T> {
    await this.#delay();
    if (this.stopped) return this.#refuse();
    this.#callsLeft--;
    if (!this.stopped && this.#callsToFail === 0) return effect();
    if (!this.stopped) this.#callsToFail--;
    try {
      if (this.#random.chance(0.5)) cut();
    } catch {
      // It would have failed on any disk.
    }
    return this.#refuse();
  }

  /** A dead process gets no answer; here its code runs on, and must be none the wiser. */
  #callSync(effect: () => void): void {
    if (this.#ended || (this.stopped && this.#afterStop === 'hangs')) return;
    if (this.stopped) throw failure('EIO', 'i/o error');
    effect();
  }

  /** What is done at the same time comes in any order. */
  async #delay(): Promise<void> {
    for (let turns = this.#random.below(4); turns > 0; turns--) await undefined;
  }

  #refuse(): Promise<never> {
    this.#refusals++;
    if (this.#ended || (this.stopped && this.#afterStop === 'hangs')) return new Promise(() => {});
    return Promise.reject(failure('EIO', 'i/o error'));
  }

  #add(path: string, node: Node): void {
    const directory = this.#directory(dirname(path));
    if (directory.get(basename(path)) !== undefined) throw failure('EEXIST', `file already exists, ${path}`);
    directory.add(basename(path), node);
  }

  #directory(path: string): ModelDirectory {
    const node = this.#root.find(path);
    if (node instanceof ModelDirectory) return node;
    throw failure(node === undefined ? 'ENOENT' : 'ENOTDIR', `no such directory, ${path}`);
  }

  #file(path: string): ModelFile {
    const node = this.#root.find(path);
    if (node instanceof ModelFile) return node;
    throw failure(node === undefined ? 'ENOENT' : 'EISDIR', `no such file, ${path}`);
  }
}

function failure(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
