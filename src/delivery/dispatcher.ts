import PQueue from 'p-queue';
import type { Destination, ResolvedTarget, SendOutcome } from '../destinations/destination.ts';
import type { DeadLetters, Lease, QueueReader } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Batch } from './batch.ts';
import { Burial, lettersOf } from './burial.ts';
import { Intake } from './intake.ts';
import { Notice } from '../telemetry/notice.ts';
import { Pacing } from './pacing.ts';
import type { Ticket } from './pacing.ts';
import { within } from './pause.ts';
import { Requests } from './requests.ts';
import { newConsignment, RetryLine } from './retry-line.ts';
import type { Consignment } from './retry-line.ts';
import { TraceWindow } from './trace-window.ts';
import type { WindowLimits } from './trace-window.ts';
import { Upstream } from './upstream.ts';
import type { UpstreamState } from './upstream.ts';

export type { UpstreamState } from './upstream.ts';

export type DeliveryOptions = WindowLimits & {
  /** Most requests to the upstream at once. */
  readonly maxInFlight: number;
};

export type DeliveryDeps = {
  readonly reader: QueueReader;
  readonly destination: Destination;
  readonly deadLetters: DeadLetters;
  readonly metrics: Pick<Metrics, 'upstreamSeconds' | 'upstreamState' | 'deliveredSpans' | 'rejectedSpans'>;
  readonly log: Logger;
};

export type Delivery = {
  state(): UpstreamState;
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
  return { state: () => dispatcher.state, stop: (deadlineMs) => dispatcher.stop(deadlineMs) };
}

/** How long after the deadline of a stop aborted requests may take to come back. */
const ABORT_GRACE_MS = 1000;

/** Times that a batch must be refused where each refusal may as well be a passing fault of the upstream. */
const DOUBTS_TO_BELIEVE = 2;

type Failure = Exclude<SendOutcome, { kind: 'delivered' | 'refused' }>;

function failureOf(outcome: Failure): { condition: 'retrying' | 'blocked'; after: number } {
  return outcome.kind === 'retry'
    ? { condition: 'retrying', after: outcome.after ?? 0 }
    : { condition: 'blocked', after: 0 };
}

class Dispatcher {
  readonly #destination: Destination;
  readonly #metrics: DeliveryDeps['metrics'];
  readonly #log: Logger;
  readonly #window: TraceWindow<Lease>;
  readonly #pacing: Pacing;
  readonly #requests: Requests;
  readonly #upstream: Upstream;
  readonly #burial: Burial;
  readonly #intake: Intake;
  readonly #sends: PQueue;
  /** Nothing new is begun. */
  readonly #stopping = new AbortController();
  /** Nothing is waited for. */
  readonly #cut = new AbortController();
  readonly #rejected = new Notice();
  readonly #retries = new RetryLine(Math.random);
  #isTurnOfRetries = true;
  #answers = 0;
  #deliveries = 0;
  /** Of the batch that failed last. */
  #failedTarget: ResolvedTarget | undefined;
  #timer: { readonly handle: NodeJS.Timeout; readonly at: number } | undefined;
  #reading: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(options: DeliveryOptions, deps: DeliveryDeps) {
    const { destination, metrics, deadLetters, reader } = deps;
    const log = deps.log.child({ destination: destination.name });
    const stopping = this.#stopping.signal;
    this.#destination = destination;
    this.#metrics = metrics;
    this.#log = log;
    this.#window = new TraceWindow(options);
    this.#requests = new Requests({ destination, metrics, log, stopping, cut: this.#cut.signal });
    const { canProbe } = this.#requests;
    this.#pacing = new Pacing({ maxInFlight: options.maxInFlight, canProbe, random: Math.random });
    this.#upstream = new Upstream(destination.name, { metrics, log });
    this.#burial = new Burial({ deadLetters, log, stopping });
    const onProgress = () => this.#pump();
    this.#intake = new Intake({
      reader,
      window: this.#window,
      destination,
      burial: this.#burial,
      log,
      stopping,
      onProgress,
    });
    this.#sends = new PQueue({ concurrency: options.maxInFlight });
  }

  get state(): UpstreamState {
    return this.#burial.trouble ?? this.#upstream.state;
  }

  start(): void {
    // There from the start, so that a first increase is seen as one.
    this.#metrics.deliveredSpans.inc({ destination: this.#destination.name }, 0);
    this.#metrics.rejectedSpans.inc({ destination: this.#destination.name }, 0);
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
    while (this.#pacing.slots(now) > 0) {
      const next = this.#next(now);
      if (next === undefined) break;
      const ticket = this.#pacing.begin(now);
      void this.#sends.add(() => this.#attempt(next, ticket)).then(() => this.#pump());
    }
    if (this.#failedTarget !== undefined && now >= (this.#pacing.probesAt() ?? Infinity)) {
      this.#pacing.beginProbe(now);
      void this.#probe(this.#failedTarget).then(() => this.#pump());
    }
    this.#setTimer(now);
  }

  /** What failed and what is new take turns, so that neither keeps the other from going, or from being the probe. */
  #next(now: number): Consignment | undefined {
    const fresh = () => {
      // What is under way may settle the oldest records yet.
      const isStuck = this.#intake.isStuck && this.#pacing.isIdle;
      const batch = this.#window.take({ now: Date.now(), atTail: this.#intake.isAtTail, isStuck });
      return batch && newConsignment(batch);
    };
    this.#isTurnOfRetries = !this.#isTurnOfRetries;
    if (this.#isTurnOfRetries) return this.#retries.takeDue(now) ?? fresh();
    return fresh() ?? this.#retries.takeDue(now);
  }

  /** For what comes by waiting alone. A timer that is early does no harm: it sets the next. */
  #setTimer(now: number): void {
    const waits: number[] = [];
    const probesAt = this.#pacing.probesAt();
    if (probesAt !== undefined) waits.push(probesAt - now);
    const resumesAt = this.#pacing.resumesAt();
    if (resumesAt !== undefined && resumesAt > now) {
      waits.push(resumesAt - now);
    } else if (this.#pacing.slots(now) > 0) {
      const dueAt = this.#retries.nextDueAt();
      if (dueAt !== undefined) waits.push(dueAt - now);
      const readyAt = this.#intake.isAtTail ? this.#window.nextReadyAt() : undefined;
      if (readyAt !== undefined) waits.push(readyAt - Date.now());
    }
    if (waits.length === 0) return;
    const wait = Math.max(1, Math.ceil(Math.min(...waits)));
    if (this.#timer !== undefined && this.#timer.at <= now + wait) return;
    clearTimeout(this.#timer?.handle);
    const handle = setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, wait);
    this.#timer = { handle, at: now + wait };
  }

  async #attempt(consignment: Consignment, ticket: Ticket): Promise<void> {
    const outcome = await this.#requests.send(consignment);
    // Cut off: what came of it is not known, and it comes again after a restart.
    if (this.#cut.signal.aborted) return;
    const { batch, attempts } = consignment;
    if (outcome.kind !== 'delivered' && outcome.kind !== 'refused') {
      this.#failed(consignment, ticket, outcome);
      return;
    }
    if (outcome.kind === 'refused' && outcome.doubtful === true && !this.#isBelieved(consignment)) {
      this.#failed(consignment, ticket, { kind: 'retry', reason: outcome.reason });
      return;
    }
    this.#answers++;
    this.#pacing.answered(ticket, !this.#retries.isEmpty || this.#window.hasFullBatch);
    if (this.#pacing.condition === 'up') this.#upstream.isUp();
    if (outcome.kind === 'delivered') {
      this.#deliveries++;
      this.#count(batch, outcome);
      this.#settle(batch);
    } else {
      // All of the batch: to find the spans that are to blame, and to deliver the others, would be done here.
      void this.#bury(batch, outcome.reason, attempts);
    }
  }

  /** What comes of it is said only while the upstream is away: that it is up, batches have to tell. */
  async #probe(target: ResolvedTarget): Promise<void> {
    const outcome = await this.#requests.probe(target);
    if (this.#stopping.signal.aborted) return;
    const now = performance.now();
    if (outcome.kind === 'delivered' || outcome.kind === 'refused') {
      this.#pacing.probeAnswered(now);
      return;
    }
    const { condition, after } = failureOf(outcome);
    this.#pacing.probeFailed(condition, now, after);
    this.#tellDown(outcome.reason, now);
  }

  /**
   * An upstream with a fault says of every batch what it says of a bad one: a refusal that may be either is believed
   * only when it has come again, and others were delivered in between.
   */
  #isBelieved(consignment: Consignment): boolean {
    consignment.doubts ??= { times: 0, deliveriesBefore: this.#deliveries };
    consignment.doubts.times++;
    const { times, deliveriesBefore } = consignment.doubts;
    return times >= DOUBTS_TO_BELIEVE && this.#deliveries > deliveriesBefore;
  }

  /** Keeps the batch as it is, its traces busy: the upstream may still be at work on them. It goes again, later. */
  #failed(consignment: Consignment, ticket: Ticket, outcome: Failure): void {
    const now = performance.now();
    const { condition, after } = failureOf(outcome);
    this.#failedTarget = consignment.batch.target;
    this.#pacing.failed(ticket, condition, now, after);
    this.#tellDown(outcome.reason, now);
    this.#retries.push(consignment, { now, condition, after, answers: this.#answers });
  }

  #tellDown(reason: string, now: number): void {
    const { condition } = this.#pacing;
    if (condition === 'up') return;
    const nextAt = Math.min(this.#pacing.resumesAt() ?? Infinity, this.#pacing.probesAt() ?? Infinity);
    this.#upstream.isDown(condition, reason, Number.isFinite(nextAt) ? nextAt - now : 0);
  }

  #count(batch: Batch<Lease>, outcome: Extract<SendOutcome, { kind: 'delivered' }>): void {
    const destination = this.#destination.name;
    const rejected = Math.min(outcome.rejectedSpans, batch.spanCount);
    this.#metrics.deliveredSpans.inc({ destination }, batch.spanCount - rejected);
    if (rejected === 0) return;
    this.#metrics.rejectedSpans.inc({ destination }, rejected);
    const spans = this.#rejected.due(performance.now(), rejected);
    if (spans === undefined) return;
    this.#log.warn(
      { spans, reason: outcome.message, target: batch.target.description },
      'the upstream left spans out of what it took, by a partial success (spans counts since this was last said)',
    );
  }

  async #bury(batch: Batch<Lease>, reason: string, attempts: number): Promise<void> {
    const destination = this.#destination.name;
    const letters = lettersOf(batch, { destination, reason, attempts, refusedAt: Date.now() });
    const isKept = await this.#burial.bury(letters);
    if (!isKept || this.#cut.signal.aborted) return;
    this.#settle(batch);
    this.#pump();
  }

  #settle(batch: Batch<Lease>): void {
    for (const { handle: lease, spanCount } of batch.sources) lease.done(spanCount);
    for (const lease of this.#window.release(batch)) lease.settle();
    this.#intake.wake();
  }
}
