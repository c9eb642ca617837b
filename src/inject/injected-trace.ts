import type { Difference } from './compare.ts';
import type { StoredTrace } from './stored-trace.ts';

/** What became of one trace. */
export type InjectedTrace = {
  /** In hex, 32 digits; MLflow calls it `tr-…`. */
  readonly traceId: string;
  /**
   * - `stored`: MLflow has it, and shows what was sent.
   * - `sent`: the relay has taken it; it was not waited for.
   * - `refused`: the relay did not take it, or did not answer.
   * - `not stored`: MLflow did not have all of it in time.
   * - `differs`: MLflow has it, and shows something else.
   * - `not readable`: the account of the relay may not read it, or MLflow cannot be asked as the configuration says.
   */
  readonly outcome: 'stored' | 'sent' | 'refused' | 'not stored' | 'differs' | 'not readable';
  /** Spans sent. */
  readonly spans: number;
  /** Of `refused`, `not stored` and `not readable`: why, in words for a person. */
  readonly reason?: string;
  /** Of `differs`; else empty. */
  readonly differences: readonly Difference[];
  /**
   * Of `stored` and `differs`: MLflow showed the same before it was sent, so that this shows nothing of the relay. Of
   * traces from files, whose ids are kept.
   */
  readonly alreadyStored?: true;
  /** Of what was read back, and not already stored: milliseconds from the begin of sending until MLflow had it. */
  readonly storedAfterMs?: number;
  /** Its page in MLflow's UI, where the experiment is known; none of what MLflow did not have in time. */
  readonly link?: string;
  /** What MLflow gave back. */
  readonly trace?: StoredTrace;
};
