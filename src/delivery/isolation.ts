import type { ResolvedTarget, SendOutcome } from '../destinations/destination.ts';
import type { Batch } from './batch.ts';
import { halve } from './divide.ts';

export type Refusal = Extract<SendOutcome, { kind: 'refused' }>;
export type Delivered = Extract<SendOutcome, { kind: 'delivered' }>;

/** What has been seen of a target so far; counts that only grow. */
export type Seen = {
  /** Requests with spans that it took. */
  readonly deliveries: number;
  /** These, and probes that it took. */
  readonly acceptances: number;
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
  /** This one span is to blame. */
  | { readonly kind: 'guilty'; readonly piece: Piece<H>; readonly refusal: Refusal };

/** A single span that was refused, and what had been seen then. */
type Suspect<H> = { readonly piece: Piece<H>; readonly refusal: Refusal; readonly seen: Seen };

/**
 * Finds the spans of a refused batch that are to blame, and delivers the others: halves it by trace, then by span.
 * One bad span costs two requests a level, so 2·(⌈log2 traces⌉ + ⌈log2 spans of its trace⌉) at most.
 *
 * What refuses everything says nothing about spans. So a single span is to blame
 * - for a refusal that is given for nothing else, if the target has taken something, be it a probe, between the refusal
 *   of the batch and that of the span alone;
 * - for a doubtful one, if it was refused alone, twice, and the target took other spans in between. Where none come by
 *   themselves, the piece that was delivered last is sent once more: MLflow stores a span once, however often it comes.
 *
 * Pure: what to send next is asked, what came of it is told.
 */
export class Isolation<H> {
  /** Of the whole batch. */
  readonly refusal: Refusal;
  readonly #canProbe: boolean;
  readonly #before: Seen;
  /** The last goes first. */
  readonly #pending: Piece<H>[] = [];
  #suspects: Suspect<H>[] = [];
  /** Pieces of which the outcome is not known. */
  readonly #out = new Set<Batch<H>>();
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
    const control = this.isDone ? this.#control : undefined;
    if (control === undefined) return [];
    this.#control = undefined;
    return [{ kind: 'delivered', ...control }];
  }

  /**
   * Undefined while an answer is awaited, or other requests to the target have to tell first how it is.
   * @param isFree whether none of its traces is on its way
   */
  next(seen: Seen, isFree: (batch: Batch<H>) => boolean): Step<H> | undefined {
    if (this.#out.size > 0) return undefined;
    const again = this.#suspects.find((suspect) => isTold(suspect.refusal, suspect.seen, seen));
    const piece = again?.piece ?? this.#pending.at(-1);
    if (piece !== undefined) {
      if (!isFree(piece.batch)) return undefined;
      if (again === undefined) this.#pending.pop();
      return this.#send(piece);
    }
    const definite = this.#suspects.find(({ refusal }) => refusal.doubtful !== true);
    if (definite !== undefined) return { kind: 'probe', target: definite.piece.batch.target };
    if (this.#suspects.length === 0 || this.#control === undefined) return undefined;
    return this.#send(this.#control.piece);
  }

  delivered(piece: Piece<H>, outcome: Delivered): Verdict<H>[] {
    this.#out.delete(piece.batch);
    this.#suspects = this.#suspects.filter((suspect) => suspect.piece.batch !== piece.batch);
    const before = this.#control;
    this.#control = { piece, outcome };
    return before === undefined || before.piece.batch === piece.batch
      ? []
      : [{ kind: 'delivered', ...before }];
  }

  refused(piece: Piece<H>, refusal: Refusal, seen: Seen): Verdict<H>[] {
    const { batch, attempts } = piece;
    this.#out.delete(batch);
    // It was taken before: no span of it is to blame.
    if (batch === this.#control?.piece.batch) return [];
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
    if (isGuilty) return [{ kind: 'guilty', piece, refusal }];
    this.#suspects.push({ piece, refusal, seen });
    return [];
  }

  /** It goes in smaller pieces, which the caller sends. */
  divided(piece: Piece<H>, into: readonly Batch<H>[]): void {
    this.#out.delete(piece.batch);
    for (const batch of into) this.#out.add(batch);
  }

  #send(piece: Piece<H>): Step<H> {
    this.#out.add(piece.batch);
    return { kind: 'send', piece };
  }
}

/** Whether the target has taken what tells such a refusal from a fault of its own. */
function isTold(refusal: Refusal, before: Seen, now: Seen): boolean {
  return refusal.doubtful === true
    ? now.deliveries > before.deliveries
    : now.acceptances > before.acceptances;
}
