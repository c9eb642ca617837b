import type { ResolvedTarget } from '../destinations/destination.ts';
import { failureOf } from './failure.ts';
import type { Failure } from './failure.ts';
import type { Outbox } from './outbox.ts';
import type { Pacing, Ticket } from './pacing.ts';
import type { Upstream } from './upstream.ts';

export type UpstreamNewsDeps = {
  readonly pacing: Pacing;
  readonly outbox: Pick<Outbox, 'hasMore'>;
  readonly upstream: Upstream;
};

/** What an answer says of the upstream itself: for how much is sent, and for people. */
export class UpstreamNews {
  readonly #deps: UpstreamNewsDeps;
  /** Of requests with spans, whatever they said, but for those that say it is down. */
  #answers = 0;
  #failedTarget: ResolvedTarget | undefined;

  constructor(deps: UpstreamNewsDeps) {
    this.#deps = deps;
  }

  get answers(): number {
    return this.#answers;
  }

  /** Of the request that failed last. */
  get failedTarget(): ResolvedTarget | undefined {
    return this.#failedTarget;
  }

  /** It is there. @param spans that it has stored */
  answered(ticket: Ticket, spans: number): void {
    const { pacing, outbox, upstream } = this.#deps;
    this.#answers++;
    pacing.answered(ticket, { now: performance.now(), spans, moreWaits: outbox.hasMore });
    if (pacing.condition === 'up') upstream.isUp();
  }

  /** It is down. @returns what a pause depends on */
  fell(target: ResolvedTarget, ticket: Ticket, failure: Failure) {
    const now = performance.now();
    const { condition, after } = failureOf(failure);
    this.#failedTarget = target;
    this.#deps.pacing.failed(ticket, condition, now, after);
    this.tellDown(failure.reason, now);
    return { now, condition, after, answers: this.#answers };
  }

  tellDown(reason: string, now: number): void {
    const { pacing, upstream } = this.#deps;
    if (pacing.condition === 'up') return;
    const nextAt = Math.min(pacing.resumesAt() ?? Infinity, pacing.probesAt() ?? Infinity);
    upstream.isDown(pacing.condition, reason, Number.isFinite(nextAt) ? nextAt - now : 0);
  }
}
