import type { RouteTarget, TraceId } from '../otlp/record.ts';

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
   * faults that pass. `status` is that of HTTP. `unstorable`: what it says that it cannot store. `traces`: it is about
   * whole traces, whatever is in their spans: about these, or, where it is empty, about some that it does not name. It
   * says nothing of the others, nor of the target.
   */
  | {
      readonly kind: 'refused';
      readonly reason: string;
      readonly status: number;
      readonly doubtful?: true;
      readonly unstorable?: Unstorable;
      readonly traces?: readonly TraceId[];
    };

/**
 * What an upstream may be unable to store: U+0000 in a text; halves of surrogate pairs, which JSON can write; bytes in an
 * attribute of a resource.
 */
export type Unstorable = 'NUL' | 'surrogates' | 'bytes';

/** What is mended, beside what is wrong in any case. */
export type Mending = {
  readonly unstorable: ReadonlySet<Unstorable>;
  /** Spans stay as they are, but for the mark: only what is around them is mended. */
  readonly aroundOnly?: true;
};

/** A request in which what an upstream is known not to take is cut or left out; same spans, same order. */
export type Repair = {
  readonly payload: Uint8Array;
  /** What was done to a span, for people, by its position in wire order. */
  readonly spans: ReadonlyMap<number, string>;
  /**
   * Of spans with nothing mended but what is around them, by position: a digest of that as it was. An original of one
   * keeps what others with the same digest have lost, too.
   */
  readonly shared?: ReadonlyMap<number, string>;
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
  repair?(payload: Uint8Array, work?: RepairWork, mending?: Mending): Repair | undefined;
  close(): Promise<void>;
}
