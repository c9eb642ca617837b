/** What something weighs, in bytes, in all and by sender. */
export class SenderWeights {
  total = 0;
  readonly #bySender = new Map<string, number>();

  of(sender: string): number {
    return this.#bySender.get(sender) ?? 0;
  }

  ofAll(senders: Iterable<string>): number {
    let sum = 0;
    for (const sender of senders) sum += this.of(sender);
    return sum;
  }

  /** @param weight negative for what is gone */
  add(sender: string, weight: number): void {
    this.total += weight;
    const sum = this.of(sender) + weight;
    if (sum === 0) this.#bySender.delete(sender);
    else this.#bySender.set(sender, sum);
  }
}
