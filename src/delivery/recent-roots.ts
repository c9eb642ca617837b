import type { TraceId } from '../otlp/record.ts';
import { LinkedList } from './linked-list.ts';

/** About 25 MiB of them. */
const MOST_ROOTS = 100_000;

type Root = { readonly key: string; readonly at: number };

/**
 * Traces whose root has come lately, by target. What comes of them afterwards, as from a service that exports more
 * slowly than that of the root, has no root to wait for. Bounded by time and by number; the oldest are forgotten.
 */
export class RecentRoots {
  readonly #keptMs: number;
  readonly #latest = new Map<string, Root>();
  /**
   * As they came, with those that have come again since. Not read off the map: a map walks over all that was deleted
   * before its first entry, so that each root would cost as much as there were before it.
   */
  readonly #order = new LinkedList<Root>();
  #count = 0;

  /** @param keptMs how long a root is remembered, in ms of the times that are given */
  constructor(keptMs: number) {
    this.#keptMs = keptMs;
  }

  add(targetKey: string, traceId: TraceId, now: number): void {
    const root = { key: keyOf(targetKey, traceId), at: now };
    this.#latest.set(root.key, root);
    this.#order.push(root);
    this.#count++;
    for (let oldest = this.#order.first?.value; oldest !== undefined; oldest = this.#order.first?.value) {
      if (this.#isKept(oldest.at, now) && this.#count <= MOST_ROOTS) return;
      this.#order.shift();
      this.#count--;
      if (this.#latest.get(oldest.key) === oldest) this.#latest.delete(oldest.key);
    }
  }

  has(targetKey: string, traceId: TraceId, now: number): boolean {
    const root = this.#latest.get(keyOf(targetKey, traceId));
    return root !== undefined && this.#isKept(root.at, now);
  }

  #isKept(since: number, now: number): boolean {
    return now - since <= this.#keptMs;
  }
}

function keyOf(targetKey: string, traceId: TraceId): string {
  return `${traceId} ${targetKey}`;
}
