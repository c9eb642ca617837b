import { MOST_REPAIR_WORK } from '../destinations/destination.ts';
import type { Destination, ResolvedTarget, SendOutcome } from '../destinations/destination.ts';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Consignment } from './retry-line.ts';

export type RequestDeps = {
  readonly destination: Destination;
  readonly metrics: Pick<Metrics, 'upstreamSeconds'>;
  readonly log: Logger;
  /** Nothing new is begun. */
  readonly stopping: AbortSignal;
  /** Nothing is waited for. */
  readonly cut: AbortSignal;
};

/**
 * Requests to one upstream, timed and logged. What was not let in goes once more: a token may end on the way, and was
 * dropped, so that this time it is a fresh one. A bug is an outcome too: it must cost no span.
 */
export class Requests {
  readonly #deps: RequestDeps;

  constructor(deps: RequestDeps) {
    this.#deps = deps;
  }

  /** Whether the upstream can be probed. */
  get canProbe(): boolean {
    return this.#deps.destination.probe !== undefined;
  }

  send(consignment: Consignment): Promise<SendOutcome> {
    const { destination, metrics, log, cut } = this.#deps;
    const { target, parts, spanCount } = consignment.batch;
    return this.#twice(async () => {
      const startedAt = performance.now();
      consignment.attempts++;
      const outcome = await this.#outcomeOf(() => {
        const work = { left: MOST_REPAIR_WORK };
        const payloads = parts.map((part) => part.toSend(work));
        consignment.bytes = payloads.reduce((sum, { byteLength }) => sum + byteLength, 0);
        return destination.send(target, payloads, cut);
      });
      const seconds = (performance.now() - startedAt) / 1000;
      metrics.upstreamSeconds.observe({ destination: destination.name, outcome: outcome.kind }, seconds);
      log.debug({ outcome: outcome.kind, target: target.description, spans: spanCount, seconds }, 'request');
      return outcome;
    });
  }

  /** Not among the measured: it carries nothing. Given up as soon as the relay stops. */
  probe(target: ResolvedTarget): Promise<SendOutcome> {
    const { destination, stopping } = this.#deps;
    return this.#twice(() =>
      this.#outcomeOf(
        async () =>
          (await destination.probe?.(target, stopping)) ?? { kind: 'retry', reason: 'there is no probe' },
      ),
    );
  }

  async #twice(request: () => Promise<SendOutcome>): Promise<SendOutcome> {
    const outcome = await request();
    return outcome.kind === 'unauthorized' && !this.#deps.stopping.aborted ? await request() : outcome;
  }

  async #outcomeOf(request: () => Promise<SendOutcome>): Promise<SendOutcome> {
    try {
      return await request();
    } catch (error) {
      this.#deps.log.error(
        { err: error },
        'a request ended in a bug of this relay; its spans are kept and sent again',
      );
      return { kind: 'retry', reason: `internal error: ${messageOf(error)}` };
    }
  }
}
