import type { RecordMeta } from './loan.ts';
import type { LeftBefore } from './left-before.ts';
import type { Position } from './log-cursor.ts';
import type { SegmentLog } from './segment-log.ts';
import type { Amount, Tally } from './tally.ts';

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

type Key = readonly [sender: string | null, route: string, destinations: readonly string[]];
type Counted = { readonly sender: string | null; readonly destinations: readonly string[] } & Amount;

/** Tallies are asked often, and each of their amounts has one key. */
const keys = new WeakMap<Amount, Key>();

function* counted(tally: Tally): Iterable<Counted> {
  for (const [json, amount] of tally) {
    let key = keys.get(amount);
    if (key === undefined) keys.set(amount, (key = JSON.parse(json) as Key));
    const [sender, , destinations] = key;
    yield { sender, destinations, ...amount };
  }
}

/** Bytes by sender; those of too many senders have none. A sender may come several times. */
export function* sendersOf(tally: Tally): Iterable<[string, number]> {
  for (const { sender, bytes } of counted(tally)) yield [sender ?? '', bytes];
}

/** Who has records in a segment with this tally. */
export function destinationsOf(tally: Tally): ReadonlySet<string> {
  return new Set([...counted(tally)].flatMap(({ destinations }) => destinations));
}

/** Spans of a destination in a segment with this tally. */
export function spansIn(tally: Tally, destination: string): number {
  let sum = 0;
  for (const { destinations, spans } of counted(tally)) if (destinations.includes(destination)) sum += spans;
  return sum;
}

/** Spans that are in the log behind where a reader begins, those that have left among them. */
export async function countStored(
  log: SegmentLog<RecordMeta>,
  before: LeftBefore,
  destination: string,
): Promise<number> {
  const stored = await countFrom(log, before.from, destination);
  const { cutRange } = before;
  if (cutRange !== undefined) before.recount(stored - (await countFrom(log, cutRange.to, destination)));
  return stored;
}

/** Spans in the log behind a position; of its own segment the headers are read, of the later ones the footers. */
async function countFrom(log: SegmentLog<RecordMeta>, from: Position, destination: string): Promise<number> {
  let waiting = 0;
  for (const segment of log.segments) {
    if (segment.id > from.segment) waiting += spansIn(segment.tally, destination);
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
