/** A sender that sent nothing for this long, in ms, is not there. */
const GONE_MS = 60_000;
/** How often the queue is asked, in ms: it looks through the counts of its segments. */
const ASK_EVERY_MS = 1_000;

/** Whether several senders are there: in what was read lately, or in the queue. Times are ms of one clock. */
export class SenderMix {
  readonly #areInQueue: (sender: string) => boolean;
  #latest: { readonly sender: string; at: number } | undefined;
  /** The latest of another sender. */
  #other: { readonly sender: string; readonly at: number } | undefined;
  #asked: { readonly sender: string; readonly at: number; readonly answer: boolean } | undefined;

  /** @param areInQueue whether the queue has something of others than this sender */
  constructor(areInQueue: (sender: string) => boolean) {
    this.#areInQueue = areInQueue;
  }

  came(sender: string, now: number): void {
    if (this.#latest?.sender === sender) {
      this.#latest.at = now;
      return;
    }
    this.#other = this.#latest;
    this.#latest = { sender, at: now };
  }

  /** Others than this sender are there. */
  hasOthers(sender: string, now: number): boolean {
    const other = this.#latest?.sender === sender ? this.#other : this.#latest;
    if (other !== undefined && now - other.at < GONE_MS) return true;
    if (this.#asked?.sender !== sender || now - this.#asked.at >= ASK_EVERY_MS)
      this.#asked = { sender, at: now, answer: this.#areInQueue(sender) };
    return this.#asked.answer;
  }
}
