import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import { keepAside } from './damage.ts';
import { removeIfThere } from './filesystem.ts';
import type { OpenFile } from './filesystem.ts';
import { SEGMENT_HEADER_SIZE, encodeFrame, placeFrame } from './frame.ts';
import type { Entry, UnplacedFrame } from './frame.ts';
import { LogCursor } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import { LogFailure } from './log-failure.ts';
import type { LogOptions } from './log-options.ts';
import { RecentFrames } from './recent-frames.ts';
import { countFrame, recoverSegments } from './recovery.ts';
import { rewriteSegment } from './rewrite.ts';
import { createSegment, sealSegment } from './segment.ts';
import type { Segment } from './segment.ts';
import { segmentSizeOf } from './segment-size.ts';

/** What one write takes at most, so that no request waits for a very long one. */
const MAX_COMMIT_SIZE = 16 * 1024 * 1024;

type Waiting<M> = {
  readonly frame: UnplacedFrame;
  readonly entries: readonly Entry<M>[];
  readonly done: (outcome: 'stored' | 'failed') => void;
};

/**
 * An append-only log of entries in segment files: append at the end, read in order, remove from the front.
 * The bytes are described in `frame.ts`, a start in `recovery.ts`.
 *
 * What holds, at any moment and across any crash:
 * 1. `stored` is answered after the fdatasync that covers the frame; a new segment's file and directory entry
 *    are synced before the first frame goes into it. What is appended during one sync shares the next one.
 * 2. Readers see the synced prefix only: nothing is delivered that a crash could take back.
 * 3. Bytes are never written twice. Every open, and every recovery from a failed write or sync, begins a new
 *    segment, with an id that no saved position has named; what stands behind the synced end of the old one is not trusted.
 *    After a failed fsync the kernel may call the lost pages clean, so that file is never synced again.
 * 4. Segments are removed whole, as soon as nobody needs anything in them.
 *
 * What a crash leaves, therefore: sealed segments, as they were; the last one without a footer, with every frame that
 * was answered, and behind them a part of a write that was not; a new one without its header or its directory entry,
 * in which nothing was answered; a removed one that is there again, which nobody needs.
 *
 * Why not LMDB or SQLite stands in test/bench/log.ts.
 */
export class SegmentLog<M> {
  readonly #options: LogOptions<M>;
  readonly #segmentSize: number;
  /** Ascending by id; the last one is being written while `#file` is there. */
  readonly #segments: Segment[];
  /** Not before somebody reads. */
  #recent: RecentFrames<M> | undefined;
  #file: OpenFile | undefined;
  #nextId: number;
  #waiting: Waiting<M>[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  readonly #failure: LogFailure;
  /** Several readers meet the same damage; each place is copied by one. */
  #settingAside: Promise<boolean> = Promise.resolve(true);
  #closed = false;
  #advance = Promise.withResolvers<void>();

  private constructor(options: LogOptions<M>, segments: Segment[]) {
    this.#options = options;
    this.#segments = segments;
    this.#nextId = Math.max(options.idsAbove, segments.at(-1)?.id ?? 0) + 1;
    this.#segmentSize = segmentSizeOf(options.maxBytes);
    this.#failure = new LogFailure(options.observer, () => this.#beginAnew());
  }

  /** Recovers what is on disk and begins a new segment; a disk that takes no writes does not keep it from opening. */
  static async open<M>(options: LogOptions<M>): Promise<SegmentLog<M>> {
    const { fs, directory, observer } = options;
    await fs.makeDirectory(directory);
    const segments = await recoverSegments<M>({
      ...options,
      damagedDirectory: damagedDirectory(directory),
      onDamage: observer.damaged,
      onTrouble: (segment, error) => observer.unread(segment, messageOf(error)),
      onNotClosed: (segment, records) => observer.notClosed?.(segment, records),
    });
    const log = new SegmentLog<M>(options, segments);
    try {
      await log.#begin();
    } catch (error) {
      log.#fail(error);
    }
    return log;
  }

  /** Bytes on disk and on their way there. */
  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.size, this.#waitingBytes);
  }

  get segments(): readonly Segment[] {
    return this.#segments;
  }

  get canAppend(): boolean {
    return !this.#failure.isLasting && !this.#closed;
  }

  /** Why it takes nothing, while the disk fails. */
  get failure(): string | undefined {
    return this.#failure.isLasting ? messageOf(this.#failure.error) : undefined;
  }

  get start(): Position {
    return { segment: this.#segments[0]?.id ?? this.#nextId, offset: SEGMENT_HEADER_SIZE };
  }

  /** Behind the last synced frame. */
  get end(): Position {
    const last = this.#segments.at(-1);
    return last ? { segment: last.id, offset: last.end } : this.start;
  }

  /** Fulfilled when there is more to read than at the moment of asking, or the log is closed. */
  get advanced(): Promise<void> {
    return this.#advance.promise;
  }

  /** All entries or none, in one frame. `full` and `failed` took nothing. */
  append(entries: readonly Entry<M>[]): Promise<'stored' | 'full' | 'failed'> {
    if (!this.canAppend) return Promise.resolve('failed');
    const frame = encodeFrame(entries);
    const { maxBytes, softLimit } = this.#options;
    const isFull = softLimit ? this.bytes >= softLimit() : this.bytes + frame.size > maxBytes;
    if (isFull) return Promise.resolve('full');
    const { promise, resolve } = Promise.withResolvers<'stored' | 'failed'>();
    this.#waiting.push({ frame, entries, done: resolve });
    this.#waitingBytes += frame.size;
    this.#writing ??= this.#writeWaiting();
    return promise;
  }

  cursor(from: Position, how: { onPassedOver?: () => void; headersOnly?: boolean } = {}): LogCursor<M> {
    return new LogCursor<M>({
      ...how,
      fs: this.#options.fs,
      damagedDirectory: damagedDirectory(this.#options.directory),
      segments: this.#segments,
      recent: (this.#recent ??= new RecentFrames()),
      setAside: (work) => (this.#settingAside = this.#settingAside.then(work)),
      onDamage: this.#options.observer.damaged,
      from,
    });
  }

  /** Removes the segments that nobody needs any more, but for the one that is written to. */
  async remove(isPassed: (segment: Segment) => boolean): Promise<void> {
    const { fs, directory } = this.#options;
    const isWriting = this.#file !== undefined || this.#closed;
    const passed = this.#segments.slice(0, isWriting ? -1 : undefined).filter((segment) => isPassed(segment));
    for (const segment of passed) {
      if (segment.isOnlyCopy) await keepAside(fs, segment.path, damagedDirectory(directory));
      else await removeIfThere(fs, segment.path);
      this.#segments.splice(this.#segments.indexOf(segment), 1);
    }
    if (passed.length > 0) await fs.syncDirectory(directory);
  }

  /**
   * Takes entries out of the midst of a segment, see `rewrite.ts`. One call at a time, none while it closes, and never
   * where a cursor may come by: what is kept moves.
   *
   * @param onRemoved told at once when they are gone, and before that is on stable storage
   */
  async rewrite(id: number, keeps: (meta: M) => boolean, onRemoved: (metas: M[]) => void): Promise<void> {
    const { fs, directory, content, count, observer } = this.#options;
    const segment = this.#segments.find((each) => each.id === id);
    if (segment === undefined) return;
    const isWritten = () => this.#file !== undefined && this.#segments.at(-1) === segment;
    const isEmpty = () => segment.end === SEGMENT_HEADER_SIZE;
    if (isWritten()) {
      const goOn = () =>
        this.#exclusively(async () => (isWritten() && !isEmpty() ? this.#roll(segment) : undefined));
      await goOn().catch(() => {}); // has been told to the observer; nothing is written to this one any more
    }
    if (isEmpty()) return;
    const rewritten = await rewriteSegment({
      fs,
      segment,
      content,
      count,
      keeps,
      damagedDirectory: damagedDirectory(directory),
      onDamage: observer.damaged,
    });
    if (rewritten === undefined) return;
    const { next, removed } = rewritten;
    if (next === undefined) this.#segments.splice(this.#segments.indexOf(segment), 1);
    else Object.assign(segment, { end: next.end, size: next.size, tally: next.tally });
    onRemoved(removed);
    await fs.syncDirectory(directory);
  }

  /** Waits for the appends under way, seals the last segment. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#failure.tryNoMore();
    await this.#exclusively(async () => {
      const file = this.#file;
      const last = this.#segments.at(-1);
      this.#file = undefined;
      if (file === undefined || last === undefined) return;
      try {
        if (last.end > SEGMENT_HEADER_SIZE) await sealSegment(last, file);
        else await this.#removeLastIfEmpty();
      } finally {
        await file.close();
      }
    }).catch((error: unknown) => this.#options.observer.failing(messageOf(error)));
    this.#advance.resolve();
  }

  /** Runs when no write is under way, and keeps writes waiting meanwhile. */
  async #exclusively(work: () => Promise<void>): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    const run = work().catch((error: unknown) => {
      this.#fail(error);
      throw error;
    });
    const goOn = () => this.#writeWaiting();
    this.#writing = run.then(goOn, goOn);
    await run;
  }

  async #writeWaiting(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      try {
        await this.#writeGroup(group);
        group.length = 0; // answered
        await this.#rollIfLarge();
      } catch (error) {
        this.#fail(error, group);
      }
    }
    this.#writing = undefined;
  }

  #takeGroup(): Waiting<M>[] {
    let size = 0;
    const count = this.#waiting.findIndex(({ frame }) => (size += frame.size) > MAX_COMMIT_SIZE);
    return this.#waiting.splice(0, count === -1 ? this.#waiting.length : Math.max(count, 1));
  }

  async #writeGroup(group: readonly Waiting<M>[]): Promise<void> {
    const segment = this.#segments.at(-1);
    if (segment === undefined || this.#file === undefined) throw new Error('the log has no open segment');
    const buffers: Uint8Array[] = [];
    let end = segment.end;
    for (const { frame } of group) {
      buffers.push(...placeFrame(frame, segment.salt, end));
      end += frame.size;
    }
    const started = performance.now();
    await this.#file.write(buffers, segment.end);
    await this.#file.sync();
    this.#options.observer.synced?.((performance.now() - started) / 1000);
    this.#waitingBytes -= end - segment.end;
    let offset = segment.end;
    segment.end = end;
    segment.size = end;
    for (const { frame, entries, done } of group) {
      this.#recent?.add(segment.id, offset, { end: offset + frame.size, entries });
      offset += frame.size;
      countFrame(this.#options.count, entries, frame.size, segment.tally);
      done('stored');
    }
    this.#announce();
  }

  /** Right after the write, so that what is written to is always small, and all else can be removed. */
  async #rollIfLarge(): Promise<void> {
    const last = this.#segments.at(-1);
    if (last !== undefined && last.end >= this.#segmentSize) await this.#roll(last);
  }

  async #roll(last: Segment): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    await sealSegment(last, file);
    await this.#begin();
    await file.close();
  }

  async #begin(): Promise<void> {
    const { fs, directory, content, beforeSegment } = this.#options;
    await beforeSegment?.(this.#failure.error);
    const { segment, file } = await createSegment(fs, directory, this.#nextId++, content);
    this.#segments.push(segment);
    this.#file = file;
    this.#failure.isOver();
  }

  /** Stops taking; what was synced stays readable. Tries with a new segment until the disk takes writes again. */
  #fail(error: unknown, group: readonly Waiting<M>[] = []): void {
    const file = this.#file;
    this.#file = undefined;
    this.#failure.met(error);
    void file?.close().catch(() => {});
    for (const { done } of [...group, ...this.#waiting.splice(0)]) done('failed');
    this.#waitingBytes = 0;
    this.#announce();
    if (!this.#closed) this.#failure.tryAgainLater();
  }

  #beginAnew(): void {
    this.#exclusively(async () => {
      if (this.#closed || !this.#failure.isLasting) return;
      await this.#removeLastIfEmpty();
      await this.#begin();
    }).catch(() => {}); // has been told to the observer, and the next try is on its way
  }

  async #removeLastIfEmpty(): Promise<void> {
    const last = this.#segments.at(-1);
    if (last?.end !== SEGMENT_HEADER_SIZE) return;
    await removeIfThere(this.#options.fs, last.path);
    this.#segments.pop();
  }

  #announce(): void {
    this.#advance.resolve();
    this.#advance = Promise.withResolvers<void>();
  }
}

function damagedDirectory(directory: string): string {
  return join(directory, 'damaged');
}
