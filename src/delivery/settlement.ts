import type { DeadLetter, Lease } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Notice } from '../telemetry/notice.ts';
import type { Batch } from './batch.ts';
import { lettersOf, originalsOf } from './burial.ts';
import type { Burial } from './burial.ts';
import type { Delivered, Guilty, Piece } from './isolation.ts';
import { mendedSpans } from './mending.ts';
import type { SharedFaults } from './shared-faults.ts';
import type { End, TraceWindow } from './trace-window.ts';

export type SettlementDeps = {
  /** Name of the destination. */
  readonly destination: string;
  readonly window: TraceWindow<Lease>;
  readonly burial: Burial;
  readonly sharedFaults: SharedFaults;
  readonly metrics: Pick<Metrics, 'deliveredSpans' | 'rejectedSpans' | 'repairedSpans' | 'supersededSpans'>;
  readonly log: Logger;
  /** Nothing more is settled: what is not comes again after a restart. */
  readonly cut: AbortSignal;
  /** There may be room in the window, and traces are free. */
  readonly onSettled: () => void;
};

/**
 * What becomes of spans in the end, and the account of it. A span that was delivered mended counts as the dead letter
 * that its original is, not as delivered, if its original is kept: each span that was accepted is in one place.
 */
export class Settlement {
  readonly #deps: SettlementDeps;
  readonly #rejected = new Notice();

  constructor(deps: SettlementDeps) {
    this.#deps = deps;
    const { destination, metrics } = deps;
    // There from the start, so that a first increase is seen as one.
    const { deliveredSpans, rejectedSpans, repairedSpans, supersededSpans } = metrics;
    for (const counter of [deliveredSpans, rejectedSpans, repairedSpans, supersededSpans]) {
      counter.inc({ destination }, 0);
    }
  }

  delivered(piece: Piece<Lease>, outcome: Delivered): void {
    const { batch } = piece;
    if (mendedSpans(batch) === 0) {
      this.#count(batch, outcome, 0);
      this.#settle(batch, 'delivered');
      return;
    }
    const { sharedFaults } = this.#deps;
    const now = performance.now();
    sharedFaults.learn(batch, now);
    const originals = batch.parts
      .map((part) => ({ part, positions: sharedFaults.toKeep(part, now) }))
      .filter(({ positions }) => positions.length > 0);
    const kept = originals.reduce((sum, { positions }) => sum + positions.length, 0);
    const onKept = () => {
      this.#count(batch, outcome, kept);
      this.#settle(batch, 'delivered');
    };
    if (kept === 0) onKept();
    else void this.#bury(() => originalsOf(piece, originals, this.#about()), onKept);
  }

  guilty(spans: readonly Guilty<Lease>[]): void {
    void this.#bury(
      () => lettersOf(spans, this.#about()),
      () => {
        for (const { piece } of spans) this.#settle(piece.batch, 'dead letter');
      },
    );
  }

  async #bury(letters: () => readonly DeadLetter[], onKept: () => void): Promise<void> {
    const isKept = await this.#deps.burial.bury(letters);
    if (isKept && !this.#deps.cut.aborted) onKept();
  }

  #about() {
    return { destination: this.#deps.destination, refusedAt: Date.now() };
  }

  /** @param kept spans that are dead letters as they came */
  #count(batch: Batch<Lease>, outcome: Delivered, kept: number): void {
    const { destination, metrics, log } = this.#deps;
    const rejected = Math.min(outcome.rejectedSpans, batch.spanCount - kept);
    metrics.deliveredSpans.inc({ destination }, batch.spanCount - kept - rejected);
    metrics.repairedSpans.inc({ destination }, mendedSpans(batch));
    metrics.rejectedSpans.inc({ destination }, rejected);
    if (rejected === 0) return;
    const spans = this.#rejected.due(performance.now(), rejected);
    if (spans === undefined) return;
    log.warn(
      { spans, reason: outcome.message, target: batch.target.description },
      'the upstream left spans out of what it took, by a partial success (spans: how many since this was last said)',
    );
  }

  #settle(batch: Batch<Lease>, end: End): void {
    const { destination, window, metrics, onSettled } = this.#deps;
    for (const { held, spanIndexes } of batch.parts) held.handle.done(spanIndexes);
    const { handles, superseded } = window.settle(batch, end);
    for (const { held, spanIndex } of superseded) held.handle.done([spanIndex]);
    if (superseded.length > 0) metrics.supersededSpans.inc({ destination }, superseded.length);
    for (const lease of handles) lease.settle();
    onSettled();
  }
}
