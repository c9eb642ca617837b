import type { RouteTarget } from '../otlp/record.ts';
import type { LogCursor, Position, ReadFrame } from './log-cursor.ts';
import type { Lease, QueueReader } from './queue.ts';
import type { SegmentLog } from './segment-log.ts';

/** What is written of a record beside its payload. */
export type RecordMeta = {
  readonly spans: number;
  readonly sender: string;
  readonly receivedAt: number;
  readonly route: RouteTarget;
};

/** A frame that was read and has records that are not settled. */
type OpenFrame = { readonly start: Position; readonly receivedAt: number; unsettled: number };

const READ_AGAIN_MS = 1000;

/** One destination's way through the log: hands out its records, knows how far all of them are settled. */
export class DestinationReader implements QueueReader {
  readonly destination: string;
  waitingSpans: number;
  readonly #cursor: LogCursor<RecordMeta>;
  #readUpTo: Position;
  readonly #log: SegmentLog<RecordMeta>;
  readonly #onReadError: (error: unknown) => void;
  /** In the order of the log. */
  readonly #open = new Set<OpenFrame>();
  #ready: Lease[] = [];
  #more: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: {
    destination: string;
    log: SegmentLog<RecordMeta>;
    from: Position;
    waitingSpans: number;
    onReadError: (error: unknown) => void;
  }) {
    this.destination = options.destination;
    this.waitingSpans = options.waitingSpans;
    this.#readUpTo = options.from;
    this.#cursor = options.log.cursor(options.from, { onSkipped: (metas) => this.#skip(metas) });
    this.#log = options.log;
    this.#onReadError = options.onReadError;
  }

  /** Where a restart would have to begin. */
  get settledUpTo(): Position {
    return this.#oldest?.start ?? this.#readUpTo;
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
    await Promise.race([this.#more, aborted]);
    signal?.removeEventListener('abort', onAbort);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ready = [];
    await this.#cursor.close();
  }

  #take(frame: ReadFrame<RecordMeta>): void {
    this.#readUpTo = frame.end;
    const mine = frame.entries.filter(({ meta }) => this.#isMine(meta));
    const first = mine[0];
    if (first === undefined) return;
    const open: OpenFrame = { start: frame.start, receivedAt: first.meta.receivedAt, unsettled: mine.length };
    this.#open.add(open);
    for (const { meta, payload } of mine) {
      const { spans, sender, route, receivedAt } = meta;
      let waiting = spans;
      let settled = false;
      const done = (count: number) => {
        this.waitingSpans -= Math.min(count, waiting);
        waiting -= Math.min(count, waiting);
      };
      const settle = () => {
        if (settled) return;
        settled = true;
        done(waiting);
        if (--open.unsettled === 0) this.#open.delete(open);
      };
      this.#ready.push({ record: { payload, spanCount: spans, sender, route, receivedAt }, done, settle });
    }
  }

  #skip(metas: readonly RecordMeta[]): void {
    for (const meta of metas) if (this.#isMine(meta)) this.waitingSpans -= meta.spans;
  }

  #isMine(meta: RecordMeta): boolean {
    return meta.route.destinations.includes(this.destination);
  }
}
