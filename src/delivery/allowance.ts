/** So many at once, and then so many a second. Times are ms of one clock that never goes back. Pure. */
export class Allowance {
  readonly #burst: number;
  readonly #perMs: number;
  #left: number;
  #at = 0;

  constructor(options: { readonly burst: number; readonly perSecond: number }) {
    this.#burst = options.burst;
    this.#perMs = options.perSecond / 1000;
    this.#left = options.burst;
  }

  /** Whether one may be taken at `now`. */
  has(now: number): boolean {
    return this.#leftAt(now) >= 1;
  }

  take(now: number): void {
    this.#left = this.#leftAt(now) - 1;
    this.#at = now;
  }

  /** When there is one. */
  availableAt(now: number): number {
    return now + Math.max(0, (1 - this.#leftAt(now)) / this.#perMs);
  }

  #leftAt(now: number): number {
    return Math.min(this.#burst, this.#left + (now - this.#at) * this.#perMs);
  }
}
