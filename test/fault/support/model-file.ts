import type { Random } from './random.ts';

/** What a disk writes at once: old or new bytes, never a mixture. */
const SECTOR_SIZES = [512, 4096] as const;

type Change =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly size: number };

/** Bytes that stand where a file has grown over what was never written. */
export type Filler = (from: number, length: number) => Uint8Array;

/**
 * A file that knows what of it would outlive a loss of power. Programs see every change at once; on the disk is what
 * the last completed sync covered, and any part of what came after.
 */
export class ModelFile {
  #seen = new Content();
  #durable = new Content();
  #unsynced: Change[] = [];
  /** Changes that no later sync covers. */
  readonly #dropped = new WeakSet<Change>();

  get size(): number {
    return this.#seen.size;
  }

  /** The bytes as programs see them now. */
  get bytes(): Buffer {
    return this.#seen.bytes;
  }

  read(into: Uint8Array, position: number): number {
    const found = this.#seen.bytes.subarray(position, position + into.length);
    into.set(found);
    return found.length;
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length > 0) this.#change({ kind: 'write', position, bytes: Buffer.from(bytes) });
  }

  truncate(size: number): void {
    this.#change({ kind: 'truncate', size });
  }

  /** @returns what ends the sync: from then on all that was changed before it began is durable */
  beginSync(): () => void {
    const covered = new Set(this.#unsynced.filter((change) => !this.#dropped.has(change)));
    return () => {
      for (const change of this.#unsynced) if (covered.has(change)) this.#durable.apply(change);
      this.#unsynced = this.#unsynced.filter((change) => !covered.has(change));
    };
  }

  /** The kernel takes what it could not write for written: it is seen, and no later sync makes it durable. */
  failSync(): void {
    for (const change of this.#unsynced) this.#dropped.add(change);
  }

  /**
   * Power is lost. The disk may have written each sector at any moment since the last sync, and the size too, each by
   * itself: in any order, and none or all of it.
   */
  losePower(random: Random, filler: Filler): void {
    if (this.#unsynced.length > 0) this.#durable = this.#remains(random, filler);
    this.#unsynced = [];
    this.#seen = this.#durable.copy();
  }

  #remains(random: Random, filler: Filler): Content {
    const versions = [this.#durable.copy()];
    let latest = this.#durable;
    for (const change of this.#unsynced) {
      latest = latest.copy();
      latest.apply(change);
      versions.push(latest);
    }
    const sector = random.pick(SECTOR_SIZES);
    const size = sizeThatRemains(versions, sector, random);
    // Some disks have written nearly all, others nearly nothing.
    const isWritten = random.pick([0, 0.1, 0.5, 0.9, 1]);
    const remains = new Content();
    for (let at = 0; at < size; at += sector) {
      const version = random.chance(isWritten) ? latest : versions[random.below(versions.length)]!;
      const end = Math.min(at + sector, size);
      const bytes = version.bytes.subarray(at, end);
      remains.write(bytes.length > 0 ? bytes : filler(at, end - at), at);
    }
    remains.truncate(size);
    return remains;
  }

  #change(change: Change): void {
    this.#seen.apply(change);
    this.#unsynced.push(change);
  }
}

/** One of the sizes that the file had, or one between them: a long write may have grown it in steps. */
function sizeThatRemains(versions: readonly Content[], sector: number, random: Random): number {
  const sizes = versions.map(({ size }) => size);
  const index = random.below(sizes.length);
  const size = sizes[index]!;
  const before = sizes[index - 1] ?? size;
  if (size <= before || random.chance(0.7)) return size;
  return Math.max(before, size - random.below(Math.ceil((size - before) / sector)) * sector);
}

/** Bytes that grow in place; what is beyond them is zero. */
class Content {
  #buffer = Buffer.alloc(0);
  size = 0;

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.size);
  }

  apply(change: Change): void {
    if (change.kind === 'write') this.write(change.bytes, change.position);
    else this.truncate(change.size);
  }

  write(bytes: Uint8Array, position: number): void {
    this.#resize(Math.max(this.size, position + bytes.length));
    this.#buffer.set(bytes, position);
  }

  truncate(size: number): void {
    if (size < this.size) this.#buffer.fill(0, size, this.size);
    this.#resize(size);
  }

  copy(): Content {
    const copy = new Content();
    copy.write(this.bytes, 0);
    return copy;
  }

  #resize(size: number): void {
    if (size > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(size, 2 * this.#buffer.length));
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.size = size;
  }
}
