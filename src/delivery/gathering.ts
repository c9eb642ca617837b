import type { ResolvedTarget } from '../destinations/destination.ts';
import type { TraceId } from '../otlp/record.ts';
import type { Piece } from './batch.ts';
import type { Link, LinkedList } from './linked-list.ts';
import type { HeldRecord } from './part.ts';

/** The spans of one trace for one target that have not gone yet. */
export type Gathering<H> = {
  readonly traceId: TraceId;
  readonly target: ResolvedTarget;
  /** Whose span was the first of them; its turn it is when they go. */
  readonly sender: string;
  /** The key of the gatherings that it is one of. */
  readonly group: string;
  readonly firstReceivedAt: number;
  readonly pieces: LinkedList<Piece<H>>;
  spans: number;
  bytes: number;
  /** waiting for its root; ready; or ready and held back, because the trace is in a batch. */
  place: 'waiting' | 'ready' | 'parked';
  /** Its place among the waiting. */
  link: Link<Gathering<H>> | undefined;
};

/** What spans of a record have in common. */
export type Arrival<H> = {
  readonly group: string;
  readonly target: ResolvedTarget;
  readonly held: HeldRecord<H>;
  readonly receivedAt: number;
};
