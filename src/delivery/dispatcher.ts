import PQueue from 'p-queue';
import type { Destination, ResolvedTarget } from '../destinations/destination.ts';
import type { DeadLetters, Lease, QueueReader } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Answers } from './answers.ts';
import { BatchSizing } from './batch-sizing.ts';
import { Burial } from './burial.ts';
import { Intake } from './intake.ts';
import { Outbox } from './outbox.ts';
import type { Work } from './outbox.ts';
import { Pacing } from './pacing.ts';
import type { Ticket } from './pacing.ts';
import { within } from './pause.ts';
import { Requests } from './requests.ts';
import { Settlement } from './settlement.ts';
import { SharedFaults } from './shared-faults.ts';
import { failingTraces, LongTraces } from './slow-traces.ts';
import type { SlowTrace } from './slow-traces.ts';
import { SuspectShares } from './suspect-shares.ts';
import { TraceWindow } from './trace-window.ts';
import type { WindowLimits } from './trace-window.ts';
import { Upstream, whileSearching } from './upstream.ts';
import type { UpstreamState } from './upstream.ts';
import { UpstreamNews } from './upstream-news.ts';

export type { SlowTrace } from './slow-traces.ts';
export type { UpstreamState } from './upstream.ts';

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

export type Delivery = {
  state(): UpstreamState;
  /** Traces whose delivery takes long. */
  slowTraces(): readonly SlowTrace[];
  /** As far as was found out, what the upstream gets at most at once, and in one request. */
  limits(): { readonly requests: number; readonly batchSpans: number };
  /**
   * Begins no request any more. Those in flight may end, and be settled, for `deadlineMs`; then they are aborted.
   * What is not settled comes again after a restart.
   */
  stop(deadlineMs: number): Promise<void>;
};

/** Takes what the queue has for one destination there, until stopped. The one place that settles leases. */
export function startDelivery(options: DeliveryOptions, deps: DeliveryDeps): Delivery {
  const dispatcher = new Dispatcher(options, deps);
  dispatcher.start();
  return {
    state: () => dispatcher.state,
    slowTraces: () => dispatcher.slowTraces,
    limits: () => dispatcher.limits,
    stop: (deadlineMs) => dispatcher.stop(deadlineMs),
  };
}

/** How long after the deadline of a stop aborted requests may take to come back. */
const ABORT_GRACE_MS = 1000;

/** Answers should come in this share of the time that is waited for them, and within seconds. */
const TARGET = { shareOfTimeout: 1 / 4, mostMs: 5_000 } as const;

const NOBODY: ReadonlySet<string> = new Set();

/** How often it is looked whether others have come, where a sender is suspected and nothing else happens, in ms. */
const LOOK_EVERY_MS = 1000;

class Dispatcher {
  readonly #pacing: Pacing;
  readonly #requests: Requests;
  readonly #upstream: Upstream;
  readonly #news: UpstreamNews;
  readonly #burial: Burial;
  readonly #answers: Answers;
  readonly #intake: Intake;
  readonly #sizing: BatchSizing;
  readonly #outbox: Outbox;
  readonly #reader: QueueReader;
  readonly #shares: SuspectShares;
  readonly #window: TraceWindow<Lease>;
  readonly #long = new LongTraces();
  readonly #sends: PQueue;
  /** Nothing new is begun. */
  readonly #stopping = new AbortController();
  /** Nothing is waited for. */
  readonly #cut = new AbortController();
  #timer: { readonly handle: NodeJS.Timeout; readonly at: number } | undefined;
  #reading: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(options: DeliveryOptions, deps: DeliveryDeps) {
    const { destination, metrics, deadLetters, reader } = deps;
    const { name } = destination;
    const log = deps.log.child({ destination: name });
    const stopping = this.#stopping.signal;
    const cut = this.#cut.signal;
    const random = Math.random;
    const onProgress = () => this.#pump();
    const window = new TraceWindow<Lease>(options);
    this.#reader = reader;
    this.#window = window;
    this.#shares = new SuspectShares({
      windowSize: options.windowSize,
      inWindow: (sender) => window.bytesOf(sender),
      aside: (sender) => this.#intake.bytesAside(sender),
    });
    const sizing = new BatchSizing({
      maxSpans: options.maxBatchSpans,
      maxBytes: options.maxBatchSize,
      targetMs: Math.min(TARGET.mostMs, options.timeoutMs * TARGET.shareOfTimeout),
    });
    this.#requests = new Requests({ destination, metrics, log, stopping, cut });
    const { canProbe } = this.#requests;
    const pacing = new Pacing({ maxInFlight: options.maxInFlight, canProbe, random });
    const upstream = new Upstream(name, { metrics, log });
    const burial = new Burial({ deadLetters, log, stopping });
    const intake = new Intake({
      reader,
      window,
      mostLargeBytes: options.windowSize,
      destination,
      burial,
      log,
      stopping,
      onArrival: (sender) => outbox.came(sender, performance.now()),
      hasRoom: (sender) => this.#shares.hasRoom(sender, outbox.apart),
      onProgress,
    });
    const onSettled = () => {
      intake.wake();
      this.#pump();
    };
    this.#burial = burial;
    this.#intake = intake;
    const sharedFaults = new SharedFaults(destination.repair?.bind(destination));
    const outbox = new Outbox({
      window,
      reader,
      mostAtOnce: () => pacing.limit,
      isSlow: (batch) => this.#long.isSlow(batch),
      intake,
      sizing,
      sharedFaults,
      random,
    });
    const settlement = new Settlement({
      destination: name,
      window,
      burial,
      sharedFaults,
      metrics,
      log,
      cut,
      onSettled,
    });
    this.#pacing = pacing;
    this.#sizing = sizing;
    this.#upstream = upstream;
    this.#outbox = outbox;
    const news = new UpstreamNews({ pacing, outbox, upstream });
    const isFull = () => window.isFull && !outbox.hasMore && pacing.isNearlyIdle;
    const isPressed = () => intake.isStuck || isFull();
    this.#answers = new Answers({ destination, pacing, sizing, outbox, settlement, news, isPressed, log });
    this.#news = news;
    this.#sends = new PQueue({ concurrency: options.maxInFlight });
  }

  get state(): UpstreamState {
    const state = this.#burial.trouble ?? this.#upstream.state;
    return state.state === 'up' ? whileSearching(state, this.#outbox.isolating) : state;
  }

  get slowTraces(): readonly SlowTrace[] {
    return [...failingTraces(this.#outbox.failing, performance.now()), ...this.#long.told];
  }

  get limits(): { requests: number; batchSpans: number } {
    return { requests: this.#pacing.limit, batchSpans: this.#sizing.limits.maxBatchSpans };
  }

  start(): void {
    this.#reading = this.#intake.run();
  }

  stop(deadlineMs: number): Promise<void> {
    this.#stopped ??= this.#stop(deadlineMs);
    return this.#stopped;
  }

  async #stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort();
    this.#intake.wake();
    clearTimeout(this.#timer?.handle);
    const idle = this.#sends
      .onIdle()
      .then(() => this.#reading)
      .then(() => this.#burial.onIdle());
    await within(deadlineMs, idle);
    this.#cut.abort();
    await within(ABORT_GRACE_MS, idle);
  }

  /**
   * Begins as many requests as may begin. Called whenever something has changed (a record was read, a request ended,
   * a pause is over); under load no timer decides what the next batch is.
   */
  #pump(): void {
    if (this.#stopping.signal.aborted) return;
    const now = performance.now();
    this.#spareOthers(now);
    if (this.#pacing.hasSlotBeside) this.#begin(now, this.#outbox.nextBeside(now), true);
    while (this.#pacing.slots(now) > 0) {
      const work = this.#outbox.next(now, this.#pacing.isIdle, this.#answers.seen);
      // Where there is nothing else, that the upstream is up again shows by what has failed by itself.
      const isDown = this.#pacing.condition !== 'up';
      if (!this.#begin(now, work ?? (isDown ? this.#outbox.nextBeside(now) : undefined))) break;
    }
    // What was next, and is not to be waited for.
    if (this.#pacing.hasSlotBeside) this.#begin(now, this.#outbox.nextBeside(now), true);
    const { failedTarget } = this.#news;
    if (failedTarget !== undefined && now >= (this.#pacing.probesAt() ?? Infinity)) {
      this.#pacing.beginProbe(now);
      void this.#probe(failedTarget).then(() => this.#pump());
    }
    this.#setTimer(now);
  }

  /** @returns whether there was something to begin */
  #begin(now: number, work: Work | undefined, isBeside = false): boolean {
    if (work === undefined) return false;
    const ticket = this.#pacing.begin(now, isBeside);
    void this.#sends.add(() => this.#perform(work, ticket)).then(() => this.#pump());
    return true;
  }

  /** What takes long, for a search or for its size, must not hold up what others have sent. */
  #spareOthers(now: number): void {
    const isOther = this.#outbox.separate(now);
    if (isOther) this.#intake.wake();
    if (isOther && this.#answers.isDoubted) this.#pacing.tryNow(now);
    const { apart, proven, failing } = this.#outbox;
    this.#reader.isPatient = apart.size > 0 || failing.size > 0 || this.#intake.isBehind;
    // While it is down nothing can be looked through, and nobody is to blame for it.
    const isUp = this.#pacing.condition === 'up';
    this.#reader.heldSenders = this.#shares.held(isUp ? apart : NOBODY);
    if (!isUp || apart.size === 0 || !this.#intake.isStuck) return;
    this.#answers.giveUpSearches();
    for (const sender of proven) void this.#intake.dropAside(sender);
  }

  /** For what comes by waiting alone. A timer that is early does no harm: it sets the next. */
  #setTimer(now: number): void {
    const probesAt = this.#pacing.probesAt() ?? Infinity;
    const resumesAt = this.#pacing.resumesAt() ?? 0;
    const canBegin = this.#pacing.slots(now) > 0;
    const goesAt = resumesAt > now ? resumesAt : canBegin ? (this.#outbox.nextAt(now) ?? Infinity) : Infinity;
    const besideAt = this.#pacing.hasSlotBeside ? (this.#outbox.besideAt() ?? Infinity) : Infinity;
    const looksAt = this.#outbox.looksForOthers ? now + LOOK_EVERY_MS : Infinity;
    const wait = Math.max(1, Math.ceil(Math.min(probesAt, goesAt, besideAt, looksAt) - now));
    if (wait === Infinity || (this.#timer !== undefined && this.#timer.at <= now + wait)) return;
    clearTimeout(this.#timer?.handle);
    const handle = setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, wait);
    this.#timer = { handle, at: now + wait };
  }

  async #perform(work: Work, ticket: Ticket): Promise<void> {
    const number = this.#answers.begin();
    const began = performance.now();
    const outcome =
      work.kind === 'batch'
        ? await this.#requests.send(work.consignment)
        : await this.#requests.probe(work.target);
    this.#outbox.ended(work);
    if (work.kind === 'probe') {
      if (!this.#stopping.signal.aborted) this.#answers.toQuestion(work.target, ticket, outcome, number);
      return;
    }
    // Cut off: what came of it is not known, and it comes again after a restart.
    if (this.#cut.signal.aborted) return;
    const ms = performance.now() - began;
    const { batch } = work.consignment;
    const [traceId = ''] = batch.traces.keys();
    const isOfLong = this.#long.went(batch, this.#window.parkedSpans(traceId), ms);
    this.#answers.toBatch(work.consignment, ticket, outcome, { number, ms, isOfLong });
  }

  async #probe(target: ResolvedTarget): Promise<void> {
    const number = this.#answers.begin();
    const outcome = await this.#requests.probe(target);
    if (!this.#stopping.signal.aborted) this.#answers.toProbe(outcome, number);
  }
}
