import { join } from 'node:path';
import type { RecordMeta } from '../../../src/queue/loan.ts';
import { realFileSystem } from '../../../src/queue/filesystem.ts';
import { LogContent } from '../../../src/queue/frame.ts';
import { comparePositions } from '../../../src/queue/log-cursor.ts';
import type { Position } from '../../../src/queue/log-cursor.ts';
import { PositionFile } from '../../../src/queue/positions.ts';
import { SegmentLog } from '../../../src/queue/segment-log.ts';
import { countRecord } from '../../../src/queue/waiting-spans.ts';
import { META } from './store.ts';
import type { Store } from './store.ts';

/** The relay's own log with one saved position, as the queue uses them. */
export async function openSegmentLogStore(directory: string, maxBytes: number): Promise<Store> {
  const fs = realFileSystem;
  let failure: string | undefined;
  const log = await SegmentLog.open<RecordMeta>({
    fs,
    directory: join(directory, 'segments'),
    content: LogContent.queue,
    maxBytes,
    idsAbove: 0,
    count: countRecord,
    observer: {
      damaged: () => {},
      unread: () => {},
      failing: (reason) => (failure = reason),
      recovered: () => (failure = undefined),
    },
  });
  const position = await PositionFile.create(fs, directory, 'reader', log.start);
  /** Behind each record that is there, as far as it was read. */
  let ends: Position[] = [];

  async function readFrom(from: Position, onRecord: (payload: Uint8Array) => void): Promise<void> {
    ends = [];
    const cursor = log.cursor(from);
    for (let frame = await cursor.next(); frame; frame = await cursor.next()) {
      for (const { payload } of frame.entries) onRecord(payload);
      ends.push(frame.end);
    }
    await cursor.close();
  }

  return {
    async append(payload) {
      const outcome = await log.append([{ meta: META, payload }]);
      if (outcome !== 'stored') throw new Error(failure ?? outcome);
    },
    read: (onRecord) => readFrom(position.saved ?? log.start, onRecord),
    async removeOldest(count) {
      if (ends.length === 0) await readFrom(position.saved ?? log.start, () => {});
      const end = ends.splice(0, count).at(-1);
      if (end === undefined) return;
      await position.save(end);
      await log.remove((segment) => comparePositions({ segment: segment.id, offset: segment.end }, end) <= 0);
    },
    async close() {
      await log.close();
      await position.close();
    },
  };
}
