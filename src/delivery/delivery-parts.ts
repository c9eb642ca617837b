import type { Destination } from '../destinations/destination.ts';
import type { DeadLetters, Lease, QueueReader } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Answers } from './answers.ts';
import { BatchSizing } from './batch-sizing.ts';
import { Burial } from './burial.ts';
import { Intake } from './intake.ts';
import { Outbox } from './outbox.ts';
import { Pacing } from './pacing.ts';
import { Requests } from './requests.ts';
import { Settlement } from './settlement.ts';
import { SharedFaults } from './shared-faults.ts';
import { LongTraces } from './slow-traces.ts';
import { SuspectShares } from './suspect-shares.ts';
import { TraceWindow } from './trace-window.ts';
import type { WindowLimits } from './trace-window.ts';
import { Upstream } from './upstream.ts';
import { UpstreamNews } from './upstream-news.ts';

export type DeliveryOptions = WindowLimits & {
  /** Most requests to the upstream at once. */
  readonly maxInFlight: number;
  /** How long a request waits for its answer, in ms. */
  readonly timeoutMs: number;
};

export type DeliveryDeps = {
  readonly reader: QueueReader;
  readonly destination: Destination;
  readonly deadLetters: DeadLetters;
  readonly metrics: Pick<
    Metrics,
    | 'upstreamSeconds'
    | 'upstreamState'
    | 'deliveredSpans'
    | 'rejectedSpans'
    | 'repairedSpans'
    | 'supersededSpans'
  >;
  readonly log: Logger;
};

/** Answers should come in this share of the time that is waited for them, and within seconds. */
const TARGET = { shareOfTimeout: 1 / 4, mostMs: 5_000 } as const;

export type DeliveryParts = ReturnType<typeof createParts>;

/** What delivery to one destination is made of, put together. */
export function createParts(
  options: DeliveryOptions,
  deps: DeliveryDeps,
  about: {
    /** Nothing new is begun. */
    readonly stopping: AbortSignal;
    /** Nothing is waited for. */
    readonly cut: AbortSignal;
    /** There may be something to begin. */
    readonly onProgress: () => void;
  },
) {
  const { destination, metrics, deadLetters, reader } = deps;
  const { stopping, cut, onProgress } = about;
  const { name } = destination;
  const log = deps.log.child({ destination: name });
  const random = Math.random;
  const window = new TraceWindow<Lease>(options);
  const long = new LongTraces();
  const requests = new Requests({ destination, metrics, log, stopping, cut });
  const { canProbe } = requests;
  const pacing = new Pacing({ maxInFlight: options.maxInFlight, canProbe, random });
  const sizing = new BatchSizing({
    maxSpans: options.maxBatchSpans,
    maxBytes: options.maxBatchSize,
    targetMs: Math.min(TARGET.mostMs, options.timeoutMs * TARGET.shareOfTimeout),
  });
  const upstream = new Upstream(name, { metrics, log });
  const burial = new Burial({ deadLetters, log, stopping });
  const shares = new SuspectShares({
    windowSize: options.windowSize,
    inWindow: (sender) => window.bytesOf(sender),
    aside: (sender) => intake.bytesAside(sender),
  });
  const intake = new Intake({
    reader,
    window,
    mostLargeBytes: options.windowSize,
    destination,
    burial,
    log,
    stopping,
    onArrival: (sender) => outbox.came(sender, performance.now()),
    hasRoom: (sender) => shares.hasRoom(sender, outbox.apart),
    onProgress,
  });
  const onSettled = () => {
    intake.wake();
    onProgress();
  };
  const sharedFaults = new SharedFaults(destination.repair?.bind(destination));
  const mostAtOnce = () => pacing.limit;
  const isSlow = long.isSlow.bind(long);
  const outbox = new Outbox({ window, reader, mostAtOnce, isSlow, intake, sizing, sharedFaults, random });
  const kept = { destination: name, window, burial, sharedFaults };
  const settlement = new Settlement({ ...kept, metrics, log, cut, onSettled });
  const news = new UpstreamNews({ pacing, outbox, upstream });
  const isFull = () => window.isFull && !outbox.hasMore && pacing.isNearlyIdle;
  const isPressed = () => intake.isStuck || isFull();
  const answers = new Answers({ destination, pacing, sizing, outbox, settlement, news, isPressed, log });
  return { pacing, sizing, requests, upstream, news, burial, answers, intake, outbox, shares, window, long };
}
