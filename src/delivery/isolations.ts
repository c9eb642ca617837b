import type { Batch } from './batch.ts';
import { Allowance } from './allowance.ts';
import type { Isolation, Seen, Step } from './isolation.ts';

/** Finding one bad span among a thousand takes about 20 requests; twice that goes at once, and then so many a second. */
const EXTRA_REQUESTS = { burst: 40, perSecond: 20 } as const;
/** While good batches wait, one request of four is for those that were refused. */
const GOOD_BEFORE_PIECE = 3;

type Next<H> = { readonly isolation: Isolation<H>; readonly step: Step<H> };

/**
 * Refused batches of which the bad spans are looked for, by turns. However many there are, good traffic goes first:
 * one request for them is under way at a time, and they may take so many a second. Times are ms of one clock.
 */
export class Isolations<H> {
  readonly #line = new Set<Isolation<H>>();
  readonly #allowance = new Allowance(EXTRA_REQUESTS);
  #isUnderWay = false;
  #goodSince = 0;

  get count(): number {
    return this.#line.size;
  }

  /** Whether good batches have had their turn. */
  get isTurn(): boolean {
    return this.#goodSince >= GOOD_BEFORE_PIECE;
  }

  add(isolation: Isolation<H>): void {
    this.#line.add(isolation);
  }

  remove(isolation: Isolation<H>): void {
    this.#line.delete(isolation);
  }

  goodBegan(): void {
    this.#goodSince++;
  }

  [Symbol.iterator](): IterableIterator<Isolation<H>> {
    return this.#line.values();
  }

  /**
   * The next request for one of them, which is to be ended; undefined if none may go, or has one.
   * @param isFree whether none of its traces is on its way
   */
  begin(now: number, seen: Seen, isFree: (batch: Batch<H>) => boolean): Next<H> | undefined {
    if (this.#isUnderWay || !this.#allowance.has(now)) return undefined;
    for (const isolation of this.#line) {
      const step = isolation.next(now, seen, isFree);
      if (step === undefined) continue;
      // They take turns, so that good spans beside a bad one need not wait for those beside a thousand.
      this.#line.delete(isolation);
      this.#line.add(isolation);
      this.#isUnderWay = true;
      this.#allowance.take(now);
      this.#goodSince = 0;
      return { isolation, step };
    }
    return undefined;
  }

  ended(): void {
    this.#isUnderWay = false;
  }

  /** When one may go by waiting alone; undefined if there is nothing to wait for. */
  mayGoAt(now: number): number | undefined {
    if (this.#line.size === 0 || this.#isUnderWay) return undefined;
    if (!this.#allowance.has(now)) return this.#allowance.availableAt(now);
    const times = [...this.#line].map((isolation) => isolation.nextAt()).filter((at) => at !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }
}
