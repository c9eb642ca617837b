import type { TraceRecord } from '../otlp/record.ts';

/**
 * The hinge between receiver and delivery: what `append` has answered with `stored` is on stable storage
 * and reaches every destination of its route, across crashes, at least once.
 */
export interface Queue {
  /**
   * Resolves after the fdatasync that covers the records; one append is all or nothing.
   * `full`: nothing was taken, the size limit is reached. `over_share`: nothing was taken, the queue is nearly full
   * and the sender has its fair share of it. `sender_held`: nothing was taken, the sender has too many dead letters.
   * `sender_searched`: nothing was taken, too much of the sender is looked through for spans that a destination refuses.
   * `failed`: nothing was taken, the disk does not take writes. A record may
   * still come to a reader after `failed`: it was never promised. All records of one append are of one sender.
   */
  append(records: readonly TraceRecord[]): Promise<AppendOutcome>;
  /** The one reader of a destination; continues after the last settled record. */
  reader(destination: string): QueueReader;
  status(): QueueStatus;
  /** Ends the readers, waits for appends under way, saves positions, releases the lock. */
  close(): Promise<void>;
}

export type AppendOutcome = 'stored' | 'full' | 'over_share' | 'sender_held' | 'sender_searched' | 'failed';

export interface QueueReader {
  /** The next synced record for this destination; `undefined` at the end of what is synced. */
  next(): Promise<Lease | undefined>;
  /**
   * As much was handed out beyond the saved position as a crash may bring again: `next` should not be called until
   * more is settled. A single frame may go over.
   */
  readonly isHeldBack: boolean;
  /** Held back, and the position is saved: only by settling the oldest records it goes on. */
  readonly isStuck: boolean;
  /**
   * Set where the oldest records take long for a reason of their own: more may be handed out behind them then, so that
   * they do not hold up what comes after them, and more comes again after a crash.
   */
  isPatient: boolean;
  /** Whether there are records of others than this sender in the segments that are not read to their end. */
  hasOthers(sender: string): boolean;
  /** Senders of which so much is looked through for this destination that the queue takes nothing new from them. */
  heldSenders: ReadonlySet<string>;
  /**
   * Resolves when `next` may have something new, or may be called again after having been held back; also when the
   * queue closes, or the signal aborts.
   */
  waitForMore(signal?: AbortSignal): Promise<void>;
}

/** A record on loan. What is not done comes again after a restart; what is done may, after a crash. */
export type Lease = {
  readonly record: TraceRecord;
  /** Those of its spans that had left it before the relay was started: they are not to be sent again. */
  readonly left: SomeSpans | undefined;
  /** These of its spans, by their position in wire order, wait no more. Told as it happens. */
  done(spanIndexes: readonly number[]): void;
  /** What a dead letter of these of its spans has, and by default of all that had not left. */
  leave(spanIndexes?: readonly number[]): Leaving;
  /** To be called once, when every span of the record is delivered, dead-lettered or rejected upstream. */
  settle(): void;
  /**
   * The record was in hand at two unclean ends of the relay, with no clean one in between: whoever looks into it may end it a third time. Its
   * bytes may be kept.
   */
  readonly isSuspect: boolean;
  /**
   * To be called right before the record is worked on; of a destination one at a time. If the process dies before
   * `outOfHand`, this record was in hand at its end. Takes microseconds, and never throws.
   */
  inHand(): void;
  /** The work on the record is over for now. */
  outOfHand(): void;
  /**
   * Reads the record again, for whoever has let go of it to save memory. Undefined: its bytes are damaged by now, which
   * is told, and it counts as settled. Rejects if the disk cannot be read.
   */
  again(): Promise<Lease | undefined>;
};

export type QueueStatus = {
  /** False while the disk does not take writes. */
  readonly canAppend: boolean;
  /** Why nothing is taken, or not from everybody. */
  readonly reason: string | undefined;
  readonly bytes: number;
  readonly maxBytes: number;
  readonly segments: number;
  /** By destination. */
  readonly destinations: Readonly<
    Record<
      string,
      {
        readonly waitingSpans: number;
        /** Found waiting when the queue was opened. */
        readonly recoveredSpans: number;
        /** Milliseconds since the epoch of the oldest record that is not settled. */
        readonly oldestReceivedAt: number | undefined;
      }
    >
  >;
  /** Spans that are kept for destinations which are not in the configuration, by destination. */
  readonly unconfigured: Readonly<Record<string, number>>;
  /** Senders with so many dead letters, or spans that are looked through, that nothing new is taken from them. */
  readonly heldSenders: readonly string[];
};

/** Spans that a destination will never take, kept for a person to look at. */
export interface DeadLetters {
  /** Resolves when the letters are on stable storage; rejects when the disk fails. */
  append(letters: readonly DeadLetter[]): Promise<void>;
  status(): {
    /** By destination. */
    readonly spans: Readonly<Record<string, number>>;
    readonly bytes: number;
    readonly maxBytes: number;
    /** Of letters whose spans were delivered repaired; beyond their most the oldest go. */
    readonly originalBytes: number;
    readonly maxOriginalBytes: number;
  };
  close(): Promise<void>;
}

export type DeadLetter = {
  /** A UUID, which names it for good: an append that is tried again has the same. */
  readonly id: string;
  /** ExportTraceServiceRequest bytes, as they came. */
  readonly payload: Uint8Array;
  readonly spanCount: number;
  readonly destination: string;
  /** What they were sent to, as people know it. */
  readonly target: string;
  readonly sender: string;
  readonly route: RouteOf;
  readonly receivedAt: number;
  readonly refusedAt: number;
  readonly attempts: number;
  /** Of the answer; undefined where there was none. */
  readonly status: number | undefined;
  /** The upstream's words. */
  readonly reason: string;
  /** What was cut or left out of the span that was delivered in place of this one; undefined if none was. */
  readonly repaired: string | undefined;
  /** The upstream took their whole trace no more, whatever was in them: it counts for no quota of the sender. */
  readonly isOfTrace?: true;
  /** So that the letter itself tells the next start what has left with it; a previous release wrote none. */
  readonly origins?: readonly SpanOrigin[];
  /** To be called as soon as it is on stable storage. */
  readonly onKept?: () => void;
};

/** Some spans of a record, by their position in wire order. */
export type SomeSpans = Iterable<number> & { readonly size: number; has(spanIndex: number): boolean };

/** What leaves with a dead letter. */
export type Leaving = Required<Pick<DeadLetter, 'origins' | 'onKept'>>;

/** Where spans of one record stand in the queue. */
export type SpanOrigin = {
  /** Of the record: its segment, with what tells it from others of the same number, its frame, its index in the frame. */
  readonly segment: number;
  readonly salt: number;
  readonly offset: number;
  readonly index: number;
  /** How many spans the record has. */
  readonly of: number;
  /** Which of them, as the runs of a `SpanSet`. */
  readonly spans: readonly number[];
};

type RouteOf = TraceRecord['route'];
