import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { realFileSystem } from '../../../src/queue/filesystem.ts';
import { SEGMENT_HEADER_SIZE } from '../../../src/queue/frame.ts';
import { FrameReader } from '../../../src/queue/frame-reader.ts';
import { PositionFile } from '../../../src/queue/positions.ts';
import { parseSegmentName } from '../../../src/queue/segment.ts';
import { StackError } from '../../stack/processes.ts';

export type BacklogOrder = {
  /** The queue's. */
  directory: string;
  maxBytes: number;
  records: number;
  /** Ten make a trace. */
  spansPerRecord: number;
  /** Of about 770 bytes a span, or as small as a span can be, and one a record. */
  sizes?: 'realistic' | 'tiny';
};

/** Far above what the largest takes. */
const DEADLINE_MS = 10 * 60_000;

/** A queue with records for the destination `mlflow`, whose last segment was being written when SIGKILL came. */
export async function makeBacklog(order: BacklogOrder): Promise<void> {
  const writer = fork(join(import.meta.dirname, 'backlog-writer.ts'), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  const done = new AbortController();
  const signal = AbortSignal.any([done.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const exit = once(writer, 'exit');
  const died = exit.then(() => {
    throw new StackError('the writer of the backlog died; it says why above');
  });
  try {
    writer.send(order);
    await Promise.race([once(writer, 'message', { signal }), died]);
  } finally {
    done.abort();
    died.catch(() => {});
    writer.kill('SIGKILL');
    await exit;
  }
}

/** As if the first records, of its first segment, had been delivered before. Nobody may have the queue open. */
export async function settleFirst(queueDirectory: string, records: number): Promise<void> {
  const segments = join(queueDirectory, 'segments');
  const [first = ''] = (await readdir(segments)).toSorted();
  const name = parseSegmentName(first);
  if (name === undefined) throw new Error(`${first} is no segment`);
  const file = await realFileSystem.open(join(segments, first));
  const reader = new FrameReader(file, name.salt, SEGMENT_HEADER_SIZE);
  let offset = SEGMENT_HEADER_SIZE;
  for (let passed = 0; passed < records; passed++) {
    const step = await reader.next(await file.size());
    if (step.kind !== 'frame') throw new Error(`record ${passed} is not whole`);
    offset = step.end;
  }
  await file.close();
  const position = await PositionFile.open(realFileSystem, join(queueDirectory, 'positions'), 'mlflow');
  await position.save({ segment: name.id, offset });
  await position.close();
}

/** Of all its segments. */
export async function bytesOf(queueDirectory: string): Promise<number> {
  const segments = join(queueDirectory, 'segments');
  const sizes = (await readdir(segments)).map(async (name) => (await stat(join(segments, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
