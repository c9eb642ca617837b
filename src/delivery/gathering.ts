import type { ResolvedTarget } from '../destinations/destination.ts';
import type { TraceId } from '../otlp/record.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import type { BatchDraft, Piece } from './batch.ts';
import { LinkedList } from './linked-list.ts';
import type { Link } from './linked-list.ts';
import type { HeldRecord } from './part.ts';
import { haveSameId, sliceOf, spanIdOf } from './span-copies.ts';
import type { SpanId, SpanRef } from './span-copies.ts';

/** Of so many spans each is looked at to find one by its id; for more there is a map. */
const FEW = 16;

/** Where a span is. */
type Place<H> = { readonly link: Link<Piece<H>>; readonly spanIndex: number };

/** What spans of a record have in common while they are gathered. */
export type Arrival<H> = {
  /** The key of the gatherings that they go into. */
  readonly group: string;
  /** Of those of their sender alone. */
  readonly ownGroup: string;
  readonly target: ResolvedTarget;
  readonly held: HeldRecord<H>;
  readonly receivedAt: number;
  /** What is here of the trace of the span that was gathered last: its neighbours mostly are of the same. */
  trace: TraceHere<H> | undefined;
};

/** What is here of a trace for a target. */
export type TraceHere<H> = {
  readonly traceId: TraceId;
  readonly isOut: boolean;
  /** Where spans of all senders are gathered, and of this sender alone. */
  shared: Gathering<H> | undefined;
  own: Gathering<H> | undefined;
};

/** The spans of one trace for one target that have not gone yet, each in one copy. */
export class Gathering<H> {
  readonly traceId: TraceId;
  readonly target: ResolvedTarget;
  /** Whose span was the first of them; its turn it is when they go. */
  readonly sender: string;
  /** The key of the gatherings that it is one of. */
  readonly group: string;
  readonly firstReceivedAt: number;
  readonly pieces = new LinkedList<Piece<H>>();
  spans = 0;
  bytes = 0;
  /** waiting for its root; ready; or ready and held back, because the trace is in a batch. */
  place: 'waiting' | 'ready' | 'parked' = 'waiting';
  /** Its place among the waiting. */
  link: Link<Gathering<H>> | undefined;
  /** Undefined while they are few. */
  #byId: Map<SpanId, Place<H>> | undefined;

  constructor(traceId: TraceId, group: string, { target, held, receivedAt }: Arrival<H>) {
    this.traceId = traceId;
    this.target = target;
    this.sender = held.sender;
    this.group = group;
    this.firstReceivedAt = receivedAt;
  }

  add(held: HeldRecord<H>, spanIndex: number, span: SpanSlice): void {
    let link = this.pieces.last;
    if (link?.value.held === held) {
      link.value.spanIndexes.push(spanIndex);
    } else {
      link = this.pieces.push({ held, spanIndexes: [spanIndex], from: 0 });
      held.pieces++;
    }
    this.spans++;
    this.bytes += span.bytes;
    if (this.#byId !== undefined) this.#byId.set(spanIdOf(span), { link, spanIndex });
    else if (this.spans > FEW) this.#byId = this.#index();
  }

  /** The span with the id of this one. */
  find(span: SpanSlice): SpanRef<H> | undefined {
    const place = this.#placeOf(span);
    return place && { held: place.link.value.held, spanIndex: place.spanIndex };
  }

  /** Takes the place of a span with the same id. */
  replace(old: SpanRef<H>, { held, spanIndex }: SpanRef<H>): void {
    const oldSpan = sliceOf(old);
    const { link } = this.#placeOf(oldSpan)!;
    this.add(held, spanIndex, held.spans[spanIndex] as SpanSlice);
    const { spanIndexes, from } = link.value;
    spanIndexes.splice(spanIndexes.indexOf(old.spanIndex, from), 1);
    if (spanIndexes.length === from) this.pieces.remove(link);
    this.spans--;
    this.bytes -= oldSpan.bytes;
  }

  /** Moves so many spans into a batch, in their order. */
  moveTo(draft: BatchDraft<H>, count: number): void {
    if (this.#byId !== undefined && count < this.spans) this.#forget(this.#byId, count);
    this.bytes -= draft.move(this.traceId, this.pieces, count);
    this.spans -= count;
  }

  #placeOf(span: SpanSlice): Place<H> | undefined {
    if (this.#byId !== undefined) return this.#byId.get(spanIdOf(span));
    for (let link = this.pieces.first; link !== undefined; link = link.after) {
      const spanIndex = findIn(link.value, span);
      if (spanIndex !== undefined) return { link, spanIndex };
    }
    return undefined;
  }

  #index(): Map<SpanId, Place<H>> {
    const byId = new Map<SpanId, Place<H>>();
    for (let link = this.pieces.first; link !== undefined; link = link.after) {
      const { held, spanIndexes, from } = link.value;
      for (let at = from; at < spanIndexes.length; at++) {
        const spanIndex = spanIndexes[at] as number;
        byId.set(spanIdOf(held.spans[spanIndex] as SpanSlice), { link, spanIndex });
      }
    }
    return byId;
  }

  #forget(byId: Map<SpanId, Place<H>>, count: number): void {
    let left = count;
    for (let link = this.pieces.first; link !== undefined && left > 0; link = link.after) {
      const { held, spanIndexes, from } = link.value;
      for (let at = from; at < spanIndexes.length && left > 0; at++, left--)
        byId.delete(spanIdOf(held.spans[spanIndexes[at] as number] as SpanSlice));
    }
  }
}

function findIn({ held, spanIndexes, from }: Piece<unknown>, span: SpanSlice): number | undefined {
  for (let at = from; at < spanIndexes.length; at++) {
    const spanIndex = spanIndexes[at] as number;
    if (haveSameId(held.spans[spanIndex] as SpanSlice, span)) return spanIndex;
  }
  return undefined;
}
