import type { FileSystem, OpenFile } from './filesystem.ts';
import { SEGMENT_HEADER_SIZE } from './frame.ts';
import type { Entry } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import type { Step } from './frame-reader.ts';
import { markOnlyCopy, putAside } from './damage.ts';
import type { Damage } from './damage.ts';
import type { RecentFrames } from './recent-frames.ts';
import { isUnreadable, salvaging } from './salvage.ts';
import type { Segment } from './segment.ts';

/** Tries in a row, about a second apart, after which bytes that the disk does not give are damage like any other. */
const UNREADABLE_AFTER = 60;
/** The same, behind others in the segment. */
const UNREADABLE_AFTER_ANOTHER = 10;

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
  /** Waits until no other reader sets anything aside. `work` does not reject. */
  readonly setAside: (work: () => Promise<boolean>) => Promise<boolean>;
  readonly from: Position;
  /** Told when bytes were passed over because they are damaged: who knows what was in them. */
  readonly onPassedOver?: () => void;
  /** Payloads are neither read nor checked, and empty. */
  readonly headersOnly?: boolean;
};

type OpenSegment<M> = {
  readonly segment: Segment;
  readonly file: OpenFile;
  readonly reader: FrameReader<M>;
  /** Parts of it cannot be read, and are zeros. */
  readonly isSalvage: boolean;
};

/** Reads the synced frames of a log in order, from segment to segment. One call at a time. */
export class LogCursor<M> {
  readonly #options: CursorOptions<M>;
  #position: Position;
  #current: OpenSegment<M> | undefined;
  /** Tries that the disk has refused in a row. */
  #unreadable = 0;

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
      const { segment, file, reader, isSalvage } = current;
      const recent = this.#options.recent.get(segment.id, this.#position.offset);
      if (recent !== undefined && this.#position.segment === segment.id) {
        const from = this.#position;
        this.#position = { segment: segment.id, offset: recent.end };
        reader.passTo(recent.end);
        return { start: from, end: this.#position, entries: recent.entries };
      }
      const step = await this.#step(current);
      const start = { segment: segment.id, offset: step.offset };
      if (step.kind === 'end') {
        if (step.offset < segment.end && !step.isFooter) continue; // grew while it was read
        if (segment === this.#options.segments.at(-1)) return undefined;
        await this.close();
        this.#position = { segment: segment.id + 1, offset: SEGMENT_HEADER_SIZE };
        this.#unreadable = 0;
        continue;
      }
      const from = this.#position;
      this.#position = { segment: segment.id, offset: step.end };
      if (step.kind === 'unknown') continue;
      if (step.kind === 'frame') return { start, end: this.#position, entries: step.entries };
      const { fs, damagedDirectory, onDamage, onPassedOver, setAside } = this.#options;
      const bytes = step.end - step.offset;
      const place = { segment: segment.path, offset: step.offset, bytes, atEnd: step.end === segment.end };
      const tell = (damage: Damage) => {
        if (damage.keptIn !== undefined || !isSalvage) onDamage(damage);
      };
      const isKept = await setAside(() => putAside(fs, file, damagedDirectory, place, tell));
      if (!isKept && isSalvage) {
        // Who can neither read nor write has no bad sector, but a disk that is away.
        this.#position = from;
        await this.close();
        throw new Error(
          `${segment.path} cannot be read at ${start.offset}, nor can what is left be set aside`,
        );
      }
      if (!isKept || isSalvage) await markOnlyCopy(fs, segment, damagedDirectory);
      if (isSalvage) {
        // What comes behind gets its own time, if less.
        await this.close();
        this.#unreadable = UNREADABLE_AFTER - UNREADABLE_AFTER_ANOTHER;
      }
      onPassedOver?.();
    }
  }

  async close(): Promise<void> {
    const file = this.#current?.file;
    this.#current = undefined;
    await file?.close();
  }

  async #step({ segment, reader, isSalvage }: OpenSegment<M>): Promise<Step<M>> {
    try {
      const step = await reader.next(segment.end);
      if (!isSalvage) this.#unreadable = 0;
      return step;
    } catch (error) {
      this.#unreadable = isUnreadable(error) ? this.#unreadable + 1 : 0;
      if (this.#unreadable === UNREADABLE_AFTER) await this.close(); // and opened again, for salvage
      throw error;
    }
  }

  async #open(): Promise<OpenSegment<M> | undefined> {
    const { fs, segments, headersOnly } = this.#options;
    const segment = segments.find(({ id }) => id >= this.#position.segment);
    if (segment === undefined) return undefined;
    const offset = segment.id === this.#position.segment ? this.#position.offset : SEGMENT_HEADER_SIZE;
    const isSalvage = this.#unreadable >= UNREADABLE_AFTER;
    const opened = await fs.open(segment.path);
    const file = isSalvage ? salvaging(opened) : opened;
    const reader = new FrameReader<M>(file, segment.salt, offset, headersOnly);
    return { segment, file, reader, isSalvage };
  }
}
