/** How lately others must have been served for a failure to be that of one sender, in ms. */
const LATELY_MS = 10_000;
/** The senders that are remembered: with fewer than that there is always one that was served last. */
const MOST_SENDERS = 1_000;

/** The senders that the upstream has taken something of, and when. Times are ms of one clock. */
export class ServedSenders {
  /** The one that was served last is the last. */
  readonly #servedAt = new Map<string, number>();

  served(senders: Iterable<string>, now: number): void {
    for (const sender of senders) {
      this.#servedAt.delete(sender);
      this.#servedAt.set(sender, now);
    }
    for (const oldest of this.#servedAt.keys()) {
      if (this.#servedAt.size <= MOST_SENDERS) return;
      this.#servedAt.delete(oldest);
    }
  }

  /** Whether others than these were served lately. */
  hasServedOthers(senders: ReadonlySet<string>, now: number): boolean {
    for (const [sender, at] of this.#servedAt) if (now - at < LATELY_MS && !senders.has(sender)) return true;
    return false;
  }
}
