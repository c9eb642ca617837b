import { RelayError, messageOf } from '../errors.ts';
import type { TraceRecord } from '../otlp/record.ts';
import { Notices } from '../telemetry/notice.ts';
import { Admission } from './admission.ts';
import type { DeadLetterStore } from './dead-letters.ts';
import { countDropped } from './dropped-originals.ts';
import { realFileSystem } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import { LetterInbox, inboxDirectory } from './letter-inbox.ts';
import { lettersDirectory } from './letter-reader.ts';
import { LetterDesk } from './letter-requests.ts';
import { lockDirectory } from './lock.ts';
import type { AppendOutcome, Queue, QueueReader, QueueStatus } from './queue.ts';
import { openParts } from './queue-parts.ts';
import type { Deps, OpenParts, QueueOptions } from './queue-parts.ts';
import { isPassedByAll } from './retention.ts';
import { segmentSizeOf } from './segment-size.ts';

export type { QueueOptions } from './queue-parts.ts';

/** Positions are saved, and what all are past is removed, about this often. */
const MAINTAIN_EVERY_MS = 1000;

/** What a record takes on disk beside its payload, about. */
const RECORD_OVERHEAD = 256;

/**
 * Opens the queue in a directory, alone: recovers the log, finds each destination's place in it.
 *
 * @throws RelayError QUEUE_LOCKED, QUEUE_FORMAT, QUEUE_UNUSABLE
 */
export async function openQueue(
  options: QueueOptions,
  deps: Deps,
): Promise<Queue & { readonly deadLetters: DeadLetterStore; readonly letterDesk: LetterDesk }> {
  const { directory } = options;
  const fs = options.fs ?? realFileSystem;
  let unlock: (() => void) | undefined;
  try {
    await fs.makeDirectory(directory);
    unlock = (options.lock ?? lockDirectory)(directory);
    return await SegmentQueue.open(options, fs, unlock, deps);
  } catch (error) {
    unlock?.();
    if (error instanceof RelayError) throw error;
    throw new RelayError(
      'QUEUE_UNUSABLE',
      `cannot open the queue in ${directory} (key queue.directory): ${messageOf(error)}; the directory must be writable for this user, and its disk have room`,
      { cause: error },
    );
  }
}

type Parts = OpenParts & {
  readonly fs: FileSystem;
  readonly options: QueueOptions;
  readonly deps: Deps;
  readonly unlock: () => void;
};

class SegmentQueue implements Queue {
  readonly #parts: Parts;
  readonly #admission: Admission;
  readonly letterDesk: LetterDesk;
  readonly #inbox: LetterInbox;
  readonly #timer: NodeJS.Timeout;
  #maintaining: Promise<void> | undefined;
  #isClosed = false;
  #isShortOfRoom = false;
  readonly #troubles = new Notices();

  private constructor(parts: Parts) {
    this.#parts = parts;
    const { deadLetters, readers, options, deps } = parts;
    this.#admission = new Admission({ ...parts, maxBytes: options.maxBytes, logger: deps.log });
    this.letterDesk = new LetterDesk({
      store: deadLetters,
      append: (record) => this.#append([record], { isReplay: true }),
      isConfigured: (destination) => readers.get(destination) !== undefined,
      onDiscarded: (destination, spans) => deps.metrics.discardedSpans.inc({ destination }, spans),
      onDropped: countDropped(deps),
    });
    this.#inbox = new LetterInbox({
      fs: parts.fs,
      directory: inboxDirectory(lettersDirectory(options.directory)),
      carryOut: (request) => this.letterDesk.carryOut(request),
      log: deps.log,
    });
    this.#timer = setInterval(() => void this.#maintain(), MAINTAIN_EVERY_MS);
    this.#timer.unref();
  }

  static async open(
    options: QueueOptions,
    fs: FileSystem,
    unlock: () => void,
    deps: Deps,
  ): Promise<SegmentQueue> {
    const parts = await openParts(options, fs, deps, () => void queue.#maintainAnew());
    const queue = new SegmentQueue({ ...parts, fs, options, deps, unlock });
    return queue;
  }

  get deadLetters(): DeadLetterStore {
    return this.#parts.deadLetters;
  }

  async append(records: readonly TraceRecord[]): Promise<AppendOutcome> {
    return this.#admission.heldFor(records[0]?.sender ?? '') ?? this.#append(records);
  }

  /** Also of senders that are held. */
  async #append(records: readonly TraceRecord[], { isReplay = false } = {}): Promise<AppendOutcome> {
    const { log } = this.#parts;
    if (!this.#canAppend) return 'failed';
    const sender = records[0]?.sender ?? '';
    const bytes = records.reduce((sum, { payload }) => sum + payload.length + RECORD_OVERHEAD, 0);
    const refusal = this.#admission.refusal(sender, bytes, isReplay);
    if (refusal !== undefined) return refusal;
    const entries = records.map(({ payload, spanCount, sender: from, route, receivedAt }) => ({
      meta: { spans: spanCount, sender: from, receivedAt, route },
      payload,
    }));
    return this.#admission.whileOnTheWay(sender, bytes, () => log.append(entries));
  }

  reader(destination: string): QueueReader {
    const reader = this.#parts.readers.get(destination);
    if (reader === undefined) throw new Error(`the queue was opened without destination ${destination}`);
    return reader;
  }

  status(): QueueStatus {
    const { log, readers, options } = this.#parts;
    const destinations = [...readers].map(([name, { reader, recoveredSpans }]) => [
      name,
      { waitingSpans: reader.waitingSpans, recoveredSpans, oldestReceivedAt: reader.oldestReceivedAt },
    ]);
    return {
      canAppend: this.#canAppend,
      reason: this.#reason,
      bytes: log.bytes,
      maxBytes: options.maxBytes,
      segments: log.segments.length,
      destinations: Object.fromEntries(destinations) as QueueStatus['destinations'],
      unconfigured: readers.unconfigured.waitingSpans,
      heldSenders: [...new Set([...this.#parts.deadLetters.heldSenders, ...readers.heldSenders])],
    };
  }

  async close(): Promise<void> {
    const { log, readers, deadLetters, unlock } = this.#parts;
    this.#isClosed = true;
    clearInterval(this.#timer);
    await Promise.all([this.#maintaining, this.letterDesk.close(), this.#inbox.close()]);
    try {
      await log.close();
      await deadLetters.close();
      await this.#maintain();
      await readers.close();
    } finally {
      unlock();
    }
  }

  get #reason(): string | undefined {
    const { log, reserve } = this.#parts;
    if (log.failure !== undefined) return `the disk does not take writes: ${log.failure}`;
    if (!reserve.isWhole) return 'the disk is full, and what was kept for dead letters is used: make room';
    if (!this.#admission.isCrowded) return undefined;
    return 'the queue is nearly full: only senders below their fair share are taken';
  }

  get #canAppend(): boolean {
    return this.#parts.log.canAppend && this.#parts.reserve.isWhole;
  }

  /** Saves how far everything is settled, then removes what all destinations are past. Never rejects. */
  #maintain(): Promise<void> {
    const { log, readers, options, deps } = this.#parts;
    const attempt = async (what: string, work: Promise<unknown>) => {
      await work.catch((error: unknown) => {
        const times = this.#troubles.due(what, performance.now());
        const details = { directory: options.directory, reason: messageOf(error), times };
        if (times !== undefined) deps.log.error(details, `cannot ${what}; trying again`);
      });
    };
    const maintain = async () => {
      await readers.save(this.#isClosed);
      await attempt('see what is to be forgotten', this.#forget());
      const { saved } = readers;
      await attempt(
        'remove what is settled',
        log.remove((segment) => isPassedByAll(segment, saved)),
      );
      await attempt('drop old originals of repaired spans', this.letterDesk.dropOldOriginals());
      if (!this.#isClosed) await attempt('keep room for dead letters', this.#restoreReserve());
      this.#maintaining = undefined;
    };
    this.#maintaining ??= maintain();
    return this.#maintaining;
  }

  /** Once more if it is under way: it may have passed what was settled meanwhile. */
  async #maintainAnew(): Promise<void> {
    await this.#maintaining;
    if (!this.#isClosed) await this.#maintain();
  }

  async #restoreReserve(): Promise<void> {
    const { reserve, options, deps } = this.#parts;
    const wasShort = this.#isShortOfRoom;
    this.#isShortOfRoom = !(reserve.isWhole || (await reserve.restore(segmentSizeOf(options.maxBytes))));
    if (this.#isShortOfRoom === wasShort) return;
    const { directory } = options;
    if (wasShort) deps.log.info({ directory }, 'the disk has room for new traces again');
    else
      deps.log.error(
        { directory },
        'the disk is full: no new traces are taken before it has room; what is stored is delivered',
      );
  }

  #forget(): Promise<void> {
    const { readers, deps } = this.#parts;
    return readers.unconfigured.forgetAsked((destination, spans) =>
      deps.metrics.discardedSpans.inc({ destination }, spans),
    );
  }
}
