import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { FileSystem, OpenFile } from './filesystem.ts';
import type { Position } from './log-cursor.ts';

/**
 * A position file: two slots, each in a block of its own, written in turn. A write that is cut spoils one slot;
 * the other still holds the position before it, which is only further back.
 *
 *     slot (40 bytes, at 0 and at 4096)
 *          0  magic "MTRPOSN1"     8  u64 number of the write, counting up
 *         16  u64 segment id      24  u64 offset
 *         32  u32 zero            36  u32 CRC-32 of bytes 0 to 35
 */
const SLOT_SIZE = 40;
const SLOT_OFFSETS = [0, 4096] as const;
const MAGIC = Buffer.from('MTRPOSN1', 'latin1');

type Slot = { readonly write: number; readonly position: Position };

/** The saved position of one destination: the first frame that is not settled. */
export class PositionFile {
  readonly #file: OpenFile;
  #write: number;
  #saved: Position | undefined;

  private constructor(file: OpenFile, newest: Slot | undefined) {
    this.#file = file;
    this.#write = newest?.write ?? 0;
    this.#saved = newest?.position;
  }

  /** Opens the file, or makes it at its full size, so that saving needs no room on a full disk. */
  static async open(fs: FileSystem, directory: string, destination: string): Promise<PositionFile> {
    const path = join(directory, destination);
    let file: OpenFile;
    try {
      file = await fs.open(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      file = await fs.create(path);
      await file.write([Buffer.alloc(SLOT_OFFSETS[1] + SLOT_SIZE)], 0);
      await file.sync();
      await fs.syncDirectory(directory);
    }
    const slots = await Promise.all(SLOT_OFFSETS.map((offset) => readSlot(file, offset)));
    const newest = slots.filter((slot) => slot !== undefined).toSorted((a, b) => b.write - a.write)[0];
    return new PositionFile(file, newest);
  }

  /** What a start would find; `undefined` if nothing was saved yet, or both slots are damaged. */
  get saved(): Position | undefined {
    return this.#saved;
  }

  /** Resolves once the position is on stable storage. One call at a time. */
  async save(position: Position): Promise<void> {
    const write = this.#write + 1;
    const bytes = Buffer.alloc(SLOT_SIZE);
    MAGIC.copy(bytes);
    bytes.writeBigUInt64LE(BigInt(write), 8);
    bytes.writeBigUInt64LE(BigInt(position.segment), 16);
    bytes.writeBigUInt64LE(BigInt(position.offset), 24);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 36)), 36);
    await this.#file.write([bytes], SLOT_OFFSETS[write % 2 === 0 ? 0 : 1]);
    await this.#file.sync();
    this.#write = write;
    this.#saved = position;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

async function readSlot(file: OpenFile, offset: number): Promise<Slot | undefined> {
  const bytes = Buffer.alloc(SLOT_SIZE);
  if ((await file.read(bytes, offset)) < SLOT_SIZE) return undefined;
  if (!bytes.subarray(0, 8).equals(MAGIC) || bytes.readUInt32LE(36) !== crc32(bytes.subarray(0, 36))) {
    return undefined;
  }
  return {
    write: Number(bytes.readBigUInt64LE(8)),
    position: { segment: Number(bytes.readBigUInt64LE(16)), offset: Number(bytes.readBigUInt64LE(24)) },
  };
}
