import { setImmediate } from 'node:timers/promises';
import type { Destination } from '../destinations/destination.ts';
import { messageOf } from '../errors.ts';
import { indexSpans } from '../otlp/wire.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import type { Lease, QueueReader } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Burial } from './burial.ts';
import { costOf, RECORD_COST, TURN_COST } from './intake-cost.ts';
import { isLarge, LargeRecord } from './large-record.ts';
import { restOf, type RecordPart } from './record-part.ts';
import { Notice } from '../telemetry/notice.ts';
import { pause, untilAborted } from './pause.ts';
import { Shelf } from './shelf.ts';
import type { TraceWindow } from './trace-window.ts';
import { ENDED_RELAY, letterOfWhole, UNREADABLE, UNTRIED_TOGETHER, untriedLetters } from './whole-letter.ts';

const READ_AGAIN_MS = 1000;

export type IntakeDeps = {
  readonly reader: QueueReader;
  readonly window: TraceWindow<Lease>;
  /** Bytes of large records that may be in hand beside the window, but for the last of them. */
  readonly mostLargeBytes: number;
  readonly destination: Destination;
  readonly burial: Burial;
  readonly log: Logger;
  readonly stopping: AbortSignal;
  /** Spans of this sender are about to enter the window. */
  readonly onArrival: (sender: string) => void;
  /** Whether more of this sender may enter the window. */
  readonly hasRoom: (sender: string) => boolean;
  /** Something was added to the window, or all there is has been. */
  readonly onProgress: () => void;
};

/**
 * Reads a destination's records from the queue into the window, as long as there is room. A large record enters in parts,
 * while the window is less than half full, and what stands behind it in the queue enters beside it. A record of a sender
 * that has its part of the window is put aside, so that those of others behind it are found.
 */
export class Intake {
  readonly #deps: IntakeDeps;
  readonly #failed = new Notice();
  /** Large records that are not wholly in the window. */
  readonly #large = new Set<LargeRecord>();
  readonly #shelf = new Shelf();
  #isDropping = false;
  #inHand: Lease | undefined;
  #isAtTail = false;
  #wake: (() => void) | undefined;

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
  }

  /** All that is in the queue was read, though some of it may have no room in the window yet. */
  get isAtTail(): boolean {
    return this.#isAtTail;
  }

  /** Some of what was read has no room in the window yet. */
  get isBehind(): boolean {
    return this.#large.size > 0 || !this.#shelf.isEmpty;
  }

  /** Bytes of a sender that were read and have no room in the window. */
  bytesAside(sender: string): number {
    return this.#shelf.bytesOf(sender);
  }

  /** Nothing more is read until the oldest records are settled, or fewer are put aside. */
  get isStuck(): boolean {
    return this.#deps.reader.isStuck || this.#shelf.isFull;
  }

  /** To be called when the window may have room again, and when the relay stops. */
  wake(): void {
    this.#wake?.();
  }

  /** Reads until the relay stops. */
  async run(): Promise<void> {
    const { window, stopping, onProgress } = this.#deps;
    let cost = 0;
    while (!stopping.aborted) {
      if (window.isFull) {
        this.#putDown();
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      const costOfOlder = (await this.#admitPart()) + (await this.#admitShelved());
      const costOfRecord = await this.#admitRecord();
      if (stopping.aborted) return;
      onProgress();
      cost += costOfOlder + costOfRecord;
      const isTurnOver = costOfRecord === 0 || cost > TURN_COST;
      if (isTurnOver) this.#putDown();
      if (costOfOlder === 0 && costOfRecord === 0) await this.#waitForMore();
      if (isTurnOver) {
        cost = 0;
        await setImmediate();
      }
    }
  }

  /**
   * Makes dead letters of what is put aside of a sender, untried: it is what others wait for. Nothing waits for the
   * letters but that sender.
   */
  async dropAside(sender: string): Promise<void> {
    if (this.#isDropping) return;
    this.#isDropping = true;
    const { stopping, burial, destination } = this.#deps;
    while (this.#shelf.countOf(sender) > 0 && !stopping.aborted) {
      const group = await this.#takeGroupAside(sender);
      const isKept = await burial.bury(() => untriedLetters(group, destination.name));
      if (!isKept) break;
      for (const { settle } of group) settle();
    }
    this.#isDropping = false;
    this.wake();
  }

  async #takeGroupAside(sender: string): Promise<Lease[]> {
    const group: Lease[] = [];
    let taken = 0;
    for (let left = this.#shelf.countOf(sender); left > 0; left--) {
      const lease = await this.#takeAside(sender);
      if (lease === undefined) continue;
      group.push(lease);
      taken += lease.record.payload.byteLength;
      if (group.length >= UNTRIED_TOGETHER.records || taken >= UNTRIED_TOGETHER.bytes) break;
    }
    return group;
  }

  /** Until there is something to read, or room for what was read. */
  async #waitForMore(): Promise<void> {
    const { reader, stopping } = this.#deps;
    if (!this.isBehind) {
      await reader.waitForMore(stopping);
    } else if (this.#nextLarge() === undefined && this.#nextAside() === undefined) {
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      await (this.#mayRead ? reader.waitForMore(woken.signal) : untilAborted(woken.signal));
    }
    this.#wake = undefined;
    this.#isAtTail = false;
  }

  get #mayRead(): boolean {
    if (this.#shelf.isFull) return false;
    let bytes = 0;
    for (const record of this.#large) bytes += record.bytes;
    return bytes === 0 || bytes < this.#deps.mostLargeBytes;
  }

  /** What is next in the queue. @returns what it costs; 0 where nothing is read now */
  async #admitRecord(): Promise<number> {
    const { reader, stopping } = this.#deps;
    if (!this.#mayRead || reader.isHeldBack) return 0;
    const lease = await this.#next();
    this.#isAtTail = lease === undefined;
    if (lease === undefined || stopping.aborted) return 0;
    const { sender, payload } = lease.record;
    const hasRoom = this.#deps.hasRoom(sender) && this.#shelf.countOf(sender) === 0;
    if (hasRoom) return this.#admit(lease, false);
    this.#shelf.add({ sender, bytes: payload.byteLength, again: lease.again });
    return costOf({ payload, spans: [] });
  }

  async #admit(lease: Lease, isBehind: boolean): Promise<number> {
    if (isLarge(lease)) {
      this.#large.add(new LargeRecord(lease));
      return RECORD_COST;
    }
    const { payload } = lease.record;
    let spans: readonly SpanSlice[] = [];
    this.#burying(lease, () => {
      spans = indexSpans(payload);
      this.#add({ lease, payload, spans, first: 0 }, isBehind);
    });
    return costOf({ payload, spans });
  }

  /** A record that was put aside, and has room now. @returns as `#admitRecord` */
  async #admitShelved(): Promise<number> {
    const sender = this.#nextAside();
    if (sender === undefined) return 0;
    const lease = await this.#takeAside(sender);
    return lease === undefined ? TURN_COST : this.#admit(lease, true);
  }

  #nextAside(): string | undefined {
    return this.#isDropping ? undefined : this.#shelf.next(this.#deps.hasRoom);
  }

  /** Undefined: it cannot be read now and stays aside, or it is damaged and gone. */
  async #takeAside(sender: string): Promise<Lease | undefined> {
    const shelved = this.#shelf.take(sender);
    try {
      return await shelved?.again();
    } catch (error) {
      if (shelved !== undefined) this.#shelf.add(shelved);
      await this.#tellAndWait(error);
      return undefined;
    }
  }

  /** A part of the large record whose sender has least in the window. @returns as `#admitRecord` */
  async #admitPart(): Promise<number> {
    const record = this.#nextLarge();
    if (record === undefined) return 0;
    let step: ReturnType<LargeRecord['next']>;
    const isRead = this.#burying(record.lease, () => {
      step = record.next();
      if (typeof step === 'object') this.#add(step, true);
    });
    if (!isRead || step === 'end') this.#large.delete(record);
    if (step === 'end') record.end();
    return typeof step === 'object' ? costOf(step) : TURN_COST;
  }

  #nextLarge(): LargeRecord | undefined {
    const { window, hasRoom } = this.#deps;
    let next: LargeRecord | undefined;
    for (const record of this.#large) {
      // One that has nothing in the window may always go on: others could keep it more than half full for ever.
      if (window.isHalfFull && !record.hasNothingOnLoan) continue;
      if (!hasRoom(record.sender)) continue;
      if (next === undefined || window.bytesOf(record.sender) < window.bytesOf(next.sender)) next = record;
    }
    return next;
  }

  async #next(): Promise<Lease | undefined> {
    const { reader, stopping } = this.#deps;
    while (!stopping.aborted) {
      try {
        return await reader.next();
      } catch (error) {
        await this.#tellAndWait(error);
      }
    }
    return undefined;
  }

  async #tellAndWait(error: unknown): Promise<void> {
    const { log, stopping } = this.#deps;
    const times = this.#failed.due(performance.now());
    const details = { reason: messageOf(error), times };
    if (times !== undefined)
      log.error(details, 'the queue could not be read: see to the disk of the queue directory');
    await pause(READ_AGAIN_MS, stopping);
  }

  #add(part: RecordPart, isBehind: boolean): void {
    const { destination, window, onArrival } = this.#deps;
    const { lease, payload, spans } = restOf(part);
    const { receivedAt, route, sender } = lease.record;
    onArrival(sender);
    const target = destination.targetOf(route);
    if (spans.length === 0) return lease.settle();
    window.add({ handle: lease, sender, target, payload, spans, receivedAt, isBehind });
  }

  /**
   * Does what reads a record. It was validated on arrival, so where that throws, or has ended the relay twice, it is a
   * bug, which must cost neither the record nor those behind it: the record becomes a dead letter.
   * @returns whether it was read
   */
  #burying(lease: Lease, read: () => void): boolean {
    const reason = lease.isSuspect ? ENDED_RELAY : this.#reasonOfFailure(lease, read);
    if (reason === undefined) return true;
    // Nobody waits for it: the disk of the letters may fail for long.
    const { burial, destination } = this.#deps;
    const letter = letterOfWhole(lease, destination.name, reason);
    void burial.bury(() => [letter]).then((isKept) => isKept && lease.settle());
    return false;
  }

  /** Why the record cannot be read; undefined where it was. A process that dies of it leaves word that it was in hand. */
  #reasonOfFailure(lease: Lease, read: () => void): string | undefined {
    this.#inHand = lease;
    lease.inHand();
    try {
      read();
      return undefined;
    } catch (error) {
      return `${UNREADABLE}: ${messageOf(error)}`;
    }
  }

  /** To be called before anything is waited for; between two records the one takes the other's place. */
  #putDown(): void {
    this.#inHand?.outOfHand();
    this.#inHand = undefined;
  }
}
