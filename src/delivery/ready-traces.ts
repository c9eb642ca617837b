import type { ResolvedTarget } from '../destinations/destination.ts';
import type { BatchLimits } from './batch.ts';
import { SenderTurns } from './sender-turns.ts';

/** Spans that are ready to go: those of one trace for one target, which count for one sender. */
export type ReadyTrace = {
  readonly target: ResolvedTarget;
  readonly sender: string;
  readonly spans: number;
  readonly bytes: number;
};

type Amount = { spans: number; bytes: number };

/**
 * Ready traces by target and sender. Targets take turns, and at a target senders do, by bytes that were sent. What is
 * ready of a sender that is apart goes only when it is asked for by name.
 */
export class ReadyTraces<T extends ReadyTrace> {
  /** Targets with a ready trace; the first has the next turn. */
  readonly #targets = new Map<string, { readonly target: ResolvedTarget; readonly turns: SenderTurns<T> }>();
  readonly #bySender = new Map<string, Amount>();
  readonly #apart = new Set<string>();
  /** What is ready of senders that are not apart. */
  readonly #sum: Amount = { spans: 0, bytes: 0 };

  /** Whether there is a whole request's worth of senders that are not apart. */
  isWorth({ maxBatchSpans, maxBatchSize }: BatchLimits): boolean {
    return this.#sum.spans >= maxBatchSpans || this.#sum.bytes >= maxBatchSize;
  }

  get apart(): ReadonlySet<string> {
    return this.#apart;
  }

  setApart(sender: string, isApart: boolean): void {
    if (this.#apart.has(sender) === isApart) return;
    if (isApart) this.#apart.add(sender);
    else this.#apart.delete(sender);
    for (const { turns } of this.#targets.values()) turns.endTurn();
    const { spans, bytes } = this.#bySender.get(sender) ?? { spans: 0, bytes: 0 };
    const sign = isApart ? -1 : 1;
    this.#sum.spans += sign * spans;
    this.#sum.bytes += sign * bytes;
  }

  add(trace: T): void {
    const { target, sender, spans, bytes } = trace;
    let line = this.#targets.get(target.key);
    if (line === undefined) this.#targets.set(target.key, (line = { target, turns: new SenderTurns() }));
    line.turns.push(sender, trace);
    this.#count(sender, spans, bytes);
  }

  /** A trace that is ready has got so many spans and bytes more. */
  grew({ sender }: T, spans: number, bytes: number): void {
    this.#count(sender, spans, bytes);
  }

  /** The targets that have something to send, by their turns. @param only this sender, which is apart */
  *targets(only: string | undefined): Iterable<ResolvedTarget> {
    for (const { target } of this.#targets.values()) {
      if (this.first(target, only) !== undefined) yield target;
    }
  }

  /** What goes next to the target. */
  first(target: ResolvedTarget, only: string | undefined): T | undefined {
    return this.#lineOf(target, only)?.items.first?.value;
  }

  /** Removes what `first` gives. */
  take(target: ResolvedTarget, only: string | undefined): void {
    const line = this.#lineOf(target, only);
    const trace = line && this.#targets.get(target.key)?.turns.shift(line);
    if (trace !== undefined) this.#count(trace.sender, -trace.spans, -trace.bytes);
  }

  /** So many bytes are sent of this sender. */
  sent(target: ResolvedTarget, sender: string, bytes: number): void {
    this.#targets.get(target.key)?.turns.sent(sender, bytes);
  }

  /** Others have the next turn. */
  endTurn(target: ResolvedTarget): void {
    const line = this.#targets.get(target.key);
    this.#targets.delete(target.key);
    if (line !== undefined && !line.turns.isEmpty) this.#targets.set(target.key, line);
  }

  #lineOf(target: ResolvedTarget, only: string | undefined) {
    const turns = this.#targets.get(target.key)?.turns;
    return only === undefined ? turns?.next((sender) => !this.#apart.has(sender)) : turns?.lineOf(only);
  }

  #count(sender: string, spans: number, bytes: number): void {
    const amount = this.#bySender.get(sender) ?? { spans: 0, bytes: 0 };
    amount.spans += spans;
    amount.bytes += bytes;
    if (amount.spans === 0) this.#bySender.delete(sender);
    else this.#bySender.set(sender, amount);
    if (this.#apart.has(sender)) return;
    this.#sum.spans += spans;
    this.#sum.bytes += bytes;
  }
}
