import PQueue from 'p-queue';
import type { ResolvedTarget } from '../destinations/destination.ts';
import type { QueueReader } from '../queue/queue.ts';
import { createParts } from './delivery-parts.ts';
import type { DeliveryDeps, DeliveryOptions, DeliveryParts } from './delivery-parts.ts';
import type { Work } from './outbox.ts';
import type { Ticket } from './pacing.ts';
import { within } from './pause.ts';
import { failingTraces } from './slow-traces.ts';
import type { SlowTrace } from './slow-traces.ts';
import { whileSearching } from './upstream.ts';
import type { UpstreamState } from './upstream.ts';

export type { DeliveryDeps, DeliveryOptions } from './delivery-parts.ts';
export type { SlowTrace } from './slow-traces.ts';
export type { UpstreamState } from './upstream.ts';

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

const NOBODY: ReadonlySet<string> = new Set();

/** How often it is looked whether others have come, where a sender is suspected and nothing else happens, in ms. */
const LOOK_EVERY_MS = 1000;

class Dispatcher {
  readonly #parts: DeliveryParts;
  readonly #reader: QueueReader;
  readonly #sends: PQueue;
  /** Nothing new is begun. */
  readonly #stopping = new AbortController();
  /** Nothing is waited for. */
  readonly #cut = new AbortController();
  #timer: { readonly handle: NodeJS.Timeout; readonly at: number } | undefined;
  #reading: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(options: DeliveryOptions, deps: DeliveryDeps) {
    this.#reader = deps.reader;
    this.#parts = createParts(options, deps, {
      stopping: this.#stopping.signal,
      cut: this.#cut.signal,
      onProgress: () => this.#pump(),
    });
    this.#sends = new PQueue({ concurrency: options.maxInFlight });
  }

  get state(): UpstreamState {
    const state = this.#parts.burial.trouble ?? this.#parts.upstream.state;
    return state.state === 'up' ? whileSearching(state, this.#parts.outbox.isolating) : state;
  }

  get slowTraces(): readonly SlowTrace[] {
    return [...failingTraces(this.#parts.outbox.failing, performance.now()), ...this.#parts.long.told];
  }

  get limits(): { requests: number; batchSpans: number } {
    return { requests: this.#parts.pacing.limit, batchSpans: this.#parts.sizing.limits.maxBatchSpans };
  }

  start(): void {
    this.#reading = this.#parts.intake.run();
  }

  stop(deadlineMs: number): Promise<void> {
    this.#stopped ??= this.#stop(deadlineMs);
    return this.#stopped;
  }

  async #stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort();
    this.#parts.intake.wake();
    clearTimeout(this.#timer?.handle);
    const idle = this.#sends
      .onIdle()
      .then(() => this.#reading)
      .then(() => this.#parts.burial.onIdle());
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
    if (this.#parts.pacing.hasSlotBeside) this.#begin(now, this.#parts.outbox.nextBeside(now), true);
    while (this.#parts.pacing.slots(now) > 0) {
      const work = this.#parts.outbox.next(now, this.#parts.pacing.isIdle, this.#parts.answers.seen);
      // Where there is nothing else, that the upstream is up again shows by what has failed by itself.
      const isDown = this.#parts.pacing.condition !== 'up';
      if (!this.#begin(now, work ?? (isDown ? this.#parts.outbox.nextBeside(now) : undefined))) break;
    }
    // What was next, and is not to be waited for.
    if (this.#parts.pacing.hasSlotBeside) this.#begin(now, this.#parts.outbox.nextBeside(now), true);
    const { failedTarget } = this.#parts.news;
    if (failedTarget !== undefined && now >= (this.#parts.pacing.probesAt() ?? Infinity)) {
      this.#parts.pacing.beginProbe(now);
      void this.#probe(failedTarget).then(() => this.#pump());
    }
    this.#setTimer(now);
  }

  /** @returns whether there was something to begin */
  #begin(now: number, work: Work | undefined, isBeside = false): boolean {
    if (work === undefined) return false;
    const ticket = this.#parts.pacing.begin(now, isBeside);
    void this.#sends.add(() => this.#perform(work, ticket)).then(() => this.#pump());
    return true;
  }

  /** What takes long, for a search or for its size, must not hold up what others have sent. */
  #spareOthers(now: number): void {
    const isOther = this.#parts.outbox.separate(now);
    if (isOther) this.#parts.intake.wake();
    if (isOther && this.#parts.answers.isDoubted) this.#parts.pacing.tryNow(now);
    const { apart, proven, failing } = this.#parts.outbox;
    this.#reader.isPatient = apart.size > 0 || failing.size > 0 || this.#parts.intake.isBehind;
    // While it is down nothing can be looked through, and nobody is to blame for it.
    const isUp = this.#parts.pacing.condition === 'up';
    this.#reader.heldSenders = this.#parts.shares.held(isUp ? apart : NOBODY);
    if (!isUp || apart.size === 0 || !this.#parts.intake.isStuck) return;
    this.#parts.answers.giveUpSearches();
    for (const sender of proven) void this.#parts.intake.dropAside(sender);
  }

  /** For what comes by waiting alone. A timer that is early does no harm: it sets the next. */
  #setTimer(now: number): void {
    const probesAt = this.#parts.pacing.probesAt() ?? Infinity;
    const resumesAt = this.#parts.pacing.resumesAt() ?? 0;
    const canBegin = this.#parts.pacing.slots(now) > 0;
    const goesAt =
      resumesAt > now ? resumesAt : canBegin ? (this.#parts.outbox.nextAt(now) ?? Infinity) : Infinity;
    const besideAt = this.#parts.pacing.hasSlotBeside
      ? (this.#parts.outbox.besideAt() ?? Infinity)
      : Infinity;
    const looksAt = this.#parts.outbox.looksForOthers ? now + LOOK_EVERY_MS : Infinity;
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
    const number = this.#parts.answers.begin();
    const began = performance.now();
    const outcome =
      work.kind === 'batch'
        ? await this.#parts.requests.send(work.consignment)
        : await this.#parts.requests.probe(work.target);
    this.#parts.outbox.ended(work);
    if (work.kind === 'probe') {
      if (!this.#stopping.signal.aborted)
        this.#parts.answers.toQuestion(work.target, ticket, outcome, number);
      return;
    }
    // Cut off: what came of it is not known, and it comes again after a restart.
    if (this.#cut.signal.aborted) return;
    const ms = performance.now() - began;
    const { batch } = work.consignment;
    const [traceId = ''] = batch.traces.keys();
    const isOfLong = this.#parts.long.went(batch, this.#parts.window.parkedSpans(traceId), ms);
    this.#parts.answers.toBatch(work.consignment, ticket, outcome, { number, ms, isOfLong });
  }

  async #probe(target: ResolvedTarget): Promise<void> {
    const number = this.#parts.answers.begin();
    const outcome = await this.#parts.requests.probe(target);
    if (!this.#stopping.signal.aborted) this.#parts.answers.toProbe(outcome, number);
  }
}
