import type { RouteTarget } from '../otlp/record.ts';
import type { InHand } from './in-hand.ts';
import type { RecordPlace } from './in-hand-format.ts';
import type { LeftBefore } from './left-before.ts';
import type { Left, LeftRecord, SettledRange } from './ledger-format.ts';
import type { Position } from './log-cursor.ts';
import type { Lease } from './queue.ts';
import { SpanSet } from './span-set.ts';

/** What is written of a record beside its payload. */
export type RecordMeta = {
  readonly spans: number;
  readonly sender: string;
  readonly receivedAt: number;
  readonly route: RouteTarget;
};

/** A frame that was read and has records that are not settled. */
export type OpenFrame = {
  readonly start: Position;
  readonly end: Position;
  readonly receivedAt: number;
  /** Spans of the destination in the frames that were read before it, and its own. */
  readonly spansBefore: number;
  readonly spans: number;
  /** Records that are not settled. */
  unsettled: number;
  /** Of records that did not leave as a whole, what has left; by index in the frame. */
  left: Map<number, SpanSet> | undefined;
};

export type Lender = {
  readonly inHand: InHand;
  /** Of the segment that the frame is in. */
  readonly saltOf: (segment: number) => number;
  /** So many spans wait no more. */
  readonly onDone: (spans: number) => void;
  /** Something has left the record that the position alone does not tell. */
  readonly onLeft: () => void;
  readonly onFrameSettled: (frame: OpenFrame) => void;
  /** The payload once more; undefined where it is damaged now. */
  readonly readAgain: (place: RecordPlace) => Promise<Uint8Array | undefined>;
};

/** A record of an open frame on loan. */
export function lend(
  frame: OpenFrame,
  index: number,
  { meta, payload }: { readonly meta: RecordMeta; readonly payload: Uint8Array },
  lender: Lender,
): Lease {
  const { inHand, onDone, onLeft } = lender;
  const { spans, sender, route, receivedAt } = meta;
  const place = { ...frame.start, index };
  const left = frame.left?.get(index);
  let waiting = spans - (left?.size ?? 0);
  let settled = false;
  const count = (done: number) => {
    const counted = Math.min(done, waiting);
    waiting -= counted;
    onDone(counted);
  };
  const note = (spanIndexes: Iterable<number>) => {
    frame.left ??= new Map();
    let noted = frame.left.get(index);
    if (noted === undefined) frame.left.set(index, (noted = new SpanSet(spans)));
    noted.addAll(spanIndexes);
    onLeft();
  };
  const settle = () => {
    if (settled) return;
    settled = true;
    count(waiting);
    inHand.release(place);
    frame.unsettled--;
    if (frame.unsettled === 0) lender.onFrameSettled(frame);
    else note(new SpanSet(spans).rest());
  };
  const leave: Lease['leave'] = (spanIndexes) => {
    const taken =
      spanIndexes === undefined ? (left ?? new SpanSet(spans)).rest() : new SpanSet(spans, spanIndexes);
    const { segment, offset } = place;
    const origin = {
      segment,
      salt: lender.saltOf(segment),
      offset,
      index,
      of: spans,
      spans: taken.runs(),
    };
    return { origin, onKept: () => note(taken) };
  };
  const lendBytes = (bytes: Uint8Array): Lease => ({
    record: { payload: bytes, spanCount: spans, sender, route, receivedAt },
    left,
    done(spanIndexes) {
      count(spanIndexes.length);
      if (spanIndexes.length < spans) note(spanIndexes);
    },
    leave,
    settle,
    isSuspect: inHand.isSuspect(place),
    inHand: () => inHand.take(place),
    outOfHand: () => inHand.release(place),
    again: async () => {
      const found = await lender.readAgain(place);
      if (found !== undefined) return lendBytes(found);
      settle();
      return undefined;
    },
  });
  return lendBytes(payload);
}

/** What has left of what was read, behind the first frame that is open, and of what is ahead of the reader. */
export function leftBehind(
  open: Iterable<OpenFrame>,
  read: { readonly upTo: Position; readonly spans: number },
  before: LeftBefore | undefined,
): Left {
  const ranges: SettledRange[] = [];
  const records: LeftRecord[] = [];
  let base: Position | undefined;
  let last: OpenFrame | undefined;
  const addRange = (to: Position, spansBefore: number) => {
    if (last === undefined) return;
    const spans = spansBefore - last.spansBefore - last.spans;
    if (spans > 0) ranges.push({ from: last.end, to, spans });
  };
  for (const frame of open) {
    base ??= frame.start;
    addRange(frame.start, frame.spansBefore);
    for (const [index, spans] of frame.left ?? []) records.push({ place: { ...frame.start, index }, spans });
    last = frame;
  }
  addRange(read.upTo, read.spans);
  const ahead = before?.ahead(read.upTo) ?? { ranges: [], records: [] };
  return {
    base: base ?? read.upTo,
    ranges: [...ranges, ...ahead.ranges],
    records: [...records, ...ahead.records],
  };
}
