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
import { lockDirectory } from './lock.ts';
import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import { PositionFile } from './positions.ts';
import type { AppendOutcome, DeadLetters, Queue, QueueReader, QueueStatus } from './queue.ts';
import { SegmentLog } from './segment-log.ts';
import type { LogObserver } from './segment-log.ts';
import { countFrom, countWaiting } from './waiting-spans.ts';

/** Positions are saved, and what all are past is removed, about this often; a crash repeats that much. */
const SAVE_EVERY_MS = 1000;

export type QueueOptions = {
  readonly directory: string;
  /** For the segments of waiting records; a quarter more may be taken by dead letters. */
  readonly maxBytes: number;
  readonly destinations: readonly string[];
  readonly fs?: FileSystem;
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
    unlock = lockDirectory(directory);
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
    const positions = await openPositions(fs, join(directory, 'positions'), destinations);
    const saved = [...positions.values()].map((file) => file.saved).filter((at) => at !== undefined);
    for (const name of positions.keys()) {
      if (destinations.includes(name)) continue;
      deps.log.warn(
        { destination: name, file: join(directory, 'positions', name) },
        'the queue keeps data of a destination that is not in the configuration: name it again, or stop the relay and delete this file to give its data up',
      );
    }
    const observer = observe(deps, 'queue');
    const log = await SegmentLog.open<RecordMeta>({
      fs,
      directory: join(directory, 'segments'),
      maxBytes,
      idsAbove: Math.max(0, ...saved.map((at) => at.segment)),
      count: countWaiting,
      observer: { ...observer, synced: (seconds) => deps.metrics.queueSyncSeconds.observe(seconds) },
    });
    const readers = new Map<string, DestinationReader>();
    const recovered: Record<string, number> = {};
    for (const name of destinations) {
      const from = positions.get(name)?.saved ?? (saved.length === 0 ? log.start : log.end);
      const waitingSpans = await countFrom(log, from, name);
      recovered[name] = waitingSpans;
      const onReadError = (error: unknown) =>
        deps.log.error(
          { destination: name, reason: messageOf(error) },
          'cannot read the queue; trying again',
        );
      const cursor = log.cursor(from);
      const advanced = () => log.advanced;
      readers.set(
        name,
        new DestinationReader({ destination: name, cursor, waitingSpans, advanced, onReadError }),
      );
      await positions.get(name)?.save(from);
    }
    const deadLetters = await openDeadLetters(
      fs,
      join(directory, 'dead-letters'),
      Math.floor(maxBytes / 4),
      observe(deps, 'dead letters'),
    );
    return new SegmentQueue({ options, deps, unlock, log, deadLetters, positions, readers, recovered });
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
    await this.#log.close();
    await this.#maintain();
    for (const reader of this.#readers.values()) await reader.close();
    for (const file of this.#positions.values()) await file.close();
    await this.deadLetters.close();
    this.#unlock();
  }

  /** Saves how far everything is settled, then removes what all destinations are past. Never rejects. */
  #maintain(): Promise<void> {
    this.#maintaining ??= this.#saveAndRemove()
      .catch((error: unknown) => {
        this.#deps.log.error(
          { directory: this.#options.directory, reason: messageOf(error) },
          'cannot save positions or remove what is settled; trying again',
        );
      })
      .finally(() => {
        this.#maintaining = undefined;
      });
    return this.#maintaining;
  }

  async #saveAndRemove(): Promise<void> {
    for (const [name, reader] of this.#readers) {
      const file = this.#positions.get(name);
      const at = reader.settledUpTo;
      if (file && (!file.saved || comparePositions(file.saved, at) !== 0)) await file.save(at);
    }
    const oldest = this.#oldestPosition();
    // A segment that is still written can't be removed: where it alone fills the queue, another one begins.
    if (comparePositions(oldest, this.#log.end) >= 0 && this.#log.bytes > this.#options.maxBytes / 4) {
      await this.#log.roll();
    }
    await this.#log.removeBefore(this.#segmentToKeep(oldest));
  }

  #oldestPosition(): Position {
    const saved = [...this.#positions.values()].map((file) => file.saved ?? this.#log.start);
    return saved.reduce((a, b) => (comparePositions(a, b) <= 0 ? a : b), this.#log.end);
  }

  /** The segment of the position, or the one behind it where nothing of it is left to read. */
  #segmentToKeep(oldest: Position): number {
    const segment = this.#log.segments.find(({ id }) => id === oldest.segment);
    return segment && oldest.offset >= segment.end ? segment.id + 1 : oldest.segment;
  }
}

async function openPositions(
  fs: FileSystem,
  directory: string,
  destinations: readonly string[],
): Promise<Map<string, PositionFile>> {
  await fs.makeDirectory(directory);
  const names = new Set([...(await fs.list(directory)), ...destinations]);
  const positions = new Map<string, PositionFile>();
  for (const name of names) positions.set(name, await PositionFile.open(fs, directory, name));
  return positions;
}

function observe({ log, metrics }: Deps, what: string): LogObserver {
  return {
    damaged(damage) {
      metrics.queueDamagedBytes.inc(damage.bytes);
      log.error(
        { ...damage },
        `bytes of the ${what} failed their checksum and were set aside; records in front of and behind them are delivered`,
      );
    },
    failing: (reason) =>
      log.error(
        { reason },
        `the disk does not take writes of the ${what}; what is stored stays, trying again`,
      ),
    recovered: () => log.info(`the disk takes writes of the ${what} again`),
  };
}
