import type { RecordMeta } from './destination-reader.ts';
import type { Position } from './log-cursor.ts';
import type { SegmentLog } from './segment-log.ts';
import type { Tally } from './tally.ts';

/** What a footer tells, so that a start need not read records: how much there is by sender and route. */
export function countRecord(
  { spans, sender, receivedAt, route }: RecordMeta,
  bytes: number,
  tally: Tally,
): void {
  const { name, destinations } = route;
  const key = JSON.stringify([sender, name, destinations]);
  const anySender = JSON.stringify([null, name, destinations]);
  tally.add(key, anySender, { records: 1, spans, bytes }, receivedAt);
}

/** Spans that wait behind a position; of its own segment the headers are read, of the later ones the footers. */
export async function countFrom(
  log: SegmentLog<RecordMeta>,
  from: Position,
  destination: string,
): Promise<number> {
  let waiting = 0;
  for (const segment of log.segments) {
    if (segment.id <= from.segment) continue;
    for (const [key, { spans }] of segment.tally) {
      const [, , destinations] = JSON.parse(key) as [string | null, string, string[]];
      if (destinations.includes(destination)) waiting += spans;
    }
  }
  const cursor = log.cursor(from, { headersOnly: true });
  try {
    for (
      let frame = await cursor.next();
      frame?.start.segment === from.segment;
      frame = await cursor.next()
    ) {
      for (const { meta } of frame.entries) {
        if (meta.route.destinations.includes(destination)) waiting += meta.spans;
      }
    }
  } finally {
    await cursor.close();
  }
  return waiting;
}
