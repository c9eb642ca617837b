import { MOST_REPAIR_WORK } from '../destinations/destination.ts';
import type { Unstorable, Mending, Repair, RepairWork } from '../destinations/destination.ts';
import type { Refusal } from './isolation.ts';
import { cutSpans } from '../otlp/wire.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import type { SpanRef } from './span-copies.ts';

/** A record in the window, until all of its spans are settled. */
export type HeldRecord<H> = {
  readonly handle: H;
  readonly sender: string;
  readonly payload: Uint8Array;
  readonly spans: readonly SpanSlice[];
  /** Bytes of the payload that are not spans: resources, scopes, framing. */
  readonly envelope: number;
  /** Its place in the order of arrival. */
  readonly order: number;
  /** Spans that are not settled. */
  open: number;
  /** Of how many traces it has spans. */
  pieces: number;
  /** What it weighs in the window. */
  weight: number;
  /** Copies that wait for what becomes of a span of it, by the position of that. */
  others: Map<number, SpanRef<H>[]> | undefined;
  /** Where its spans end, once that was asked. */
  ends: Uint32Array | undefined;
};

/** Spans of a record as they came; the record itself where that is all of them: no copy, not a byte changed. */
export function cutOf(held: HeldRecord<unknown>, spanIndexes: readonly number[]): Uint8Array {
  if (spanIndexes.length === held.spans.length) return held.payload;
  const keep = new Uint8Array(held.spans.length);
  for (const spanIndex of spanIndexes) keep[spanIndex] = 1;
  return cutSpans(held.payload, (spanIndex) => keep[spanIndex] === 1);
}

export type RepairSpans = (payload: Uint8Array, work: RepairWork, mending: Mending) => Repair | undefined;

/** What the destination mends in a part each time it is sent, and since when it is known to be wrong. */
type Mender = { readonly repair: RepairSpans; readonly mending: Mending; readonly refusal: Refusal };

/** What it has done to spans, by position in the payload. */
type Mended = Omit<Repair, 'payload'>;

/**
 * Spans of one record: an ExportTraceServiceRequest by itself. It has no bytes of its own: they are made when it is sent,
 * since many parts of one record may wait, each with all that is around its spans.
 */
export class Part<H> {
  readonly held: HeldRecord<H>;
  /** Their positions in the record, ascending. */
  readonly spanIndexes: readonly number[];
  readonly #mender: Mender | undefined;
  #mended: Mended | undefined;

  constructor(held: HeldRecord<H>, spanIndexes: readonly number[], mender?: Mender, mended?: Mended) {
    this.held = held;
    this.spanIndexes = spanIndexes;
    this.#mender = mender;
    this.#mended = mended;
  }

  /** What the destination has done to spans, by position in the payload; undefined: they are as they came. */
  get mended(): ReadonlyMap<number, string> | undefined {
    return this.#mended?.spans;
  }

  /** See `Repair.shared`. */
  get shared(): ReadonlyMap<number, string> | undefined {
    return this.#mended?.shared;
  }

  /** What is looked for in it, and for which answer; undefined: nothing. */
  get mender(): Omit<Mender, 'repair'> | undefined {
    return this.#mender;
  }

  /** What is sent, made anew each time. */
  get payload(): Uint8Array {
    return this.toSend({ left: MOST_REPAIR_WORK });
  }

  /** The same, with so much work at most to mend it. */
  toSend(work: RepairWork): Uint8Array {
    const cut = cutOf(this.held, this.spanIndexes);
    const repaired = this.#repaired(cut, work);
    this.#mended = repaired;
    return repaired?.payload ?? cut;
  }

  /** A bug in it must cost no span: these go as they came then. */
  #repaired(cut: Uint8Array, work: RepairWork): Repair | undefined {
    try {
      return this.#mender?.repair(cut, work, this.#mender.mending);
    } catch {
      return undefined;
    }
  }

  /**
   * The same spans, mended; undefined where nothing in them is known to be wrong that was not mended before.
   * @param refusal what text it says that it cannot hold is taken out, and what was before
   */
  mend(repair: RepairSpans, work: RepairWork, refusal: Refusal): Part<H> | undefined {
    const unstorable = new Set(this.#mender?.mending.unstorable);
    if (refusal.unstorable !== undefined) unstorable.add(refusal.unstorable);
    const mending = { unstorable };
    const mended = repair(cutOf(this.held, this.spanIndexes), work, mending);
    if (mended === undefined || isSame(mended.spans, this.mended)) return undefined;
    return new Part(this.held, this.spanIndexes, { repair, mending, refusal }, mended);
  }

  /** The same spans, in which only what is around them is mended. */
  mendAround(repair: RepairSpans, unstorable: ReadonlySet<Unstorable>, refusal: Refusal): Part<H> {
    const mending = { unstorable, aroundOnly: true } as const;
    return new Part(this.held, this.spanIndexes, { repair, mending, refusal });
  }

  /** Some of the spans, by ascending position. */
  pick(chosen: readonly number[]): Part<H> {
    const spanIndexes = chosen.map((position) => this.spanIndexes[position] as number);
    const spans = picked(this.mended, chosen);
    return spans.size === 0
      ? new Part(this.held, spanIndexes)
      : new Part(this.held, spanIndexes, this.#mender, { spans, shared: picked(this.shared, chosen) });
  }
}

function picked(
  byPosition: ReadonlyMap<number, string> | undefined,
  chosen: readonly number[],
): Map<number, string> {
  const found = chosen.flatMap((from, to) => {
    const what = byPosition?.get(from);
    return what === undefined ? [] : [[to, what] as const];
  });
  return new Map(found);
}

function isSame(one: ReadonlyMap<number, string>, other: ReadonlyMap<number, string> | undefined): boolean {
  return one.size === other?.size && [...one].every(([position, words]) => other.get(position) === words);
}
