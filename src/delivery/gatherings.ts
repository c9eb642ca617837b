import type { ResolvedTarget } from '../destinations/destination.ts';
import type { TraceId } from '../otlp/record.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import { Gathering } from './gathering.ts';
import type { Arrival, TraceHere } from './gathering.ts';
import type { LinkedList } from './linked-list.ts';
import type { OutTraces } from './out-traces.ts';
import type { HeldRecord } from './part.ts';
import type { ReadyTraces } from './ready-traces.ts';
import { sliceOf, succession, supersede, takeOthers, wins } from './span-copies.ts';
import type { SpanRef } from './span-copies.ts';

type Deps<H> = {
  readonly waiting: LinkedList<Gathering<H>>;
  readonly ready: ReadyTraces<Gathering<H>>;
  readonly out: OutTraces<Gathering<H>, H>;
};

/**
 * The spans that have not gone yet, by trace. Of the copies of a span one is gathered, or is out, and the others wait for
 * what becomes of it. A sender's spans are never copies of another's: these go one after the other, in different requests.
 */
export class Gatherings<H> {
  readonly #deps: Deps<H>;
  /**
   * By target, and trace. What a sender sends while it is apart is gathered by itself, and a span with the id of one that
   * another sender has sent.
   */
  readonly #groups = new Map<string, Map<TraceId, Gathering<H>>>();

  constructor(deps: Deps<H>) {
    this.#deps = deps;
  }

  arrivalOf(target: ResolvedTarget, held: HeldRecord<H>, receivedAt: number): Arrival<H> {
    const ownGroup = `${target.key} ${held.sender}`;
    const group = this.#deps.ready.apart.has(held.sender) ? ownGroup : target.key;
    return { group, ownGroup, target, held, receivedAt, trace: undefined };
  }

  /**
   * Gathers a span with others of its trace, in one copy. A copy of it that is out has to be settled first.
   * @returns where it waits, or the copy that goes in its place; undefined where that is out
   */
  add(arrival: Arrival<H>, spanIndex: number, span: SpanSlice): Gathering<H> | undefined {
    const { target, held } = arrival;
    const trace = this.#here(arrival, span.traceId);
    const out = trace.isOut ? this.#deps.out.find(span, held.sender, target.key) : undefined;
    if (out !== undefined) {
      supersede(out, { held, spanIndex });
      return undefined;
    }
    const same = trace.shared?.find(span);
    if (same !== undefined && same.held.sender === held.sender) {
      this.#meet(trace.shared!, same, { held, spanIndex });
      return trace.shared;
    }
    const ownSame = trace.own?.find(span);
    if (ownSame !== undefined) {
      this.#meet(trace.own!, ownSame, { held, spanIndex });
      return trace.own;
    }
    const isOwn = same !== undefined || arrival.group === arrival.ownGroup;
    const gathering = isOwn
      ? (trace.own ??= this.#begin(arrival, arrival.ownGroup, span.traceId))
      : (trace.shared ??= this.#begin(arrival, target.key, span.traceId));
    gathering.add(held, spanIndex, span);
    if (gathering.place === 'ready') this.#deps.ready.grew(gathering, 1, span.bytes);
    return gathering;
  }

  #here(arrival: Arrival<H>, traceId: TraceId): TraceHere<H> {
    if (arrival.trace?.traceId === traceId) return arrival.trace;
    arrival.trace = {
      traceId,
      isOut: this.#deps.out.has(traceId),
      shared: this.#groups.get(arrival.target.key)?.get(traceId),
      own: this.#groups.get(arrival.ownGroup)?.get(traceId),
    };
    return arrival.trace;
  }

  #begin(arrival: Arrival<H>, group: string, traceId: TraceId): Gathering<H> {
    let gatherings = this.#groups.get(group);
    if (gatherings === undefined) this.#groups.set(group, (gatherings = new Map()));
    const gathering = new Gathering(traceId, group, arrival);
    gathering.link = this.#deps.waiting.push(gathering);
    gatherings.set(traceId, gathering);
    return gathering;
  }

  /** Of a span that waits and a copy of it that comes, one goes on. */
  #meet(gathering: Gathering<H>, waiting: SpanRef<H>, later: SpanRef<H>): void {
    if (!wins(sliceOf(later), sliceOf(waiting))) {
      supersede(waiting, later);
      return;
    }
    const { bytes } = gathering;
    gathering.replace(waiting, later);
    supersede(later, waiting);
    if (gathering.place === 'ready') this.#deps.ready.grew(gathering, 0, gathering.bytes - bytes);
  }

  /**
   * A span has left, and of its copies one may go next.
   * @returns where that waits, and those that are settled with the span
   */
  succeed(
    left: SpanRef<H>,
    target: ResolvedTarget,
    wasDelivered: boolean,
    now: number,
  ): { readonly next: Gathering<H> | undefined; readonly superseded: readonly SpanRef<H>[] } {
    const others = takeOthers(left);
    if (others === undefined) return { next: undefined, superseded: [] };
    const { next, superseded } = succession(left, others, wasDelivered);
    if (next === undefined) return { next, superseded };
    const arrival = this.arrivalOf(target, next.held, now);
    return { next: this.add(arrival, next.spanIndex, sliceOf(next)), superseded };
  }

  /** All of it has gone. */
  remove({ group, traceId }: Gathering<H>): void {
    const gatherings = this.#groups.get(group);
    gatherings?.delete(traceId);
    if (gatherings?.size === 0) this.#groups.delete(group);
  }
}
