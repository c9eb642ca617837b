import { join } from 'node:path';
import { RelayError, messageOf } from '../errors.ts';
import type { TraceRecord } from '../otlp/record.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { openDeadLetters } from './dead-letters.ts';
import { DestinationReader } from './destination-reader.ts';
import type { RecordMeta } from './destination-reader.ts';
import { realFileSystem } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import { LogContent } from './frame.ts';
import { lockDirectory } from './lock.ts';
import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import { PositionFile, positionPath, savedDestinations } from './positions.ts';
import type { AppendOutcome, DeadLetters, Queue, QueueReader, QueueStatus } from './queue.ts';
import { SegmentLog } from './segment-log.ts';
import type { LogObserver } from './segment-log.ts';
import { countFrom, countRecord } from './waiting-spans.ts';

/** Positions are saved, and what all are past is removed, about this often; a crash repeats that much. */
const SAVE_EVERY_MS = 1000;

export type QueueOptions = {
  readonly directory: string;
  /** For the segments of waiting records; a quarter more may be taken by dead letters. */
  readonly maxBytes: number;
  readonly destinations: readonly string[];
  readonly fs?: FileSystem;
  /** Keeps others out of the directory; returns what lets them in again. */
  readonly lock?: (directory: string) => () => void;
};

type Deps = { readonly log: Logger; readonly metrics: Metrics };

/**
 * Opens the queue in a directory, alone: recovers the log, finds each destination's place in it.
 * A destination without a saved position is new and starts at the end; where no position was ever saved, all
 * start at the beginning.
 *
 * @throws RelayError QUEUE_LOCKED, QUEUE_FORMAT, QUEUE_UNUSABLE
 */
export async function openQueue(
  options: QueueOptions,
  deps: Deps,
): Promise<Queue & { readonly deadLetters: DeadLetters }> {
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
      `cannot open the queue in ${directory} (key queue.directory): ${messageOf(error)}; the directory must be writable for this user`,
      { cause: error },
    );
  }
}

class SegmentQueue implements Queue {
  readonly deadLetters: DeadLetters;
  readonly #options: QueueOptions;
  readonly #log: SegmentLog<RecordMeta>;
  readonly #deps: Deps;
  readonly #unlock: () => void;
  readonly #positions: ReadonlyMap<string, PositionFile>;
  readonly #readers: ReadonlyMap<string, DestinationReader>;
  readonly #recovered: Readonly<Record<string, number>>;
  readonly #timer: NodeJS.Timeout;
  #maintaining: Promise<void> | undefined;

  private constructor(parts: {
    options: QueueOptions;
    deps: Deps;
    unlock: () => void;
    log: SegmentLog<RecordMeta>;
    deadLetters: DeadLetters;
    positions: ReadonlyMap<string, PositionFile>;
    readers: ReadonlyMap<string, DestinationReader>;
    recovered: Readonly<Record<string, number>>;
  }) {
    this.#options = parts.options;
    this.#deps = parts.deps;
    this.#unlock = parts.unlock;
    this.#log = parts.log;
    this.deadLetters = parts.deadLetters;
    this.#positions = parts.positions;
    this.#readers = parts.readers;
    this.#recovered = parts.recovered;
    this.#timer = setInterval(() => void this.#maintain(), SAVE_EVERY_MS);
    this.#timer.unref();
  }

  static async open(
    options: QueueOptions,
    fs: FileSystem,
    unlock: () => void,
    deps: Deps,
  ): Promise<SegmentQueue> {
    const { directory, maxBytes, destinations } = options;
    const positionsDirectory = join(directory, 'positions');
    const opened: { close(): Promise<void> }[] = [];
    const keep = <T extends { close(): Promise<void> }>(closable: T): T => {
      opened.push(closable);
      return closable;
    };
    try {
      await fs.makeDirectory(positionsDirectory);
      const positions = new Map<string, PositionFile>();
      for (const name of await savedDestinations(fs, positionsDirectory)) {
        positions.set(name, keep(await PositionFile.open(fs, positionsDirectory, name)));
        if (!destinations.includes(name))
          tellVanished(deps.log, name, positionPath(positionsDirectory, name));
      }
      await fs.syncDirectory(positionsDirectory); // of a start that was cut off in between
      const saved = [...positions.values()].map((file) => file.saved).filter((at) => at !== undefined);
      const log = keep(
        await SegmentLog.open<RecordMeta>({
          fs,
          directory: join(directory, 'segments'),
          content: LogContent.queue,
          maxBytes,
          idsAbove: Math.max(0, ...saved.map((at) => at.segment)),
          count: countRecord,
          observer: {
            ...observe(deps, 'queue'),
            synced: (seconds) => deps.metrics.queueSyncSeconds.observe(seconds),
          },
        }),
      );
      const startOfNew = positions.size === 0 ? log.start : log.end;
      const readers = new Map<string, DestinationReader>();
      const recovered: Record<string, number> = {};
      for (const name of destinations) {
        const file =
          positions.get(name) ?? keep(await PositionFile.create(fs, positionsDirectory, name, startOfNew));
        positions.set(name, file);
        if (file.saved === undefined) tellDamaged(deps.log, name, positionPath(positionsDirectory, name));
        const from = file.saved ?? log.start;
        const onReadError = (error: unknown) =>
          deps.log.error(
            { destination: name, reason: messageOf(error) },
            'cannot read the queue; trying again',
          );
        const waitingSpans = await countFrom(log, from, name).catch((error: unknown) => {
          onReadError(error);
          return 0;
        });
        recovered[name] = waitingSpans;
        readers.set(
          name,
          keep(new DestinationReader({ destination: name, log, from, waitingSpans, onReadError })),
        );
      }
      const deadLetters = await openDeadLetters(
        fs,
        join(directory, 'dead-letters'),
        Math.floor(maxBytes / 4),
        observe(deps, 'dead letters'),
      );
      return new SegmentQueue({ options, deps, unlock, log, deadLetters, positions, readers, recovered });
    } catch (error) {
      for (const closable of opened) await closable.close().catch(() => {});
      throw error;
    }
  }

  async append(records: readonly TraceRecord[]): Promise<AppendOutcome> {
    const entries = records.map(({ payload, spanCount, sender, route, receivedAt }) => ({
      meta: { spans: spanCount, sender, receivedAt, route },
      payload,
    }));
    const outcome = await this.#log.append(entries);
    if (outcome === 'stored') {
      for (const { spanCount, route } of records) {
        for (const name of route.destinations) {
          const reader = this.#readers.get(name);
          if (reader) reader.waitingSpans += spanCount;
        }
      }
    }
    return outcome;
  }

  reader(destination: string): QueueReader {
    const reader = this.#readers.get(destination);
    if (reader === undefined) throw new Error(`the queue was opened without destination ${destination}`);
    return reader;
  }

  status(): QueueStatus {
    const destinations = [...this.#readers].map(([name, reader]) => [
      name,
      {
        waitingSpans: reader.waitingSpans,
        recoveredSpans: this.#recovered[name] ?? 0,
        oldestReceivedAt: reader.oldestReceivedAt,
      },
    ]);
    return {
      canAppend: this.#log.canAppend,
      bytes: this.#log.bytes,
      maxBytes: this.#options.maxBytes,
      segments: this.#log.segments.length,
      destinations: Object.fromEntries(destinations) as QueueStatus['destinations'],
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#maintaining;
    try {
      await this.#log.close();
      await this.#maintain();
      const closables = [...this.#readers.values(), ...this.#positions.values(), this.deadLetters];
      const results = await Promise.allSettled(closables.map((closable) => closable.close()));
      const failed = results.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
    } finally {
      this.#unlock();
    }
  }

  /** Saves how far everything is settled, then removes what all destinations are past. Never rejects. */
  #maintain(): Promise<void> {
    const attempt = async (what: string, work: Promise<void>) => {
      await work.catch((error: unknown) =>
        this.#deps.log.error(
          { directory: this.#options.directory, reason: messageOf(error) },
          `cannot ${what}; trying again`,
        ),
      );
    };
    const maintain = async () => {
      for (const [name, reader] of this.#readers) {
        const file = this.#positions.get(name);
        const at = reader.settledUpTo;
        if (!file || (file.saved && comparePositions(file.saved, at) === 0)) continue;
        await attempt(`save the position of ${name}`, file.save(at));
      }
      await attempt('remove what is settled', this.#log.removeBefore(this.#oldestSaved()));
      this.#maintaining = undefined;
    };
    this.#maintaining ??= maintain();
    return this.#maintaining;
  }

  #oldestSaved(): Position {
    const saved = [...this.#positions.values()].map((file) => file.saved ?? this.#log.start);
    return saved.reduce((a, b) => (comparePositions(a, b) <= 0 ? a : b), this.#log.end);
  }
}

function tellVanished(log: Logger, destination: string, file: string): void {
  log.warn(
    { destination, file },
    'the queue keeps data of a destination that is not in the configuration: name it again, or stop the relay and delete this file to give its data up',
  );
}

function tellDamaged(log: Logger, destination: string, file: string): void {
  log.error(
    { destination, file },
    'the saved position of this destination is damaged: all that is in the queue is delivered to it again',
  );
}

function observe({ log, metrics }: Deps, what: string): LogObserver {
  return {
    damaged(damage) {
      metrics.queueDamagedBytes.inc(damage.bytes);
      log.error(
        { ...damage },
        damage.atEnd
          ? `the last bytes of a segment of the ${what} are no whole record and were set aside: a write that was cut, or damage`
          : `bytes of the ${what} failed their checksum and were set aside; records in front of and behind them are delivered`,
      );
    },
    unread: (segment, reason) =>
      log.error(
        { segment, reason },
        `a segment of the ${what} could not be read or sealed at the start; its records are tried when their turn comes`,
      ),
    failing: (reason) =>
      log.error(
        { reason },
        `the disk does not take writes of the ${what}; what is stored stays, trying again`,
      ),
    recovered: () => log.info(`the disk takes writes of the ${what} again`),
  };
}
