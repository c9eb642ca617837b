import type { RouteTarget } from '../otlp/record.ts';
import type { InHand } from './in-hand.ts';
import type { RecordPlace } from './in-hand-format.ts';
import type { LeftBefore } from './left-before.ts';
import type { Left, LeftRecord, SettledRange } from './ledger-format.ts';
import type { Position } from './log-cursor.ts';
import type { Lease, Leaving } from './queue.ts';
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

/** A record of an open frame, until it is settled. */
export class Loan {
  readonly #frame: OpenFrame;
  readonly #place: RecordPlace;
  readonly #meta: RecordMeta;
  readonly #lender: Lender;
  /** Spans that had left before the relay was started. */
  readonly #before: SpanSet | undefined;
  #waiting: number;
  #isSettled = false;

  constructor(frame: OpenFrame, index: number, meta: RecordMeta, lender: Lender) {
    const { segment, offset } = frame.start;
    this.#frame = frame;
    this.#place = { segment, offset, index };
    this.#meta = meta;
    this.#lender = lender;
    this.#before = frame.left?.get(index);
    this.#waiting = meta.spans - (this.#before?.size ?? 0);
  }

  lease(payload: Uint8Array): Lease {
    const { spans: spanCount, sender, route, receivedAt } = this.#meta;
    const { inHand, readAgain } = this.#lender;
    const place = this.#place;
    return {
      record: { payload, spanCount, sender, route, receivedAt },
      left: this.#before,
      done: (spanIndexes) => this.#done(spanIndexes),
      leave: (spanIndexes) => this.#leave(spanIndexes),
      settle: () => this.#settle(),
      isSuspect: inHand.isSuspect(place),
      inHand: () => inHand.take(place),
      outOfHand: () => inHand.release(place),
      again: async () => {
        const found = await readAgain(place);
        if (found !== undefined) return this.lease(found);
        this.#settle();
        return undefined;
      },
    };
  }

  #done(spanIndexes: readonly number[]): void {
    this.#count(spanIndexes.length);
    if (spanIndexes.length < this.#meta.spans) this.#note(spanIndexes);
  }

  #leave(spanIndexes: readonly number[] | undefined): Leaving {
    const of = this.#meta.spans;
    const taken = spanIndexes ? new SpanSet(of, spanIndexes) : (this.#before ?? new SpanSet(of)).rest();
    const salt = this.#lender.saltOf(this.#place.segment);
    const origin = { ...this.#place, salt, of, spans: taken.runs() };
    return { origins: [origin], onKept: () => this.#note(taken) };
  }

  #settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#count(this.#waiting);
    this.#lender.inHand.release(this.#place);
    this.#frame.unsettled--;
    if (this.#frame.unsettled === 0) this.#lender.onFrameSettled(this.#frame);
    else this.#note(new SpanSet(this.#meta.spans).rest());
  }

  #count(done: number): void {
    const counted = Math.min(done, this.#waiting);
    this.#waiting -= counted;
    this.#lender.onDone(counted);
  }

  /** What the position does not tell, as the frame stays open. */
  #note(spanIndexes: Iterable<number>): void {
    const left = (this.#frame.left ??= new Map<number, SpanSet>());
    let noted = left.get(this.#place.index);
    if (noted === undefined) left.set(this.#place.index, (noted = new SpanSet(this.#meta.spans)));
    noted.addAll(spanIndexes);
    this.#lender.onLeft();
  }
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
