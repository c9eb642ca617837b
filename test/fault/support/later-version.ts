import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import {
  LogContent,
  SEGMENT_HEADER_SIZE,
  encodeFooter,
  encodeFrame,
  encodeSegmentHeader,
  encodeTrailer,
  placeFrame,
} from '../../../src/queue/frame.ts';
import type { UnplacedFrame } from '../../../src/queue/frame.ts';
import { parseSegmentName } from '../../../src/queue/segment.ts';
import { Tally } from '../../../src/queue/tally.ts';
import { countRecord } from '../../../src/queue/waiting-spans.ts';

/*
 * What a later version of the relay could leave in a queue's directory.
 */

export type LaterRecord = { readonly payload: Uint8Array; readonly spans: number };

const KIND_OF_LATER = 7;
const POSITION_SLOTS = [0, 4096];

/** The segment files of a queue, oldest first. */
export async function segmentPaths(queueDirectory: string): Promise<string[]> {
  const directory = join(queueDirectory, 'segments');
  const names = await readdir(directory);
  return names
    .filter((name) => parseSegmentName(name) !== undefined)
    .toSorted()
    .map((name) => join(directory, name));
}

/**
 * Writes a segment behind those that are there: frames of a kind that is not known yet before, between and behind
 * frames of records, and fields that are not known in every JSON.
 */
export async function writeLaterSegment(
  queueDirectory: string,
  records: readonly LaterRecord[],
  { isSealed }: { isSealed: boolean },
): Promise<string> {
  const last = (await segmentPaths(queueDirectory)).at(-1) ?? '';
  const id = (parseSegmentName(last.slice(last.lastIndexOf('/') + 1))?.id ?? 0) + 1;
  const salt = 0x5eed;
  const tally = new Tally();
  const bytes: Uint8Array[] = [encodeSegmentHeader(id, salt, LogContent.queue)];
  let end = SEGMENT_HEADER_SIZE;
  const add = (frame: UnplacedFrame) => {
    bytes.push(...placeFrame(frame, salt, end));
    end += frame.size;
  };
  add(frameOfLater());
  for (const { payload, spans } of records) {
    const route = { name: 'default', destinations: ['mlflow'], variables: {} };
    const meta = { spans, sender: 'later', receivedAt: Date.now(), route, later: { field: true } };
    countRecord(meta, payload.length, tally);
    add(encodeFrame([{ meta, payload }]));
    add(frameOfLater());
  }
  if (isSealed) {
    const footerOffset = end;
    add(encodeFooter({ tally, later: 'field' }));
    bytes.push(encodeTrailer(footerOffset, salt));
  }
  const name = `${String(id).padStart(20, '0')}-${salt.toString(16).padStart(8, '0')}.segment`;
  const path = join(queueDirectory, 'segments', name);
  const file = await open(path, 'wx', 0o600);
  await file.writev(bytes);
  await file.close();
  return path;
}

function frameOfLater(): UnplacedFrame {
  const frame = encodeFrame([{ meta: { later: true }, payload: Buffer.from('of a later version') }]);
  frame.prefix.writeUInt32LE(KIND_OF_LATER, 4);
  return frame;
}

/** Sets the format version in a segment's header. */
export function setSegmentVersion(path: string, version: number): Promise<void> {
  return edit(path, 0, SEGMENT_HEADER_SIZE, (header) => {
    header.writeUInt32LE(version, 8);
    header.writeUInt32LE(crc32(header.subarray(0, 28)), 28);
  });
}

/** Sets the format version in the slots of a position file that hold a position. */
export async function setPositionVersion(path: string, version: number): Promise<void> {
  for (const offset of POSITION_SLOTS) {
    await edit(path, offset, 40, (slot) => {
      if (slot.readUInt8(0) === 0) return; // never written
      slot.writeUInt8(version, 7);
      slot.writeUInt32LE(crc32(slot.subarray(0, 36)), 36);
    });
  }
}

async function edit(
  path: string,
  offset: number,
  length: number,
  change: (bytes: Buffer) => void,
): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const bytes = Buffer.alloc(length);
    await file.read(bytes, 0, length, offset);
    change(bytes);
    await file.write(bytes, 0, length, offset);
  } finally {
    await file.close();
  }
}
