import type { RouteTarget } from '../otlp/record.ts';

/** What became of one request to an upstream. Never thrown: every answer, and no answer, is one of these. */
export type SendOutcome =
  | { readonly kind: 'delivered'; readonly rejectedSpans: number; readonly message?: string }
  /**
   * The same bytes go again: 429, 502 to 504, no answer, no token because the issuer is away. `after` in ms.
   * `tooSlow`: nothing had come when the time was up; less at once may get an answer.
   */
  | { readonly kind: 'retry'; readonly reason: string; readonly after?: number; readonly tooSlow?: true }
  /**
   * This token is not good (any more), or may not be. The same bytes go again, with a fresh one. `remedy`: what to do, where
   * the answer tells more of it than the token.
   */
  | { readonly kind: 'unauthorized'; readonly reason: string; readonly remedy?: string }
  /**
   * The upstream, or what leads to it, is set up wrong: 403, 404, redirect, HTML. Keep all, say so, probe.
   * `doubtsToken`: a token that is not taken (any more) may be answered so too.
   */
  | { readonly kind: 'blocked'; readonly reason: string; readonly doubtsToken?: true }
  /**
   * These bytes are not acceptable and never will be. `doubtful`: the upstream, or what is before it, says the same of
   * faults that pass. `status` is that of HTTP.
   */
  | { readonly kind: 'refused'; readonly reason: string; readonly status: number; readonly doubtful?: true };

/** A request in which what an upstream is known not to take is cut or left out; same spans, same order. */
export type Repair = {
  readonly payload: Uint8Array;
  /** What was done to a span, for people, by its position in wire order. */
  readonly spans: ReadonlyMap<number, string>;
};

/** Spans of one batch must share a target. `key` tells targets of one destination apart. */
export type ResolvedTarget = { readonly key: string; readonly description: string };

/** What may still be done to mend a batch, in steps of about 15 ns. At 0 or less, spans stay as they are. */
export type RepairWork = { left: number };

/** It holds the event loop for some 30 ms, and mends more spans than an honest batch has. */
export const MOST_REPAIR_WORK = 2_000_000;

/** One upstream that takes traces. */
export interface Destination {
  readonly name: string;
  /** Where records of this route go; pure, without I/O. */
  targetOf(route: RouteTarget): ResolvedTarget;
  /**
   * Sends one ExportTraceServiceRequest; `parts` joined are its bytes.
   * Resolves with an outcome; rejects only on a bug.
   */
  send(target: ResolvedTarget, parts: readonly Uint8Array[], signal: AbortSignal): Promise<SendOutcome>;
  /**
   * Sends what leaves nothing there, as `send` sends batches, and soon gives up: whether the upstream takes requests.
   * To be had where there is such a request.
   */
  probe?(target: ResolvedTarget, signal: AbortSignal): Promise<SendOutcome>;
  /**
   * Mends one ExportTraceServiceRequest that was refused; undefined if nothing in it is known to be wrong. Pure.
   * Each span that is changed is marked with the attribute `relay.repaired`.
   * @param work is counted down, for all payloads of a batch together
   */
  repair?(payload: Uint8Array, work?: RepairWork): Repair | undefined;
  close(): Promise<void>;
}
