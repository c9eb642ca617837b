import type { FileSystem, OpenFile } from './filesystem.ts';
import { SEGMENT_HEADER_SIZE } from './frame.ts';
import type { Entry } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { putAside } from './damage.ts';
import type { Damage } from './damage.ts';
import type { RecentFrames } from './recent-frames.ts';
import type { Segment } from './segment.ts';

/** A place in a log: a segment's id and an offset in its file. */
export type Position = { readonly segment: number; readonly offset: number };

export function comparePositions(a: Position, b: Position): number {
  return a.segment - b.segment || a.offset - b.offset;
}

export type ReadFrame<M> = {
  readonly start: Position;
  readonly end: Position;
  readonly entries: readonly Entry<M>[];
};

type CursorOptions<M> = {
  readonly fs: FileSystem;
  readonly damagedDirectory: string;
  /** The log's own list, which grows at its end and shrinks at its front. */
  readonly segments: readonly Segment[];
  /** What need not be read from the disk. */
  readonly recent: RecentFrames<M>;
  readonly onDamage: (damage: Damage) => void;
  readonly from: Position;
  /** Told when bytes were passed over because they are damaged: who knows what was in them. */
  readonly onPassedOver?: () => void;
  /** Payloads are neither read nor checked, and empty. */
  readonly headersOnly?: boolean;
};

/** Reads the synced frames of a log in order, from segment to segment. One call at a time. */
export class LogCursor<M> {
  readonly #options: CursorOptions<M>;
  #position: Position;
  #current: { segment: Segment; file: OpenFile; reader: FrameReader<M> } | undefined;

  constructor(options: CursorOptions<M>) {
    this.#options = options;
    this.#position = options.from;
  }

  /** Everything in front of this was returned by `next`, or damaged. */
  get position(): Position {
    return this.#position;
  }

  /** The next frame; `undefined` at the end of what is synced. Rejects if the disk cannot be read. */
  async next(): Promise<ReadFrame<M> | undefined> {
    for (;;) {
      const current = (this.#current ??= await this.#open());
      if (current === undefined) return undefined;
      const { segment, file, reader } = current;
      const recent = this.#options.recent.get(segment.id, this.#position.offset);
      if (recent !== undefined && this.#position.segment === segment.id) {
        const from = this.#position;
        this.#position = { segment: segment.id, offset: recent.end };
        reader.passTo(recent.end);
        return { start: from, end: this.#position, entries: recent.entries };
      }
      const step = await reader.next(segment.end);
      const start = { segment: segment.id, offset: step.offset };
      if (step.kind === 'end') {
        if (step.offset < segment.end && !step.isFooter) continue; // grew while it was read
        if (segment === this.#options.segments.at(-1)) return undefined;
        await this.close();
        this.#position = { segment: segment.id + 1, offset: SEGMENT_HEADER_SIZE };
        continue;
      }
      this.#position = { segment: segment.id, offset: step.end };
      if (step.kind === 'unknown') continue;
      if (step.kind === 'frame') return { start, end: this.#position, entries: step.entries };
      const { fs, damagedDirectory, onDamage, onPassedOver } = this.#options;
      const bytes = step.end - step.offset;
      const place = { segment: segment.path, offset: step.offset, bytes, atEnd: step.end === segment.end };
      if (!(await putAside(fs, file, damagedDirectory, place, onDamage))) segment.isOnlyCopy = true;
      onPassedOver?.();
    }
  }

  async close(): Promise<void> {
    const file = this.#current?.file;
    this.#current = undefined;
    await file?.close();
  }

  async #open() {
    const { fs, segments, headersOnly } = this.#options;
    const segment = segments.find(({ id }) => id >= this.#position.segment);
    if (segment === undefined) return undefined;
    const offset = segment.id === this.#position.segment ? this.#position.offset : SEGMENT_HEADER_SIZE;
    const file = await fs.open(segment.path);
    return { segment, file, reader: new FrameReader<M>(file, segment.salt, offset, headersOnly) };
  }
}
