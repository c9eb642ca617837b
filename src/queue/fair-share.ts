import type { Segment } from './segment.ts';
import { sendersOf } from './waiting-spans.ts';

/** Above this part of its limit the queue takes from senders below their fair share only. */
const CROWDED = 0.9;

/**
 * Keeps one sender from filling the queue for all. While it is nearly full, each sender may have as much in it as when
 * all shared it equally: those that have something in it, and one more, who may come yet. So the last tenth of the
 * queue is never that of the sender, or the few, that filled the rest.
 *
 * What counts is what is on disk, delivered or not, as the room is taken by it; and what is on its way there. The one
 * request that goes over the nine tenths is taken.
 */
export class FairShare {
  readonly #maxBytes: number;
  /** The log's own list; its last one grows. */
  readonly #segments: readonly Segment[];
  readonly #onTheWay = new Map<string, number>();
  /** Of all segments but the last, until one is added or removed. */
  #sealed: { readonly key: string; readonly bySender: ReadonlyMap<string, number> } | undefined;

  constructor(maxBytes: number, segments: readonly Segment[]) {
    this.#maxBytes = maxBytes;
    this.#segments = segments;
  }

  isCrowded(inQueue: number): boolean {
    return inQueue > CROWDED * this.#maxBytes;
  }

  /** @param inQueue bytes of the queue by now */
  allows(sender: string, bytes: number, inQueue: number): boolean {
    if (!this.isCrowded(inQueue)) return true;
    const bySender = this.#bySender();
    const own = bySender.get(sender) ?? 0;
    bySender.set(sender, own);
    return own + bytes <= this.#maxBytes / (bySender.size + 1);
  }

  /** Counts bytes that are being appended. To be called again with the negative when they are, or could not be. */
  onTheWay(sender: string, bytes: number): void {
    const sum = (this.#onTheWay.get(sender) ?? 0) + bytes;
    if (sum === 0) this.#onTheWay.delete(sender);
    else this.#onTheWay.set(sender, sum);
  }

  #bySender(): Map<string, number> {
    const sealed = this.#segments.slice(0, -1);
    const key = `${sealed.length} ${sealed[0]?.id} ${sealed.at(-1)?.id}`;
    if (this.#sealed?.key !== key) {
      const bySender = new Map<string, number>();
      for (const segment of sealed) addTo(bySender, sendersOf(segment.tally));
      this.#sealed = { key, bySender };
    }
    const sum = new Map(this.#sealed.bySender);
    const last = this.#segments.at(-1);
    if (last !== undefined) addTo(sum, sendersOf(last.tally));
    addTo(sum, this.#onTheWay);
    return sum;
  }
}

function addTo(sum: Map<string, number>, amounts: Iterable<readonly [string, number]>): void {
  for (const [sender, bytes] of amounts) sum.set(sender, (sum.get(sender) ?? 0) + bytes);
}
