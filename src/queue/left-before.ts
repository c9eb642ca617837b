import { keyOf } from './in-hand-format.ts';
import type { RecordPlace } from './in-hand-format.ts';
import type { Left, LedgerContent, LeftRecord, SettledRange } from './ledger-format.ts';
import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import type { SpanOrigin } from './queue.ts';
import type { SegmentName } from './segment.ts';
import { SpanSet } from './span-set.ts';

/** A range, and how many of its spans the reader is not past. */
type RangeAhead = Omit<SettledRange, 'spans'> & { ahead: number };

/** By the segments that are there. */
export function saltsOf(segments: readonly SegmentName[]): ReadonlyMap<number, number> {
  return new Map(segments.map(({ id, salt }) => [id, salt]));
}

/** What had left the queue before this start, and is still ahead of the reader. */
export class LeftBefore {
  /** Where the reader begins: all before it is settled. */
  readonly from: Position;
  readonly #salts: ReadonlyMap<number, number>;
  /** Ascending. */
  readonly #ranges: RangeAhead[] = [];
  /** By frame, and index in it. */
  readonly #frames = new Map<string, Map<number, LeftRecord>>();
  #spans = 0;
  #changes = 0;

  /**
   * @param saved the position, or where there is none the start of the log
   * @param salts of the segments of the log: what the ledger says of others counts for nothing
   */
  constructor(saved: Position, content: LedgerContent | undefined, salts: ReadonlyMap<number, number>) {
    const named = saltsOf(content?.segments ?? []);
    const isThere = ({ segment }: Position) => {
      const salt = salts.get(segment);
      return salt !== undefined && named.get(segment) === salt;
    };
    this.#salts = salts;
    const base = content?.base;
    this.from = base !== undefined && isThere(base) && comparePositions(base, saved) > 0 ? base : saved;
    for (const range of content?.ranges ?? []) {
      const { from, to, spans } = range;
      const isKnown = isThere(to) && (isThere(from) || comparePositions(from, this.from) < 0);
      if (!isKnown || comparePositions(to, this.from) <= 0) continue;
      this.#ranges.push({ from, to, ahead: spans });
      this.#spans += spans;
    }
    for (const record of content?.records ?? []) if (isThere(record.place)) this.#add(record);
  }

  /** Grows with what letters tell and was not known. */
  get changes(): number {
    return this.#changes;
  }

  /** What a ledger has to tell of it before anything is read. */
  get left(): Left {
    return { base: this.from, ...this.ahead(this.from) };
  }

  /** Spans that have left. */
  get spans(): number {
    return this.#spans;
  }

  get isEmpty(): boolean {
    return this.#ranges.length === 0 && this.#frames.size === 0;
  }

  /** Where the range ends that the reader begins in, as a previous release may leave it; undefined if there is none. */
  get cutRange(): Pick<SettledRange, 'to'> | undefined {
    const [first] = this.#ranges;
    return first !== undefined && comparePositions(first.from, this.from) < 0 ? first : undefined;
  }

  /** Of the spans of the range that the reader begins in, so many are behind that place. */
  recount(spans: number): void {
    const [first] = this.#ranges;
    if (first === undefined) return;
    this.#spans += spans - first.ahead;
    first.ahead = spans;
  }

  /** What a dead letter tells: its spans have left. */
  add({ segment, salt, offset, index, of, spans }: SpanOrigin): void {
    if (this.#salts.get(segment) !== salt) return;
    const before = this.#spans;
    this.#add({ place: { segment, offset, index }, spans: SpanSet.ofRuns(of, spans) });
    if (this.#spans > before) this.#changes++;
  }

  /** Records of which only a part has left count as whole, where that is asked for. */
  makeWhole(isWanted: (place: RecordPlace) => boolean): void {
    for (const [key, records] of this.#frames) {
      for (const { place, spans } of records.values()) {
        if (spans.isWhole || !isWanted(place)) continue;
        records.delete(place.index);
        this.#spans -= spans.size;
      }
      if (records.size === 0) this.#frames.delete(key);
    }
  }

  /**
   * What had left of a frame that is read now, for the first time.
   * @param count of its spans that are this destination's
   */
  take(start: Position, count: number): 'all' | ReadonlyMap<number, LeftRecord> | undefined {
    const range = this.#rangeAt(start);
    if (range !== undefined) {
      const passed = Math.min(count, range.ahead);
      range.ahead -= passed;
      this.#spans -= passed;
      return 'all';
    }
    const key = keyOf({ ...start, index: 0 });
    const records = this.#frames.get(key);
    if (records === undefined) return undefined;
    this.#frames.delete(key);
    for (const { spans } of records.values()) this.#spans -= spans.size;
    return records;
  }

  /** What is told of frames from here on. */
  ahead(readUpTo: Position): Pick<Left, 'ranges' | 'records'> {
    const ranges = this.#ranges
      .filter(({ to }) => comparePositions(to, readUpTo) > 0)
      .map(({ from, to, ahead }) => ({
        from: comparePositions(from, readUpTo) < 0 ? readUpTo : from,
        to,
        spans: ahead,
      }));
    const records: LeftRecord[] = [];
    for (const frame of this.#frames.values()) records.push(...frame.values());
    return { ranges, records };
  }

  #add({ place, spans }: LeftRecord): void {
    if (comparePositions(place, this.from) < 0 || this.#rangeAt(place) !== undefined) return;
    const key = keyOf({ ...place, index: 0 });
    let records = this.#frames.get(key);
    if (records === undefined) this.#frames.set(key, (records = new Map()));
    const known = records.get(place.index)?.spans;
    if (known === undefined) {
      records.set(place.index, { place, spans });
      this.#spans += spans.size;
      return;
    }
    this.#spans -= known.size;
    known.addAll(spans);
    this.#spans += known.size;
  }

  #rangeAt(position: Position): RangeAhead | undefined {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (comparePositions(this.#ranges[middle]!.to, position) > 0) high = middle;
      else low = middle + 1;
    }
    const range = this.#ranges[low];
    return range !== undefined && comparePositions(range.from, position) <= 0 ? range : undefined;
  }
}
