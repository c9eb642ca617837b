import { messageOf } from '../errors.ts';
import { isDiskFull } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import { LogContent } from './frame.ts';
import { readLetters } from './letter-reader.ts';
import type { LetterMeta, ReadLetter } from './letter-reader.ts';
import { countLetter } from './letter-tally.ts';
import { LetterTotals } from './letter-totals.ts';
import type { LogObserver } from './log-options.ts';
import type { DeadLetter, DeadLetters } from './queue.ts';
import type { Reserve } from './reserve.ts';
import { SegmentLog } from './segment-log.ts';

/**
 * A sender with more than this part of what dead letters may take is held: it sends nothing new. What was delivered
 * repaired does not count: there is nothing for a person to do about it.
 */
const QUOTA_SHARE = 1 / 4;

/** Originals of what was delivered repaired may take this part of what dead letters may; then the oldest go. */
const ORIGINALS_SHARE = 1 / 4;
/** So much less is left of them then, so that a segment is not rewritten for each. */
const ORIGINALS_SLACK = 1 / 8;

export type DeadLettersOptions = {
  readonly fs: FileSystem;
  readonly directory: string;
  /** What they may always take. */
  readonly maxBytes: number;
  /**
   * What they may take now, as nobody else has it. So a sender over its quota does not hold the queue, and with it all
   * others: what it had sent before becomes letters beyond `maxBytes`.
   */
  readonly room: () => number;
  readonly reserve: Pick<Reserve, 'release'>;
  readonly observer: LogObserver;
  /** What letters in segments before this one tell of the queue is known. */
  readonly mark: number;
  /** Segments get higher ids than this: no mark that was ever saved is before a new one. */
  readonly idsAbove: number;
  /** Told of letters in the others, as they are found at the start. */
  readonly onFound: (letter: LetterMeta) => void;
  /** What letters tell is written down before they are removed. Rejects when the disk fails. */
  readonly beforeRemoval: () => Promise<void>;
};

/**
 * Dead letters in a log of their own. A letter of any size fits while the limit is not reached, and on a full disk as
 * many as there is room in the reserve.
 */
export class DeadLetterStore implements DeadLetters {
  readonly #options: DeadLettersOptions;
  readonly #log: SegmentLog<LetterMeta>;
  readonly #totals: LetterTotals;
  /** Spans by id of letters that are in the queue again, and still to be removed here: they are dead no more. */
  readonly #replayed = new Map<string, { readonly destination: string; readonly spans: number }>();
  /** Until something changes. */
  #held: readonly string[] | undefined;
  #appends = 0;
  #mark: number;
  /** Letters before the end of the log may not be known: they could not be read, or are there though an append failed. */
  #isMarkKept = false;
  #isClosed = false;

  private constructor(options: DeadLettersOptions, log: SegmentLog<LetterMeta>) {
    this.#options = options;
    this.#log = log;
    this.#mark = options.mark;
    this.#totals = new LetterTotals(log.segments);
  }

  static async open(options: DeadLettersOptions): Promise<DeadLetterStore> {
    const { fs, directory, maxBytes, room, reserve, observer, idsAbove } = options;
    const log = await SegmentLog.open<LetterMeta>({
      fs,
      directory,
      content: LogContent.deadLetters,
      maxBytes,
      softLimit: room,
      idsAbove,
      async beforeSegment(lastError) {
        if (isDiskFull(lastError)) await reserve.release();
      },
      count: countLetter,
      observer,
    });
    const store = new DeadLetterStore(options, log);
    await store.#find();
    return store;
  }

  /** Letters in segments before this one were told: found at the start, or appended since. */
  get mark(): number {
    const isKept = this.#appends > 0 || this.#isMarkKept;
    const last = this.#log.segments.at(-1)?.id ?? 0;
    if (!isKept) this.#mark = Math.max(this.#mark, this.#isClosed ? last + 1 : last);
    return this.#mark;
  }

  async append(letters: readonly DeadLetter[]): Promise<void> {
    const { directory, maxBytes } = this.#options;
    this.#appends++;
    // `onKept` is a function, which JSON leaves out.
    const outcome = await this.#log.append(letters.map(({ payload, ...meta }) => ({ meta, payload })));
    this.#held = undefined;
    if (outcome === 'stored') for (const { onKept } of letters) onKept?.();
    this.#appends--;
    if (outcome === 'stored') return;
    this.#isMarkKept ||= outcome === 'failed';
    throw new Error(
      outcome === 'full'
        ? `the dead letters have reached their limit of ${maxBytes} bytes (a quarter of queue.max_size) and the queue leaves no more: replay or discard some by the command dead-letters`
        : `the disk does not take writes in ${directory}`,
    );
  }

  get bytes(): number {
    return this.#log.bytes;
  }

  /** Senders that have more than their quota of letters; few, as each has a good part of the room. */
  get heldSenders(): readonly string[] {
    this.#held ??= this.#findHeld();
    return this.#held;
  }

  status() {
    const spans = this.#totals.spansByDestination();
    for (const { destination, spans: count } of this.#replayed.values())
      spans.set(destination, (spans.get(destination) ?? 0) - count);
    return {
      spans: Object.fromEntries(spans),
      bytes: this.bytes,
      maxBytes: this.#options.maxBytes,
      originalBytes: this.#totals.originalBytes(),
      maxOriginalBytes: this.#mostOriginals,
    };
  }

  get hasTooManyOriginals(): boolean {
    return this.#totals.originalBytes() > this.#mostOriginals;
  }

  /**
   * Removes the oldest originals of what was delivered repaired, where there are more than there may be.
   * @param onDropped told of each, at once
   */
  async dropOldOriginals(onDropped: (letter: LetterMeta) => void): Promise<void> {
    if (!this.hasTooManyOriginals) return;
    let left = this.#totals.originalBytes() - this.#mostOriginals * (1 - ORIGINALS_SLACK);
    const { fs } = this.#options;
    for (const segment of this.#log.segments.slice()) {
      if (left <= 0) return;
      const oldest = new Set<string>();
      for await (const letters of readLetters(fs, segment, { headersOnly: true, limit: segment.end })) {
        for (const { meta, payloadSize } of letters) {
          if (left <= 0 || meta.repaired === undefined || this.isReplayed(meta.id)) continue;
          oldest.add(meta.id);
          left -= payloadSize + JSON.stringify(meta).length;
        }
      }
      if (oldest.size > 0) await this.remove(segment.id, (id) => oldest.has(id), onDropped);
    }
  }

  /** Letters of a segment, with their payloads, those of one append together. */
  async *read(segmentId: number): AsyncGenerator<ReadLetter[]> {
    const segment = this.#log.segments.find(({ id }) => id === segmentId);
    if (segment !== undefined) yield* readLetters(this.#options.fs, segment, { limit: segment.end });
  }

  isReplayed(id: string): boolean {
    return this.#replayed.has(id);
  }

  /** To be told as soon as a letter is in the queue again. What is told is removed by the next `remove`. */
  replayed({ id, destination, spanCount: spans }: LetterMeta): void {
    this.#replayed.set(id, { destination, spans });
  }

  /**
   * Removes letters of a segment: those that were replayed, and those that are given up.
   * @param onDiscarded told of the latter, at once
   */
  async remove(
    segmentId: number,
    isDiscarded: (id: string) => boolean,
    onDiscarded: (letter: LetterMeta) => void,
  ): Promise<void> {
    const rewrite = async () => {
      await this.#options.beforeRemoval();
      await this.#log.rewrite(
        segmentId,
        ({ id }) => !this.#replayed.has(id) && !isDiscarded(id),
        (removed) => {
          this.#held = undefined;
          for (const letter of removed) if (!this.#replayed.delete(letter.id)) onDiscarded(letter);
        },
      );
    };
    await rewrite().catch(async (error: unknown) => {
      if (!isDiskFull(error)) throw error;
      // What is removed makes more room than what is kept takes for a moment.
      await this.#options.reserve.release();
      await rewrite();
    });
  }

  async close(): Promise<void> {
    await this.#log.close();
    this.#isClosed = true;
  }

  /**
   * Tells of the letters from the mark on. Where an append that had failed is there all the same and was done again, two
   * have the same id, and the first is taken out.
   */
  async #find(): Promise<void> {
    const { fs, mark, onFound, observer } = this.#options;
    const places = new Map<string, number>();
    const twice = new Map<number, Set<string>>();
    for (const segment of this.#log.segments.filter(({ id }) => id >= mark)) {
      try {
        for await (const letters of readLetters(fs, segment, { headersOnly: true, limit: segment.end })) {
          for (const { meta } of letters.filter(({ meta: { origins } }) => origins !== undefined)) {
            const first = places.get(meta.id);
            if (first === undefined) onFound(meta);
            else if (first !== segment.id) twice.set(first, (twice.get(first) ?? new Set()).add(meta.id));
            places.set(meta.id, segment.id);
          }
        }
      } catch (error) {
        this.#isMarkKept = true;
        observer.unread(segment.path, messageOf(error));
      }
    }
    for (const [segment, ids] of twice) {
      const takeOut = this.#log.rewrite(
        segment,
        ({ id }) => !ids.has(id),
        () => {},
      );
      // They are there twice then, and known by their id.
      await takeOut.catch((error: unknown) => observer.failing(messageOf(error)));
    }
  }

  get #mostOriginals(): number {
    return Math.floor(this.#options.maxBytes * ORIGINALS_SHARE);
  }

  #findHeld(): string[] {
    const quota = this.#options.maxBytes * QUOTA_SHARE;
    const held: string[] = [];
    for (const [sender, bytes] of this.#totals.bytesBySender()) if (bytes > quota) held.push(sender);
    return held;
  }
}
