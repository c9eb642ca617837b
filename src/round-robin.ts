/** A queue in which senders take turns: who has many in it delays itself, and nobody else by more than one at a time. */
export class RoundRobin<T> {
  readonly #items = new Map<string, Set<T>>();

  get isEmpty(): boolean {
    return this.#items.size === 0;
  }

  add(sender: string, item: T): void {
    const own = this.#items.get(sender);
    if (own === undefined) this.#items.set(sender, new Set([item]));
    else own.add(item);
  }

  /** False: it is not in the queue any more. */
  remove(sender: string, item: T): boolean {
    const own = this.#items.get(sender);
    if (own?.delete(item) !== true) return false;
    if (own.size === 0) this.#items.delete(sender);
    return true;
  }

  /** Takes out the first one of the sender whose turn it is. */
  next(): T | undefined {
    for (const [sender, [item]] of this.#items) {
      const own = this.#items.get(sender)!;
      this.#items.delete(sender);
      own.delete(item as T);
      // Who has more goes behind the others.
      if (own.size > 0) this.#items.set(sender, own);
      return item;
    }
    return undefined;
  }
}
