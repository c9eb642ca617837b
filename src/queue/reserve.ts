import { join } from 'node:path';
import { isDiskFull, removeIfThere } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';

const FILE_NAME = 'reserve';
const CHUNK = new Uint8Array(1024 * 1024);

/** Of the queue's size, and at most. */
const SHARE = 1 / 64;
const MAX_SIZE = 16 * 1024 * 1024;

export function reserveSizeOf(maxBytes: number): number {
  return Math.min(Math.floor(maxBytes * SHARE), MAX_SIZE);
}

/**
 * Room on the disk that is kept for dead letters: a file of zeros, as large as what is kept. When the disk is full it
 * is removed, so that dead letters fit, and refused batches need not hold up those behind them. Until there is room to
 * make it again the queue takes nothing: what was freed is not for new traces.
 *
 * Other programs on the same disk may be faster. Then dead letters wait for room as well, and nothing is lost.
 */
export class Reserve {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #size: number;
  #isWhole = false;
  /** So that one that comes while it is made again is not missed. */
  #releases = 0;

  private constructor(fs: FileSystem, directory: string, size: number) {
    this.#fs = fs;
    this.#directory = directory;
    this.#size = size;
  }

  /** Finds the file or makes it; without room, or on a failing disk, it is not whole. */
  static async open(fs: FileSystem, directory: string, size: number): Promise<Reserve> {
    const reserve = new Reserve(fs, directory, size);
    reserve.#isWhole = (await reserve.#sizeOnDisk()) === size;
    await reserve.restore(0).catch(() => {}); // tried again while the queue is open
    return reserve;
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }

  /**
   * Makes it again, if so many bytes are free beyond it.
   * @returns whether it is whole; rejects when the disk fails
   */
  async restore(freeBeyond: number): Promise<boolean> {
    if (this.#isWhole) return true;
    await this.release();
    const releases = this.#releases;
    if ((await this.#fs.freeBytes(this.#directory)) < this.#size + freeBeyond) return false;
    const file = await this.#fs.create(this.#path);
    try {
      for (let at = 0; at < this.#size; at += CHUNK.length) {
        await file.write([CHUNK.subarray(0, this.#size - at)], at);
      }
      await file.sync();
      await this.#fs.syncDirectory(this.#directory);
    } catch (error) {
      await this.release();
      if (isDiskFull(error)) return false; // a quota, which the disk does not tell before
      throw error;
    } finally {
      await file.close();
    }
    this.#isWhole = releases === this.#releases;
    return this.#isWhole;
  }

  /** Gives its room back to the disk. */
  async release(): Promise<void> {
    this.#isWhole = false;
    this.#releases++;
    await removeIfThere(this.#fs, this.#path);
  }

  get #path(): string {
    return join(this.#directory, FILE_NAME);
  }

  async #sizeOnDisk(): Promise<number | undefined> {
    try {
      const file = await this.#fs.open(this.#path);
      try {
        return await file.size();
      } finally {
        await file.close();
      }
    } catch {
      return undefined;
    }
  }
}

/** So that a nearly full disk is met between two segments, and room that came back is more than a moment's. */
export async function needRoom(fs: FileSystem, directory: string, bytes: number): Promise<void> {
  if ((await fs.freeBytes(directory)) >= bytes) return;
  throw new Error(
    `the disk of ${directory} has less room than a segment, ${bytes} bytes: make room, or lower queue.max_size`,
  );
}
