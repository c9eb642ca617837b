import type { RecordMeta } from './destination-reader.ts';
import type { Position } from './log-cursor.ts';
import type { SegmentLog } from './segment-log.ts';
import type { Tally } from './segment.ts';

/** Spans by the destinations of their route: what a footer has to tell, so that a start need not read records. */
export function countWaiting(meta: RecordMeta, tally: Tally): void {
  const key = JSON.stringify([meta.sender, meta.route.name, meta.route.destinations]);
  tally[key] = (tally[key] ?? 0) + meta.spans;
}

function spansFor(tally: Tally, destination: string): number {
  let spans = 0;
  for (const [key, count] of Object.entries(tally)) {
    const [, , destinations] = JSON.parse(key) as [string, string, string[]];
    if (destinations.includes(destination)) spans += count;
  }
  return spans;
}

/** Spans that wait behind a position; of its own segment the records are read, of the later ones the footers. */
export async function countFrom(
  log: SegmentLog<RecordMeta>,
  from: Position,
  destination: string,
): Promise<number> {
  let spans = 0;
  for (const segment of log.segments) {
    if (segment.id > from.segment) spans += spansFor(segment.tally, destination);
  }
  const cursor = log.cursor(from);
  try {
    for (let frame = await cursor.next(); frame && frame.start.segment === from.segment;) {
      for (const { meta } of frame.entries) {
        if (meta.route.destinations.includes(destination)) spans += meta.spans;
      }
      frame = await cursor.next();
    }
  } finally {
    await cursor.close();
  }
  return spans;
}
