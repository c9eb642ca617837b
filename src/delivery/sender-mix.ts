/** A sender that sent nothing for this long, in ms, is not there. */
const GONE_MS = 60_000;

/** Whether several senders are there. Times are ms of one clock. */
export class SenderMix {
  #latest: { readonly sender: string; at: number } | undefined;
  /** The latest of another sender. */
  #other: { readonly sender: string; readonly at: number } | undefined;

  came(sender: string, now: number): void {
    if (this.#latest?.sender === sender) {
      this.#latest.at = now;
      return;
    }
    this.#other = this.#latest;
    this.#latest = { sender, at: now };
  }

  /** Others than this sender have sent something lately. */
  hasOthers(sender: string, now: number): boolean {
    const other = this.#latest?.sender === sender ? this.#other : this.#latest;
    return other !== undefined && now - other.at < GONE_MS;
  }
}
