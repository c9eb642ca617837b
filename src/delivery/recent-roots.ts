import type { TraceId } from '../otlp/record.ts';

/** About 15 MiB of them. */
const MOST_ROOTS = 100_000;

/**
 * Traces whose root has come lately, by target. What comes of them afterwards, as from a service that exports more
 * slowly than that of the root, has no root to wait for. Bounded by time and by number; the oldest are forgotten.
 */
export class RecentRoots {
  readonly #keptMs: number;
  /** When the root came, oldest first. */
  readonly #seen = new Map<string, number>();

  /** @param keptMs how long a root is remembered, in ms of the times that are given */
  constructor(keptMs: number) {
    this.#keptMs = keptMs;
  }

  add(targetKey: string, traceId: TraceId, now: number): void {
    const key = keyOf(targetKey, traceId);
    // To the end of the order.
    this.#seen.delete(key);
    this.#seen.set(key, now);
    for (const [oldest, since] of this.#seen) {
      if (this.#isKept(since, now) && this.#seen.size <= MOST_ROOTS) return;
      this.#seen.delete(oldest);
    }
  }

  has(targetKey: string, traceId: TraceId, now: number): boolean {
    const since = this.#seen.get(keyOf(targetKey, traceId));
    return since !== undefined && this.#isKept(since, now);
  }

  #isKept(since: number, now: number): boolean {
    return now - since <= this.#keptMs;
  }
}

function keyOf(targetKey: string, traceId: TraceId): string {
  return `${traceId} ${targetKey}`;
}
