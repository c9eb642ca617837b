/** Part of the window that senders that are apart may have together before the queue takes nothing new from them. */
const HELD_SHARE = 1 / 4;
/** Part from which on what comes of one of which bad spans were found is not tried: others need the room. */
const UNTRIED_SHARE = 1 / 2;

/** What senders that are apart have of the window: they wait for a search, and must not fill it for the others. */
export class SuspectShares {
  readonly #windowSize: number;
  readonly #bytesOf: (sender: string) => number;
  #held: ReadonlySet<string> = new Set();

  /** @param bytesOf what a sender has in the window */
  constructor(windowSize: number, bytesOf: (sender: string) => number) {
    this.#windowSize = windowSize;
    this.#bytesOf = bytesOf;
  }

  /** Senders from which nothing new is to be taken. One that was held is held until it has half of that share. */
  held(apart: readonly string[]): ReadonlySet<string> {
    if (apart.length === 0 && this.#held.size === 0) return this.#held;
    const share = (this.#windowSize * HELD_SHARE) / apart.length;
    const held = apart.filter(
      (sender) => this.#bytesOf(sender) >= (this.#held.has(sender) ? share / 2 : share),
    );
    this.#held = new Set(held);
    return this.#held;
  }

  /** @param proven senders that are apart, and of which bad spans were found */
  isOver(sender: string, proven: readonly string[]): boolean {
    if (!proven.includes(sender)) return false;
    return this.#bytesOf(sender) >= (this.#windowSize * UNTRIED_SHARE) / proven.length;
  }
}
