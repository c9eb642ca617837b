import type { Batch } from './batch.ts';
import { Allowance } from './allowance.ts';
import type { Isolation, Seen, Step } from './isolation.ts';

/** Finding one bad span among a thousand takes about 20 requests; twice that goes at once, and then so many a second. */
const EXTRA_REQUESTS = { burst: 40, perSecond: 20 } as const;
/** While good batches wait, one request of four is for those that were refused. */
const GOOD_BEFORE_PIECE = 3;
/** How long after its last refused batch a sender is suspected of sending more such, in ms. */
const SUSPECTED_MS = 60_000;

type Suspect<H> = {
  readonly isolations: Set<Isolation<H>>;
  /** When spans of it were refused last, not counting what could be mended. */
  refusedAt: number;
  isProven: boolean;
};

/** The next request: a step of a search, or something else of a sender that is suspected. */
type Next<H, O> = { readonly sender: string } & (
  | { readonly isolation: Isolation<H>; readonly step: Step<H> }
  | { readonly isolation: undefined; readonly other: O }
);

/**
 * Refused batches of which the bad spans are looked for. Each sender with such has a search of its own, with one request
 * under way, and these take turns; of one sender's batches the oldest comes first, so that each ends. However many there
 * are, good traffic goes first: they may take so many requests a second, and leave one of those at once to others.
 * Times are ms of one clock.
 */
export class Isolations<H, O = never> {
  /** The first has the next turn. */
  readonly #suspects = new Map<string, Suspect<H>>();
  readonly #allowance = new Allowance(EXTRA_REQUESTS);
  readonly #underWay = new Set<string>();
  #goodSince = 0;

  /** How many there are of whom. */
  get counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const [sender, { isolations }] of this.#suspects) {
      if (isolations.size > 0) counts.set(sender, isolations.size);
    }
    return counts;
  }

  /** Whether good batches have had their turn. */
  get isTurn(): boolean {
    return this.#goodSince >= GOOD_BEFORE_PIECE;
  }

  add(sender: string, isolation: Isolation<H>): void {
    this.#suspectOf(sender).isolations.add(isolation);
  }

  /** Spans of this sender were refused. */
  refused(sender: string, now: number): void {
    this.#suspectOf(sender).refusedAt = now;
  }

  /** A span of this sender is known to be bad. */
  proven(sender: string): void {
    const suspect = this.#suspects.get(sender);
    if (suspect !== undefined) suspect.isProven = true;
  }

  isProven(sender: string): boolean {
    return this.#suspects.get(sender)?.isProven === true;
  }

  ofSender(sender: string): Iterable<Isolation<H>> {
    return this.#suspects.get(sender)?.isolations ?? [];
  }

  /** Removes those of which all is known. */
  takeDone(): Isolation<H>[] {
    const done: Isolation<H>[] = [];
    for (const { isolations } of this.#suspects.values()) {
      for (const isolation of isolations) {
        if (isolation.isDone && isolations.delete(isolation)) done.push(isolation);
      }
    }
    return done;
  }

  goodBegan(): void {
    this.#goodSince++;
  }

  /** Senders of which spans were refused lately. */
  suspects(now: number): string[] {
    const suspects: string[] = [];
    for (const [sender, { isolations, refusedAt }] of this.#suspects) {
      if (now - refusedAt < SUSPECTED_MS) suspects.push(sender);
      else if (isolations.size === 0) this.#suspects.delete(sender);
    }
    return suspects;
  }

  /**
   * The next request, which is to be ended; undefined if none may go, or there is none.
   * @param most so many may be under way
   * @param isFree whether none of its traces is on its way
   * @param otherOf what else such a sender has ready
   */
  begin(
    now: number,
    seen: Seen,
    most: number,
    isFree: (batch: Batch<H>) => boolean,
    otherOf: (sender: string) => O | undefined,
  ): Next<H, O> | undefined {
    if (this.#underWay.size >= most || !this.#allowance.has(now)) return undefined;
    for (const [sender, suspect] of this.#suspects) {
      if (this.#underWay.has(sender)) continue;
      const step = stepOf(suspect, now, seen, isFree);
      const other = step === undefined ? otherOf(sender) : undefined;
      if (step === undefined && other === undefined) continue;
      // They take turns, so that good spans beside a bad one need not wait for those beside a thousand.
      this.#suspects.delete(sender);
      this.#suspects.set(sender, suspect);
      this.#underWay.add(sender);
      this.#allowance.take(now);
      this.#goodSince = 0;
      return other === undefined ? { sender, ...step! } : { sender, isolation: undefined, other };
    }
    return undefined;
  }

  ended(sender: string): void {
    this.#underWay.delete(sender);
  }

  /**
   * When something may change by waiting alone; undefined if there is nothing to wait for.
   * @param most as of `begin`
   * @param isFree as of `begin`: what is not free waits for a request, or for what is to go again
   * @param otherAt when something else of such a sender may go
   */
  mayGoAt(
    now: number,
    most: number,
    isFree: (batch: Batch<H>) => boolean,
    otherAt: (sender: string) => number | undefined,
  ): number | undefined {
    if (this.#underWay.size >= most) return undefined;
    const times: number[] = [];
    for (const [sender, { isolations, refusedAt }] of this.#suspects) {
      if (this.#underWay.has(sender)) continue;
      if (!this.#allowance.has(now)) return this.#allowance.availableAt(now);
      if (isolations.size === 0) times.push(refusedAt + SUSPECTED_MS);
      for (const isolation of isolations) times.push(isolation.nextAt(isFree) ?? Infinity);
      times.push(otherAt(sender) ?? Infinity);
    }
    const first = Math.min(...times);
    return Number.isFinite(first) ? first : undefined;
  }

  #suspectOf(sender: string): Suspect<H> {
    let suspect = this.#suspects.get(sender);
    if (suspect === undefined) {
      suspect = { isolations: new Set(), refusedAt: Number.NEGATIVE_INFINITY, isProven: false };
      this.#suspects.set(sender, suspect);
    }
    return suspect;
  }
}

function stepOf<H>(
  { isolations }: Suspect<H>,
  now: number,
  seen: Seen,
  isFree: (batch: Batch<H>) => boolean,
): { readonly isolation: Isolation<H>; readonly step: Step<H> } | undefined {
  for (const isolation of isolations) {
    const step = isolation.next(now, seen, isFree);
    if (step !== undefined) return { isolation, step };
  }
  return undefined;
}
