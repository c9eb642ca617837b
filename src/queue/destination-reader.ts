import { SEGMENT_HEADER_SIZE } from './frame.ts';
import type { InHand } from './in-hand.ts';
import type { RecordPlace } from './in-hand-format.ts';
import type { LeftBefore } from './left-before.ts';
import type { Left } from './ledger-format.ts';
import { leftBehind, Loan } from './loan.ts';
import type { Lender, OpenFrame, RecordMeta } from './loan.ts';
import { comparePositions } from './log-cursor.ts';
import type { LogCursor, Position, ReadFrame } from './log-cursor.ts';
import type { Lease, QueueReader } from './queue.ts';
import type { SegmentLog } from './segment-log.ts';
import { sendersOf, spansIn } from './waiting-spans.ts';

const READ_AGAIN_MS = 1000;

/** A patient reader hands out so many times as much. */
const PATIENCE = 16;

/** Positions are saved before their time when this share of what a crash may bring again was settled. */
const SAVE_AT_SHARE = 1 / 4;

/** One destination's way through the log: hands out its records, knows how far all of them are settled. */
export class DestinationReader implements QueueReader {
  readonly destination: string;
  #isPatient = false;
  heldSenders: ReadonlySet<string> = new Set();
  readonly #cursor: LogCursor<RecordMeta>;
  #readUpTo: Position;
  readonly #log: SegmentLog<RecordMeta>;
  /** Until the reader is past all of it. */
  #before: LeftBefore | undefined;
  /** Its spans in all frames that were read, and the end of the last of these: a segment without frames may go. */
  #readSpans = 0;
  #readFramesUpTo: Position;
  readonly #inHand: InHand;
  readonly #lender: Lender;
  #changes = 0;
  readonly #onReadError: (error: unknown) => void;
  readonly #maxRepeatedBytes: number;
  readonly #onMuchSettled: () => void;
  /** What a crash would bring again: all that was read behind the saved position, settled or not. */
  #repeatedBytes = 0;
  /** Since positions were last saved, or that was asked for. */
  #settledBytes = 0;
  /** In the order of the log. */
  readonly #open = new Set<OpenFrame>();
  #ready: Lease[] = [];
  #more: Promise<void> = Promise.resolve();
  #saved = Promise.withResolvers<void>();
  #savedUpTo: Position | undefined;
  #closed = false;
  /** Spans on loan that are not done. */
  #lentSpans = 0;
  /** Of the spans that a segment's tally tells, those that the reader is past: read, or lost to damage. */
  #passed: { readonly segment: number; spans: number };
  #hasPassedDamage = false;

  constructor(options: {
    destination: string;
    log: SegmentLog<RecordMeta>;
    before: LeftBefore;
    inHand: InHand;
    /** Behind where it begins, those that have left among them. */
    storedSpans: number;
    onReadError: (error: unknown) => void;
    /** How much is read behind the saved position, but for the last frame. */
    maxRepeatedBytes: number;
    /** The position should be saved now. */
    onMuchSettled: () => void;
  }) {
    this.destination = options.destination;
    const { from } = options.before;
    this.#readUpTo = from;
    this.#readFramesUpTo = from;
    this.#cursor = options.log.cursor(from, { onPassedOver: () => (this.#hasPassedDamage = true) });
    this.#log = options.log;
    this.#inHand = options.inHand;
    this.#passed = { segment: from.segment, spans: 0 };
    this.#passed.spans = this.waitingSpans - options.storedSpans;
    this.#before = options.before.isEmpty ? undefined : options.before;
    this.#changes = options.before.changes;
    this.#onReadError = options.onReadError;
    this.#maxRepeatedBytes = options.maxRepeatedBytes;
    this.#onMuchSettled = options.onMuchSettled;
    this.#lender = {
      inHand: options.inHand,
      readAgain: (place) => this.#readAgain(place),
      saltOf: (segment) => options.log.segments.find(({ id }) => id === segment)?.salt ?? 0,
      onDone: (spans) => (this.#lentSpans -= spans),
      onLeft: () => this.#changes++,
      onFrameSettled: (frame) => this.#frameSettled(frame),
    };
  }

  /** Where a restart would have to begin. */
  get settledUpTo(): Position {
    return this.#oldest?.start ?? this.#readUpTo;
  }

  /** What is on loan, and what is to be read yet as the tallies of the log tell it. */
  get waitingSpans(): number {
    const { segment } = this.#cursor.position;
    let waiting = this.#lentSpans;
    for (const { id, tally } of this.#log.segments) {
      if (id < segment) continue;
      const passed = id === this.#passed.segment ? this.#passed.spans : 0;
      waiting += Math.max(spansIn(tally, this.destination) - passed, 0);
    }
    return Math.max(waiting - (this.#before?.spans ?? 0), 0);
  }

  /** Grows with all that leaves. */
  get changes(): number {
    return this.#changes;
  }

  /** What a start has to know beside the position, so that nothing is sent again. */
  get left(): Left {
    return leftBehind(this.#open, { upTo: this.#readFramesUpTo, spans: this.#readSpans }, this.#before);
  }

  get isHeldBack(): boolean {
    return this.#repeatedBytes >= this.#maxRepeatedBytes * (this.#isPatient ? PATIENCE : 1);
  }

  get isPatient(): boolean {
    return this.#isPatient;
  }

  set isPatient(isPatient: boolean) {
    this.#isPatient = isPatient;
    if (isPatient && !this.isHeldBack) this.#wakeHeldBack();
  }

  hasOthers(sender: string): boolean {
    const { segment, offset } = this.#cursor.position;
    for (const { id, end, tally } of this.#log.segments) {
      if (id < segment || (id === segment && offset >= end)) continue;
      for (const [name] of sendersOf(tally)) if (name !== sender) return true;
    }
    return false;
  }

  get isStuck(): boolean {
    const saved = this.#savedUpTo;
    return this.isHeldBack && saved !== undefined && comparePositions(saved, this.settledUpTo) === 0;
  }

  /**
   * To be told after each try to save a position and to remove segments: neither comes again. After one that failed
   * too: where the disk does not take positions, twice is better than not at all.
   */
  saved(position: Position): void {
    this.#savedUpTo = position;
    this.#repeatedBytes = 0;
    for (const { id, end } of this.#log.segments) {
      if (id < position.segment || id > this.#readUpTo.segment) continue;
      const from = id === position.segment ? position.offset : SEGMENT_HEADER_SIZE;
      const to = id === this.#readUpTo.segment ? this.#readUpTo.offset : end;
      this.#repeatedBytes += Math.max(to - from, 0);
    }
    this.#wakeHeldBack();
  }

  #wakeHeldBack(): void {
    this.#saved.resolve();
    this.#saved = Promise.withResolvers();
  }

  get oldestReceivedAt(): number | undefined {
    return this.#oldest?.receivedAt;
  }

  get #oldest(): OpenFrame | undefined {
    return this.#open.values().next().value;
  }

  async next(): Promise<Lease | undefined> {
    for (;;) {
      const lease = this.#ready.shift();
      if (lease !== undefined || this.#closed) return lease;
      // Taken before reading: what is appended from here on fulfils it.
      this.#more = this.#log.advanced;
      try {
        const frame = await this.#cursor.next();
        if (frame === undefined) {
          this.#readUpTo = this.#cursor.position;
          this.#before = undefined;
          if (this.#hasPassedDamage) this.#passAll();
          return undefined;
        }
        this.#take(frame);
      } catch (error) {
        if (this.#closed) return undefined;
        this.#onReadError(error);
        this.#more = new Promise((resolve) => setTimeout(resolve, READ_AGAIN_MS).unref());
        return undefined;
      }
    }
  }

  async waitForMore(signal?: AbortSignal): Promise<void> {
    if (this.#closed || signal?.aborted) return;
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal?.addEventListener('abort', onAbort, { once: true });
    await Promise.race([this.isHeldBack ? this.#saved.promise : this.#more, aborted]);
    signal?.removeEventListener('abort', onAbort);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ready = [];
    this.#saved.resolve();
    try {
      await this.#cursor.close();
    } finally {
      await this.#inHand.close();
    }
  }

  #take(frame: ReadFrame<RecordMeta>): void {
    this.#readUpTo = frame.end;
    this.#readFramesUpTo = frame.end;
    const mine = [...frame.entries.entries()].filter(([, { meta }]) => this.#isMine(meta));
    const first = mine[0];
    if (first === undefined) return;
    const { start, end } = frame;
    let spans = 0;
    for (const [, { meta }] of mine) spans += meta.spans;
    const spansBefore = this.#readSpans;
    this.#readSpans += spans;
    this.#repeatedBytes += end.offset - start.offset;
    if (this.#passed.segment !== start.segment) this.#passed = { segment: start.segment, spans: 0 };
    this.#passed.spans += spans;
    const gone = this.#before?.take(start, spans);
    if (gone === 'all') return;
    const waiting = mine.filter(([index]) => gone?.get(index)?.spans.isWhole !== true);
    if (waiting.length === 0) return;
    const left = gone && new Map([...gone].map(([index, record]) => [index, record.spans]));
    const { receivedAt } = first[1].meta;
    const open: OpenFrame = { start, end, receivedAt, spansBefore, spans, unsettled: waiting.length, left };
    this.#open.add(open);
    for (const [index, { meta, payload }] of waiting) {
      this.#lentSpans += meta.spans - (left?.get(index)?.size ?? 0);
      this.#ready.push(new Loan(open, index, meta, this.#lender).lease(payload));
    }
  }

  #frameSettled(frame: OpenFrame): void {
    this.#open.delete(frame);
    this.#settledBytes += frame.end.offset - frame.start.offset;
    this.#changes++;
    if (this.#settledBytes < this.#maxRepeatedBytes * SAVE_AT_SHARE) return;
    this.#settledBytes = 0;
    this.#onMuchSettled();
  }

  /** The payload of a record that was read before; undefined where it is damaged now. */
  async #readAgain({ segment, offset, index }: RecordPlace): Promise<Uint8Array | undefined> {
    const cursor = this.#log.cursor({ segment, offset });
    try {
      const frame = await cursor.next();
      const isSame = frame !== undefined && comparePositions(frame.start, { segment, offset }) === 0;
      return isSame ? frame.entries[index]?.payload : undefined;
    } finally {
      await cursor.close();
    }
  }

  /** At the end of the log nothing is left to read, whatever its tally tells of records that were damaged. */
  #passAll(): void {
    const last = this.#log.segments.at(-1);
    if (last === undefined || comparePositions(this.#cursor.position, this.#log.end) < 0) return;
    this.#passed = { segment: last.id, spans: spansIn(last.tally, this.destination) };
    this.#hasPassedDamage = false;
  }

  #isMine(meta: RecordMeta): boolean {
    return meta.route.destinations.includes(this.destination);
  }
}
