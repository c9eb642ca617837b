import type { FileSystem, OpenFile } from '../../../src/queue/filesystem.ts';
import { systemError } from './memory-disk.ts';

export const CALLS = [
  'makeDirectory',
  'list',
  'create',
  'open',
  'remove',
  'rename',
  'syncDirectory',
  'freeBytes',
  'read',
  'write',
  'sync',
  'truncate',
  'size',
  'close',
] as const;
export type Call = (typeof CALLS)[number];

export type Fault = {
  readonly call: Call;
  /** Of files and folders whose path begins with this; else of all. */
  readonly path?: string;
  /** The first one of its kind that fails, from 1. */
  readonly nth: number;
  /** All from then on until the disk is healed, or that one alone. */
  readonly lasts: boolean;
  readonly code: 'EIO' | 'ENOSPC';
  /** What has happened nevertheless: nothing, all of it, or of a write the first half. */
  readonly effect: 'none' | 'all' | 'half';
};

/** A file apart from its name, which changes. */
type Identity = { hasFailedSync: boolean };

/** A disk on which calls fail as they are told to. It counts them, and the handles that are open. */
export class FailingDisk implements FileSystem {
  readonly counts = new Map<Call, number>();
  /** Files that were synced again after a sync had failed: their pages may be lost, and called clean. */
  readonly syncedAgain: string[] = [];
  openHandles = 0;
  #failures = 0;
  readonly #inner: FileSystem;
  #faults: readonly Fault[];
  readonly #identities = new Map<string, Identity>();

  constructor(inner: FileSystem, faults: readonly Fault[] = []) {
    this.#inner = inner;
    this.#faults = faults;
  }

  /** How many calls were answered with an error. */
  get failures(): number {
    return this.#failures;
  }

  heal(): void {
    this.#faults = [];
  }

  makeDirectory(path: string): Promise<void> {
    return this.#call('makeDirectory', path, () => this.#inner.makeDirectory(path));
  }

  list(path: string): Promise<string[]> {
    return this.#call('list', path, () => this.#inner.list(path));
  }

  create(path: string): Promise<OpenFile> {
    return this.#call('create', path, async () => {
      const file = await this.#inner.create(path);
      const identity = { hasFailedSync: false };
      this.#identities.set(path, identity);
      return this.#opened(path, file, identity);
    });
  }

  open(path: string, how?: { readonly readOnly: boolean }): Promise<OpenFile> {
    return this.#call('open', path, async () => {
      const file = await this.#inner.open(path, how);
      let identity = this.#identities.get(path);
      if (identity === undefined) this.#identities.set(path, (identity = { hasFailedSync: false }));
      return this.#opened(path, file, identity);
    });
  }

  modifiedAt(path: string): Promise<number> {
    return this.#inner.modifiedAt(path);
  }

  remove(path: string): Promise<void> {
    return this.#call('remove', path, async () => {
      await this.#inner.remove(path);
      this.#identities.delete(path);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call('rename', from, async () => {
      await this.#inner.rename(from, to);
      const identity = this.#identities.get(from);
      this.#identities.delete(from);
      if (identity !== undefined) this.#identities.set(to, identity);
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.#call('syncDirectory', path, () => this.#inner.syncDirectory(path));
  }

  freeBytes(path: string): Promise<number> {
    return this.#call('freeBytes', path, () => this.#inner.freeBytes(path));
  }

  #opened(path: string, file: OpenFile, identity: Identity): OpenFile {
    this.openHandles++;
    return {
      read: (into, position) => this.#call('read', path, () => file.read(into, position)),
      write: (buffers, position) =>
        this.#call(
          'write',
          path,
          () => file.write(buffers, position),
          () => {
            const bytes = Buffer.concat(buffers);
            return file.write([bytes.subarray(0, bytes.length / 2)], position);
          },
        ),
      writeSync: (bytes, position) => {
        const fault = this.#faultOf('write', path);
        if (fault?.effect !== 'none') file.writeSync(bytes, position);
        if (fault !== undefined) throw systemError(fault.code, 'write', path);
      },
      sync: async () => {
        if (identity.hasFailedSync) this.syncedAgain.push(path);
        await this.#call('sync', path, () => file.sync()).catch((error: unknown) => {
          identity.hasFailedSync = true;
          throw error;
        });
      },
      truncate: (size) => this.#call('truncate', path, () => file.truncate(size)),
      size: () => this.#call('size', path, () => file.size()),
      close: async () => {
        this.openHandles--; // whatever close(2) answers, the handle is gone
        await this.#call('close', path, () => file.close());
      },
    };
  }

  async #call<T>(
    call: Call,
    path: string,
    work: () => Promise<T>,
    half: () => Promise<unknown> = async () => {},
  ): Promise<T> {
    const fault = this.#faultOf(call, path);
    if (fault === undefined) return work();
    if (fault.effect === 'half') await half();
    // A handle that nobody gets is open nowhere.
    if (fault.effect === 'all') await work().then((result) => this.#forgetHandle(result));
    throw systemError(fault.code, call, path);
  }

  /** Counts the call. */
  #faultOf(call: Call, path: string): Fault | undefined {
    const nth = (this.counts.get(call) ?? 0) + 1;
    this.counts.set(call, nth);
    const fault = this.#faults.find(
      (each) =>
        each.call === call &&
        path.startsWith(each.path ?? '') &&
        (each.lasts ? nth >= each.nth : nth === each.nth),
    );
    if (fault !== undefined) this.#failures++;
    return fault;
  }

  #forgetHandle(result: unknown): void {
    if (typeof result === 'object' && result !== null && 'sync' in result) this.openHandles--;
  }
}
