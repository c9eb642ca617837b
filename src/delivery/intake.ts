import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Destination } from '../destinations/destination.ts';
import { messageOf } from '../errors.ts';
import { indexSpans } from '../otlp/wire.ts';
import type { SpanSlice } from '../otlp/wire.ts';
import type { DeadLetter, Lease, QueueReader } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Burial } from './burial.ts';
import { isLarge, LargeRecord } from './large-record.ts';
import type { RecordPart } from './large-record.ts';
import { Notice } from '../telemetry/notice.ts';
import { pause } from './pause.ts';
import type { TraceWindow } from './trace-window.ts';

/**
 * How much enters the window before answers of the upstream get their turn; a record counts as some bytes more than it
 * has, and a span does.
 */
const TURN_BYTES = 1024 * 1024;
const RECORD_COST = 1024;
const SPAN_COST = 128;
const READ_AGAIN_MS = 1000;

const UNTRIED =
  'not sent: more spans of this sender are refused than can be looked through, and others need the room; mend what it sends, then replay this';
const ENDED_RELAY =
  'not sent: the relay ended twice in a row while it worked on this record, by a bug or for want of memory; please report it, with this letter';

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
  /** So much of this sender waits for a search that what comes of it cannot be tried. */
  readonly isOverShare: (sender: string) => boolean;
  /** Something was added to the window, or all there is has been. */
  readonly onProgress: () => void;
};

/**
 * Reads a destination's records from the queue into the window, as long as there is room. A large record enters in parts,
 * while the window is less than half full, and what stands behind it in the queue enters beside it.
 */
export class Intake {
  readonly #deps: IntakeDeps;
  readonly #failed = new Notice();
  /** Large records that are not wholly in the window. */
  readonly #large = new Set<LargeRecord>();
  #isAtTail = false;
  #wake: (() => void) | undefined;

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
  }

  /** All that is in the queue was read; of large records some may not be in the window yet. */
  get isAtTail(): boolean {
    return this.#isAtTail;
  }

  /** A large record is not wholly in the window. */
  get hasLarge(): boolean {
    return this.#large.size > 0;
  }

  /** Nothing more is read until the oldest records are settled. */
  get isStuck(): boolean {
    return this.#deps.reader.isStuck;
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
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      const costOfPart = await this.#admitPart();
      const costOfRecord = await this.#admitRecord();
      if (stopping.aborted) return;
      onProgress();
      if (costOfPart === 0 && costOfRecord === 0) await this.#waitForMore();
      cost += costOfPart + costOfRecord;
      if (costOfRecord === 0 || cost > TURN_BYTES) {
        cost = 0;
        await setImmediate();
      }
    }
  }

  /** Until there is something to read, or room for another part. */
  async #waitForMore(): Promise<void> {
    const { reader, stopping } = this.#deps;
    if (this.#large.size === 0) {
      await reader.waitForMore(stopping);
    } else if (this.#nextLarge() === undefined) {
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      await (this.#hasEnoughLarge ? once(woken.signal) : reader.waitForMore(woken.signal));
    }
    this.#wake = undefined;
    this.#isAtTail = false;
  }

  get #hasEnoughLarge(): boolean {
    let bytes = 0;
    for (const record of this.#large) bytes += record.bytes;
    return this.#large.size > 0 && bytes >= this.#deps.mostLargeBytes;
  }

  /** What is next in the queue. @returns what it costs; 0 where nothing is read now */
  async #admitRecord(): Promise<number> {
    const { reader, stopping } = this.#deps;
    if (this.#hasEnoughLarge || reader.isHeldBack) return 0;
    const lease = await this.#next();
    this.#isAtTail = lease === undefined;
    if (lease === undefined || stopping.aborted) return 0;
    const { payload, sender } = lease.record;
    if (this.#deps.isOverShare(sender) && this.#deps.burial.trouble === undefined) {
      if (await this.#bury(lease, UNTRIED)) lease.settle();
      return costOf({ payload, spans: [] });
    }
    if (isLarge(lease)) {
      this.#large.add(new LargeRecord(lease));
      return RECORD_COST;
    }
    let spans: readonly SpanSlice[] = [];
    await this.#burying(lease, () => {
      spans = indexSpans(payload);
      this.#add({ lease, payload, spans }, false);
    });
    return costOf({ payload, spans });
  }

  /** A part of the large record whose sender has least in the window. @returns as `#admitRecord` */
  async #admitPart(): Promise<number> {
    const record = this.#nextLarge();
    if (record === undefined) return 0;
    let step: ReturnType<LargeRecord['next']>;
    const isRead = await this.#burying(record.lease, () => {
      step = record.next();
      if (typeof step === 'object') this.#add(step, true);
    });
    if (!isRead || step === 'end') this.#large.delete(record);
    if (step === 'end') record.end();
    return typeof step === 'object' ? costOf(step) : TURN_BYTES;
  }

  #nextLarge(): LargeRecord | undefined {
    const { window } = this.#deps;
    let next: LargeRecord | undefined;
    for (const record of this.#large) {
      // One that has nothing in the window may always go on: others could keep it more than half full for ever.
      if (window.isHalfFull && !record.isOut) continue;
      if (next === undefined || window.bytesOf(record.sender) < window.bytesOf(next.sender)) next = record;
    }
    return next;
  }

  async #next(): Promise<Lease | undefined> {
    const { reader, log, stopping } = this.#deps;
    while (!stopping.aborted) {
      try {
        return await reader.next();
      } catch (error) {
        const times = this.#failed.due(performance.now());
        const details = { reason: messageOf(error), times };
        if (times !== undefined)
          log.error(details, 'the queue could not be read: see to the disk of the queue directory');
        await pause(READ_AGAIN_MS, stopping);
      }
    }
    return undefined;
  }

  #add({ lease, payload, spans }: RecordPart, isBehind: boolean): void {
    const { destination, window, onArrival } = this.#deps;
    const { receivedAt, route, sender } = lease.record;
    onArrival(sender);
    const target = destination.targetOf(route);
    if (spans.length === 0) lease.settle();
    else window.add({ handle: lease, sender, target, payload, spans, receivedAt, isBehind });
  }

  /**
   * Does what reads a record. It was validated on arrival, so where that throws, or has ended the relay twice, it is a
   * bug, which must cost neither the record nor those behind it: the record becomes a dead letter.
   * @returns whether it was read
   */
  async #burying(lease: Lease, read: () => void): Promise<boolean> {
    const reason = lease.isSuspect ? ENDED_RELAY : reasonOfFailure(lease, read);
    if (reason === undefined) return true;
    if (await this.#bury(lease, reason)) lease.settle();
    return false;
  }

  /** The whole record, as it came. @returns whether the letter is on stable storage */
  #bury({ record }: Lease, reason: string): Promise<boolean> {
    const { destination, burial } = this.#deps;
    const letter: DeadLetter = {
      ...record,
      reason,
      id: randomUUID(),
      destination: destination.name,
      target: `route ${record.route.name}`,
      status: undefined,
      repaired: undefined,
      attempts: 0,
      refusedAt: Date.now(),
    };
    return burial.bury(() => [letter]);
  }
}

/** Why the record cannot be read; undefined where it was. A process that dies of it leaves word that it was in hand. */
function reasonOfFailure(lease: Lease, read: () => void): string | undefined {
  lease.inHand();
  try {
    read();
    return undefined;
  } catch (error) {
    return `this relay could not read the record that it had accepted: ${messageOf(error)}`;
  } finally {
    lease.outOfHand();
  }
}

function costOf({ payload, spans }: Pick<RecordPart, 'payload' | 'spans'>): number {
  return RECORD_COST + payload.byteLength + spans.length * SPAN_COST;
}

function once(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
