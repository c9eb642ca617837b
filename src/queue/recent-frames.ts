import type { Entry } from './frame.ts';

/** Read back by a reader that keeps up; one that does not reads the disk. */
const MAX_BYTES = 16 * 1024 * 1024;
/** What a frame costs in memory beside its bytes, about: many small ones must not slip past the limit. */
const FRAME_WEIGHT = 512;

export type RecentFrame<M> = { readonly end: number; readonly entries: readonly Entry<M>[] };

/**
 * What was synced last, by its place in the log, for readers that come right behind the writer: they need no disk, no
 * checksum and no second copy of the payloads. Bounded by bytes; the oldest frames go first.
 */
export class RecentFrames<M> {
  readonly #frames = new Map<string, RecentFrame<M> & { readonly bytes: number }>();
  #bytes = 0;

  add(segment: number, offset: number, frame: RecentFrame<M>): void {
    const bytes = frame.end - offset + FRAME_WEIGHT;
    this.#frames.set(keyOf(segment, offset), { ...frame, bytes });
    this.#bytes += bytes;
    for (const [key, oldest] of this.#frames) {
      if (this.#bytes <= MAX_BYTES) return;
      this.#frames.delete(key);
      this.#bytes -= oldest.bytes;
    }
  }

  get(segment: number, offset: number): RecentFrame<M> | undefined {
    return this.#frames.get(keyOf(segment, offset));
  }
}

function keyOf(segment: number, offset: number): string {
  return `${segment}:${offset}`;
}
