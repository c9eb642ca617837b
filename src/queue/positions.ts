import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { RelayError } from '../errors.ts';
import type { FileSystem, OpenFile } from './filesystem.ts';
import type { Position } from './log-cursor.ts';

/**
 * A position file, `NAME.position`: two slots, each in a block of its own, written in turn. A write that is cut
 * spoils one slot; the other still holds the position before it, which is only further back. The file gets its
 * name when its first slot is on disk: one without a good slot is a damaged one, not a new one.
 *
 *     slot (40 bytes, at 0 and at 4096)
 *          0  magic "MTRPOSN" and a byte: the format's version
 *          8  u64 number of the write, counting up     16  u64 segment id
 *         24  u64 offset                               32  u32 zero
 *         36  u32 CRC-32 of bytes 0 to 35
 */
const SLOT_SIZE = 40;
const SLOT_OFFSETS = [0, 4096] as const;
const MAGIC = Buffer.from('MTRPOSN', 'latin1');
const VERSION = 1;
const SUFFIX = '.position';

type Slot = { readonly write: number; readonly position: Position };

/** Destinations that have a position in this folder. */
export async function savedDestinations(fs: FileSystem, directory: string): Promise<string[]> {
  const names = await fs.list(directory);
  return names.filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length));
}

export function positionPath(directory: string, destination: string): string {
  return join(directory, destination + SUFFIX);
}

/** The saved position of one destination: the first frame that is not settled. */
export class PositionFile {
  readonly #fs: FileSystem;
  readonly #path: string;
  #file: OpenFile;
  #newest: Slot | undefined;
  /** After a failed sync the kernel may call lost pages clean: the file is not written again, but made anew. */
  #isSpoiled = false;

  private constructor(fs: FileSystem, path: string, file: OpenFile, newest: Slot | undefined) {
    this.#fs = fs;
    this.#path = path;
    this.#file = file;
    this.#newest = newest;
  }

  /** @throws RelayError QUEUE_FORMAT if another version of the relay wrote it */
  static async open(fs: FileSystem, directory: string, destination: string): Promise<PositionFile> {
    const path = positionPath(directory, destination);
    const file = await fs.open(path);
    try {
      const slots = [
        await readSlot(file, path, SLOT_OFFSETS[0]),
        await readSlot(file, path, SLOT_OFFSETS[1]),
      ];
      const newest = slots.filter((slot) => slot !== undefined).toSorted((a, b) => b.write - a.write)[0];
      return new PositionFile(fs, path, file, newest);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  static async create(
    fs: FileSystem,
    directory: string,
    destination: string,
    position: Position,
  ): Promise<PositionFile> {
    const path = positionPath(directory, destination);
    const first = { write: 1, position };
    return new PositionFile(fs, path, await createFile(fs, path, first), first);
  }

  /** What a start would find; `undefined` if both slots are damaged. */
  get saved(): Position | undefined {
    return this.#newest?.position;
  }

  /** Resolves once the position is on stable storage. One call at a time. */
  async save(position: Position): Promise<void> {
    const slot = { write: (this.#newest?.write ?? 0) + 1, position };
    if (this.#isSpoiled) {
      const spoiled = this.#file;
      this.#file = await createFile(this.#fs, this.#path, slot);
      this.#isSpoiled = false;
      void spoiled.close().catch(() => {});
    } else {
      try {
        await this.#file.write([encodeSlot(slot)], slotOffset(slot));
        await this.#file.sync();
      } catch (error) {
        this.#isSpoiled = true;
        throw error;
      }
    }
    this.#newest = slot;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** At its full size, so that saving needs no room on a full disk. */
async function createFile(fs: FileSystem, path: string, slot: Slot): Promise<OpenFile> {
  const partial = `${path}.partial`;
  await fs.remove(partial).catch(() => {}); // of a try that was cut off
  const file = await fs.create(partial);
  try {
    await file.write([Buffer.alloc(SLOT_OFFSETS[1] + SLOT_SIZE)], 0);
    await file.write([encodeSlot(slot)], slotOffset(slot));
    await file.sync();
    await fs.rename(partial, path);
    await fs.syncDirectory(dirname(path));
    return file;
  } catch (error) {
    await file.close().catch(() => {});
    throw error;
  }
}

function slotOffset({ write }: Slot): number {
  return SLOT_OFFSETS[write % 2 === 0 ? 0 : 1];
}

function encodeSlot({ write, position }: Slot): Buffer {
  const bytes = Buffer.alloc(SLOT_SIZE);
  MAGIC.copy(bytes);
  bytes.writeUInt8(VERSION, 7);
  bytes.writeBigUInt64LE(BigInt(write), 8);
  bytes.writeBigUInt64LE(BigInt(position.segment), 16);
  bytes.writeBigUInt64LE(BigInt(position.offset), 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 36)), 36);
  return bytes;
}

async function readSlot(file: OpenFile, path: string, offset: number): Promise<Slot | undefined> {
  const bytes = Buffer.alloc(SLOT_SIZE);
  if ((await file.read(bytes, offset)) < SLOT_SIZE) return undefined;
  if (!bytes.subarray(0, 7).equals(MAGIC) || bytes.readUInt32LE(36) !== crc32(bytes.subarray(0, 36))) {
    return undefined;
  }
  const version = bytes.readUInt8(7);
  if (version !== VERSION) {
    throw new RelayError(
      'QUEUE_FORMAT',
      `${path} has position format ${version}, and this relay reads format ${VERSION}: run the version that wrote it until its queue is empty (waiting_spans is 0), then start this one`,
    );
  }
  return {
    write: Number(bytes.readBigUInt64LE(8)),
    position: { segment: Number(bytes.readBigUInt64LE(16)), offset: Number(bytes.readBigUInt64LE(24)) },
  };
}
