import type { ResolvedTarget, SendOutcome } from '../destinations/destination.ts';
import type { Batch } from './batch.ts';
import { halve } from './divide.ts';

/** `status` is undefined where the answer that it follows from had none. */
export type Refusal = Omit<Extract<SendOutcome, { kind: 'refused' }>, 'status'> & {
  readonly status: number | undefined;
};
export type Delivered = Extract<SendOutcome, { kind: 'delivered' }>;

/** What has been seen of a target so far. Requests are numbered in the order in which they begin, from 1. */
export type Seen = {
  /** The last that has begun. */
  readonly begun: number;
  /** The last of those with spans that it took; 0 without. */
  readonly delivered: number;
  /** The last of these and of probes that it took; 0 without. */
  readonly accepted: number;
};

/** A piece of a refused batch, and in how many requests its spans were. */
export type Piece<H> = { readonly batch: Batch<H>; readonly attempts: number };

export type Step<H> =
  | { readonly kind: 'send'; readonly piece: Piece<H> }
  /** Whether the target takes anything at all has to be known first. */
  | { readonly kind: 'probe'; readonly target: ResolvedTarget };

/** What is known of spans now. */
export type Verdict<H> =
  | { readonly kind: 'delivered'; readonly piece: Piece<H>; readonly outcome: Delivered }
  /** These are to blame, or taken for it. */
  | { readonly kind: 'guilty'; readonly spans: readonly Guilty<H>[] };

/** A single span; or, where a search was given up, a piece of several. */
export type Guilty<H> = { readonly piece: Piece<H>; readonly refusal: Refusal };

/**
 * Bytes around the spans of a record from which on its guilty spans are told together: each would be kept with a copy of
 * them.
 */
const LARGE_ENVELOPE = 16 * 1024;

/** Pieces that are told together where a search is given up: making letters of them holds the event loop. */
const TOLD_TOGETHER = 64;

/** How long a span waits that was refused alone and is not known to be guilty, until it is sent again all the same. */
const AGAIN = { leastMs: 1_000, mostMs: 60_000 } as const;

/** A single span that was refused, so many times, and what had been seen at first. */
type Suspect<H> = {
  readonly piece: Piece<H>;
  readonly refusal: Refusal;
  readonly seen: Seen;
  readonly times: number;
  readonly againAt: number;
};

/**
 * Finds the spans of a refused batch that are to blame, and delivers the others: halves it by trace, then by span.
 * One bad span costs two requests a level, so 2·(⌈log2 traces⌉ + ⌈log2 spans of its trace⌉) at most.
 *
 * What refuses everything says nothing about spans. So a single span is to blame
 * - for a refusal that is given for nothing else, if the target has taken something, be it a probe, between the refusal
 *   of the batch and that of the span alone;
 * - for a doubtful one, if it was refused alone, twice, and the target took other spans in between. Where none come by
 *   themselves, the piece that was delivered last is sent once more: MLflow stores a span once, however often it comes.
 * In between is what began after the one refusal: what was taken before a fault says nothing of the time after. A span
 * that is not known to be guilty goes again from time to time: the fault may be over, and nothing else may come.
 *
 * Pure: what to send next is asked, what came of it is told. Times are ms of one clock.
 */
export class Isolation<H> {
  /** Of the whole batch. */
  readonly refusal: Refusal;
  readonly #canProbe: boolean;
  readonly #before: Seen;
  /** Smaller pieces are behind larger ones. */
  readonly #pending: Piece<H>[] = [];
  /**
   * Which end of the pending goes next. From the back a bad span is found soon, from the front a good half. After a
   * refusal the ends take turns, so that many bad spans do not look like a target that refuses everything.
   */
  #isFromFront = false;
  #suspects: Suspect<H>[] = [];
  /** Pieces of which the outcome is not known. */
  readonly #out = new Set<Batch<H>>();
  /** Told at the end. */
  readonly #guilty: Guilty<H>[] = [];
  /** Delivered last, and not given back yet, so that its traces are in nobody else's request. */
  #control: { readonly piece: Piece<H>; readonly outcome: Delivered } | undefined;

  /** @param seen when the batch was refused */
  constructor(refusal: Refusal, seen: Seen, canProbe: boolean) {
    this.refusal = refusal;
    this.#before = seen;
    this.#canProbe = canProbe;
  }

  /** To be sent. */
  add(piece: Piece<H>): void {
    this.#pending.push(piece);
  }

  get isDone(): boolean {
    return this.#pending.length === 0 && this.#suspects.length === 0 && this.#out.size === 0;
  }

  /** What was kept back, once all is known. */
  end(): Verdict<H>[] {
    if (!this.isDone) return [];
    const verdicts: Verdict<H>[] = [];
    if (this.#guilty.length > 0) verdicts.push({ kind: 'guilty', spans: this.#guilty.splice(0) });
    if (this.#control !== undefined) verdicts.push({ kind: 'delivered', ...this.#control });
    this.#control = undefined;
    return verdicts;
  }

  /**
   * Undefined while an answer is awaited, or other requests to the target have to tell first how it is.
   * @param isFree whether none of its traces is on its way
   */
  next(now: number, seen: Seen, isFree: (batch: Batch<H>) => boolean): Step<H> | undefined {
    if (this.#out.size > 0) return undefined;
    const told = this.#suspects.find((suspect) => isTold(suspect.refusal, suspect.seen, seen));
    if (told !== undefined) return this.#send(told.piece, isFree);
    if (this.#pending.length > 0) {
      const at = this.#isFromFront ? 0 : this.#pending.length - 1;
      const step = this.#send(this.#pending[at] as Piece<H>, isFree);
      if (step !== undefined) this.#pending.splice(at, 1);
      return step;
    }
    const definite = this.#suspects.find(({ refusal }) => refusal.doubtful !== true);
    if (definite !== undefined) return { kind: 'probe', target: definite.piece.batch.target };
    if (this.#suspects.length === 0) return undefined;
    if (this.#control !== undefined) return this.#send(this.#control.piece, isFree);
    const again = this.#suspects.find(({ piece, againAt }) => againAt <= now && isFree(piece.batch));
    return again && this.#send(again.piece, isFree);
  }

  /** All that is not on its way is taken for guilty: there are too many bad spans to find each. */
  giveUp(): Verdict<H>[] {
    const reason = `${this.refusal.reason}; this was refused with other spans of the same sender, and not by itself: too many of them are refused to try each alone`;
    const untried = this.#pending.splice(0).map((piece) => ({ piece, refusal: { ...this.refusal, reason } }));
    const waiting = this.#suspects.filter(({ piece }) => !this.#out.has(piece.batch));
    this.#suspects = this.#suspects.filter(({ piece }) => this.#out.has(piece.batch));
    const spans = [...untried, ...waiting.map(({ piece, refusal }) => ({ piece, refusal }))];
    const verdicts: Verdict<H>[] = [];
    while (spans.length > 0) verdicts.push({ kind: 'guilty', spans: spans.splice(0, TOLD_TOGETHER) });
    return verdicts;
  }

  /** When it has something to send by waiting alone; undefined if there is nothing to wait for. @param isFree as of `next` */
  nextAt(isFree: (batch: Batch<H>) => boolean): number | undefined {
    if (this.#out.size > 0 || this.#pending.length > 0 || this.#control !== undefined) return undefined;
    const times = this.#suspects.filter(({ piece }) => isFree(piece.batch)).map(({ againAt }) => againAt);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  delivered(piece: Piece<H>, outcome: Delivered): Verdict<H>[] {
    this.#out.delete(piece.batch);
    this.#isFromFront = false;
    this.#suspects = this.#suspects.filter((suspect) => suspect.piece.batch !== piece.batch);
    const before = this.#control;
    this.#control = { piece, outcome };
    return before === undefined || before.piece.batch === piece.batch
      ? []
      : [{ kind: 'delivered', ...before }];
  }

  /** @param about.mended the same spans, mended, which are sent in its place */
  refused(
    piece: Piece<H>,
    refusal: Refusal,
    { now, seen, mended }: { now: number; seen: Seen; mended?: Batch<H> | undefined },
  ): Verdict<H>[] {
    const { batch, attempts } = piece;
    this.#out.delete(batch);
    this.#isFromFront = mended === undefined && !this.#isFromFront;
    const control = this.#takeControl(batch);
    if (control !== undefined) return [control];
    if (mended !== undefined) {
      this.#suspects = this.#suspects.filter((suspect) => suspect.piece.batch !== batch);
      this.add({ batch: mended, attempts });
      return [];
    }
    const halves = halve(batch);
    if (halves !== undefined) {
      this.#pending.push(...halves.map((half) => ({ batch: half, attempts })).toReversed());
      return [];
    }
    const earlier = this.#suspects.find((suspect) => suspect.piece.batch === batch);
    this.#suspects = this.#suspects.filter((suspect) => suspect !== earlier);
    const first = refusal.doubtful === true ? earlier?.seen : this.#before;
    const isGuilty =
      (refusal.doubtful !== true && !this.#canProbe) || (first !== undefined && isTold(refusal, first, seen));
    if (!isGuilty) {
      const times = (earlier?.times ?? 0) + 1;
      const againAt = now + Math.min(AGAIN.mostMs, AGAIN.leastMs * 2 ** Math.min(times - 1, 10));
      this.#suspects.push({ piece, refusal, seen: earlier?.seen ?? seen, times, againAt });
      return [];
    }
    if (!isLargeAround(batch)) return [{ kind: 'guilty', spans: [{ piece, refusal }] }];
    this.#guilty.push({ piece, refusal });
    return [];
  }

  /**
   * It is refused for what is not in its spans, and leaves the search.
   * @returns what is known of it, if it was taken before; else the caller sees to it
   */
  leave(batch: Batch<H>): Verdict<H> | undefined {
    this.#out.delete(batch);
    this.#suspects = this.#suspects.filter((suspect) => suspect.piece.batch !== batch);
    return this.#takeControl(batch);
  }

  /** It goes in smaller pieces, which the caller sends. */
  divided(piece: Piece<H>, into: readonly Batch<H>[]): void {
    this.#out.delete(piece.batch);
    if (piece.batch === this.#control?.piece.batch) this.#control = undefined;
    for (const batch of into) this.#out.add(batch);
  }

  /** It is refused now, but was taken before: no span of it is to blame, and it is of no use any more. */
  #takeControl(batch: Batch<H>): Verdict<H> | undefined {
    const control = this.#control;
    if (batch !== control?.piece.batch) return undefined;
    this.#control = undefined;
    return { kind: 'delivered', ...control };
  }

  #send(piece: Piece<H>, isFree: (batch: Batch<H>) => boolean): Step<H> | undefined {
    if (!isFree(piece.batch)) return undefined;
    this.#out.add(piece.batch);
    return { kind: 'send', piece };
  }
}

/** Whether letters of its spans are to be few. */
export function isLargeAround({ parts }: Batch<unknown>): boolean {
  return parts.some(({ held }) => held.envelope >= LARGE_ENVELOPE);
}

/** Whether the target has taken what tells such a refusal from a fault of its own. */
function isTold(refusal: Refusal, before: Seen, now: Seen): boolean {
  return (refusal.doubtful === true ? now.delivered : now.accepted) > before.begun;
}
