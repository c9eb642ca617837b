import type { DeadLetter, Lease } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Notice } from '../telemetry/notice.ts';
import type { Batch } from './batch.ts';
import { lettersOf, originalsOf } from './burial.ts';
import type { Burial } from './burial.ts';
import { mendedSpans } from './divide.ts';
import type { Delivered, Guilty, Piece, Refusal } from './isolation.ts';
import type { End, TraceWindow } from './trace-window.ts';

export type SettlementDeps = {
  /** Name of the destination. */
  readonly destination: string;
  readonly window: TraceWindow<Lease>;
  readonly burial: Burial;
  readonly metrics: Pick<Metrics, 'deliveredSpans' | 'rejectedSpans' | 'repairedSpans' | 'supersededSpans'>;
  readonly log: Logger;
  /** Nothing more is settled: what is not comes again after a restart. */
  readonly cut: AbortSignal;
  /** There may be room in the window, and traces are free. */
  readonly onSettled: () => void;
};

/**
 * What becomes of spans in the end, and the account of it. A span that was delivered mended counts as the dead letter
 * that its original is, not as delivered: each span that was accepted is in one place.
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

  delivered({ batch }: Piece<Lease>, outcome: Delivered): void {
    this.#count(batch, outcome, 0);
    this.#settle(batch, 'delivered');
  }

  /** @param refusal why some of the spans were mended, where they were */
  isolated(piece: Piece<Lease>, outcome: Delivered, refusal: Refusal): void {
    const mended = mendedSpans(piece.batch);
    if (mended === 0) {
      this.delivered(piece, outcome);
      return;
    }
    void this.#bury(
      () => originalsOf(piece, refusal, this.#about()),
      () => {
        this.#count(piece.batch, outcome, mended);
        this.#settle(piece.batch, 'delivered');
      },
    );
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

  #count(batch: Batch<Lease>, outcome: Delivered, mended: number): void {
    const { destination, metrics, log } = this.#deps;
    const rejected = Math.min(outcome.rejectedSpans, batch.spanCount - mended);
    metrics.deliveredSpans.inc({ destination }, batch.spanCount - mended - rejected);
    metrics.repairedSpans.inc({ destination }, mended);
    metrics.rejectedSpans.inc({ destination }, rejected);
    if (rejected === 0) return;
    const spans = this.#rejected.due(performance.now(), rejected);
    if (spans === undefined) return;
    log.warn(
      { spans, reason: outcome.message, target: batch.target.description },
      'the upstream left spans out of what it took, by a partial success (spans counts since this was last said)',
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
