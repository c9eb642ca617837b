/** How much there is of one sort. */
export type Amount = { records: number; spans: number; bytes: number };

/** A segment with more sorts than this counts the rest together, so that a footer stays small. */
const MAX_KEYS = 1024;

/** What is in a segment, by a key that the log's user chooses, and since when. Kept in memory and in the footer. */
export class Tally {
  readonly #amounts = new Map<string, Amount>();
  /** Milliseconds since the epoch; undefined while empty. */
  oldestReceivedAt: number | undefined;

  /** @param fallbackKey counts instead where there are too many keys */
  add(key: string, fallbackKey: string, amount: Amount, receivedAt: number): void {
    const known = this.#amounts.has(key) || this.#amounts.size < MAX_KEYS ? key : fallbackKey;
    const sum = this.#amounts.get(known);
    if (sum === undefined) {
      this.#amounts.set(known, { ...amount });
    } else {
      sum.records += amount.records;
      sum.spans += amount.spans;
      sum.bytes += amount.bytes;
    }
    this.oldestReceivedAt = Math.min(this.oldestReceivedAt ?? receivedAt, receivedAt);
  }

  [Symbol.iterator](): IterableIterator<[string, Amount]> {
    return this.#amounts.entries();
  }

  toJSON(): unknown {
    return {
      oldestReceivedAt: this.oldestReceivedAt,
      amounts: [...this.#amounts].map(([key, { records, spans, bytes }]) => [key, records, spans, bytes]),
    };
  }

  static fromJSON(json: unknown): Tally {
    const { oldestReceivedAt, amounts } = json as {
      oldestReceivedAt?: number;
      amounts: [string, number, number, number][];
    };
    const tally = new Tally();
    tally.oldestReceivedAt = oldestReceivedAt;
    for (const [key, records, spans, bytes] of amounts) tally.#amounts.set(key, { records, spans, bytes });
    return tally;
  }
}
