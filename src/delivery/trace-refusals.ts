import type { SendOutcome } from '../destinations/destination.ts';
import type { Lease } from '../queue/queue.ts';
import type { TraceId } from '../otlp/record.ts';
import { sendersOf } from './batch.ts';
import type { Batch } from './batch.ts';
import { divide, halveByTrace } from './divide.ts';
import { isLargeAround } from './isolation.ts';
import type { Guilty } from './isolation.ts';
import type { Outbox } from './outbox.ts';
import type { Consignment } from './retry-line.ts';
import type { Settlement } from './settlement.ts';
import { TraceSieve } from './trace-sieve.ts';

/** A refusal of whole traces, whatever is in their spans. */
export type TraceRefusal = Extract<SendOutcome, { kind: 'refused' }> & {
  readonly traces: readonly TraceId[];
};

export function isTraceRefusal(outcome: SendOutcome): outcome is TraceRefusal {
  return outcome.kind === 'refused' && outcome.traces !== undefined;
}

type Deps = {
  readonly outbox: Pick<Outbox, 'part'>;
  readonly settlement: Pick<Settlement, 'guilty'>;
};

/**
 * What an upstream refuses of whole traces: these become dead letters, and the others of the batch go on at once. It is
 * the fault of no sender, and says nothing of the target: nothing waits for it, and nobody is set apart.
 */
export class TraceRefusals {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** To be told first of every answer: where it is not of whole traces, what the batch was taken from goes on without it. */
  answered(consignment: Consignment, outcome: SendOutcome): void {
    if (!isTraceRefusal(outcome)) this.#leave(consignment, outcome.kind === 'delivered');
  }

  refused(consignment: Consignment, refusal: TraceRefusal): void {
    const { batch, attempts } = consignment;
    const names = new Set(refusal.traces.filter((traceId) => batch.traces.has(traceId)));
    if (names.size === 0) {
      this.#leave(consignment, false);
      this.#search(consignment, refusal);
      return;
    }
    const [named, others] = divide(batch, (traceId) => names.has(traceId));
    const sieve = consignment.sieve ?? this.#begin(consignment, named, others);
    sieve.guilty.push({ piece: { batch: named, attempts }, refusal });
    sieve.named(batch, names);
    this.#goOn(consignment, sieve);
  }

  /** Nothing tells which trace it is: it is looked for by halves. */
  #search(consignment: Consignment, refusal: TraceRefusal): void {
    const { outbox, settlement } = this.#deps;
    const { batch, attempts } = consignment;
    const halves = halveByTrace(batch);
    if (halves === undefined) settlement.guilty([{ piece: { batch, attempts }, refusal }]);
    else outbox.part(halves, consignment);
  }

  /** What others have sent does not wait for more traces of the same senders. */
  #begin(consignment: Consignment, named: Batch<Lease>, rest: Batch<Lease>): TraceSieve<Lease> {
    const senders = sendersOf(named);
    const [mine, others] = divide(rest, (_traceId, sender) => senders.has(sender));
    if (others.spanCount > 0) this.#deps.outbox.part([others], consignment);
    return new TraceSieve(mine);
  }

  #leave(consignment: Consignment, isDelivered: boolean): void {
    const { sieve, batch } = consignment;
    if (sieve === undefined) return;
    sieve.left(batch, isDelivered);
    this.#goOn(consignment, sieve);
  }

  #goOn(consignment: Consignment, sieve: TraceSieve<Lease>): void {
    const { outbox, settlement } = this.#deps;
    consignment.sieve = undefined;
    const next = sieve.next();
    if (next !== undefined) outbox.part([next], consignment, sieve);
    else if (sieve.guilty.length > 0) settlement.guilty(toldTogether(sieve.guilty));
  }
}

/** Each letter has a copy of what is around the spans of its record: where that is large, there is one for all of them. */
function toldTogether(guilty: readonly Guilty<Lease>[]): readonly Guilty<Lease>[] {
  const [first] = guilty;
  if (first === undefined || guilty.length === 1) return guilty;
  const reason = `of ${guilty.length} traces, of one it says: ${first.refusal.reason}`;
  const refusal = { ...first.refusal, reason };
  return guilty.map((one) => (isLargeAround(one.piece.batch) ? { ...one, refusal } : one));
}
