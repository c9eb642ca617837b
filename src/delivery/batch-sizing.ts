import type { BatchLimits } from './batch.ts';

export type BatchSizingOptions = {
  readonly maxSpans: number;
  /** Of a request, before compression. */
  readonly maxBytes: number;
  /** The longest that an answer should take, in ms. */
  readonly targetMs: number;
};

/** What was in a request; bytes before compression. */
export type RequestSize = { readonly spans: number; readonly bytes: number };

const LEAST_BYTES = 1024;
/** One answer lowers the limits to no less than this share: it may have been slow for reasons of its own. */
const LOWERED_AT_MOST = 0.5;
const RAISED = 1.5;
/** After a request was too large: on towards that size, but seldom beyond it. */
const RAISED_CAREFULLY = 1.01;
/** Raised if an answer of the raised size can be expected in this share of the target. */
const HEADROOM = 0.75;
/** After requests failed for their size: on towards that size, up to this share of it. */
const BELOW = 0.9;
/** Answers by which it is known what sizes are taken. */
const REMEMBERED = 64;
/** Answers until a size that has failed is tried again: doubled each time. */
const PATIENCE = { least: 64, most: 4096 } as const;
/** Smaller requests are of no use where they store fewer spans a second than this share of what larger ones did. */
const OF_NO_USE = 0.6;

/**
 * How large a request may be so that its answer comes in time: the configured bounds, unless answers take longer. Then
 * as much less as the answers are late, and again more when they could carry more. That a request was not answered at
 * all, or was too large, halves the limits. One span always goes.
 *
 * Where answers are late whatever the size (each takes as long, on the way or in a queue), small requests would only
 * make it worse: then the limits go back to what they were.
 */
export class BatchSizing {
  readonly #options: BatchSizingOptions;
  #spans: number;
  #bytes: number;
  #bytesRaise = RAISED;
  /** What was there before answers were late, and what came of it. */
  #before: { readonly spans: number; readonly bytes: number; readonly rate: number } | undefined;
  /** What requests stay below for so many answers more, since larger ones fail. */
  #ceiling: { readonly spans: number; readonly bytes: number; left: number } | undefined;
  #patience: number = PATIENCE.least;
  /** The most spans that were taken at once: of the last answers, and of those before them. */
  #taken = { answers: 0, most: 0, mostBefore: 0 };
  /** Smaller requests were tried, and were of no use. */
  #isLateAnyway = false;

  constructor(options: BatchSizingOptions) {
    this.#options = options;
    this.#spans = options.maxSpans;
    this.#bytes = options.maxBytes;
  }

  get limits(): BatchLimits {
    return { maxBatchSpans: Math.floor(this.#spans), maxBatchSize: Math.floor(this.#bytes) };
  }

  /** Whether requests were taken lately, and none of this size. */
  isUnproven({ spans }: Pick<RequestSize, 'spans'>): boolean {
    const most = Math.max(this.#taken.most, this.#taken.mostBefore);
    return most > 0 && spans > most;
  }

  /** The upstream has taken the request, after so long. */
  answered({ spans, bytes, ms }: RequestSize & { readonly ms: number }): void {
    const { answers, most, mostBefore } = this.#taken;
    this.#taken =
      answers < REMEMBERED
        ? { answers: answers + 1, most: Math.max(most, spans), mostBefore }
        : { answers: 1, most: spans, mostBefore: most };
    const { targetMs } = this.#options;
    if (ms > targetMs) {
      this.#late(spans, bytes, ms);
      return;
    }
    if (isFilling(spans, this.#spans) || isFilling(bytes, this.#bytes)) this.#beginAnew();
    if (this.#ceiling !== undefined && --this.#ceiling.left <= 0) this.#ceiling = undefined;
    const to = this.#bounds;
    this.#spans = this.#raised(this.#spans, { by: RAISED, to: to.spans, size: spans, ms });
    this.#bytes = this.#raised(this.#bytes, { by: this.#bytesRaise, to: to.bytes, size: bytes, ms });
  }

  /** The upstream has not answered the request in time. */
  tooSlow({ spans, bytes }: RequestSize): void {
    this.#beginAnew();
    this.#lower(spans / 2, bytes / 2);
  }

  /** The upstream fails at a request of this size, and has taken what was in it in two. */
  tooMuch(size: RequestSize): void {
    this.tooSlow(size);
    const { spans, bytes } = this.#bounds;
    this.#ceiling = {
      spans: Math.min(spans, size.spans * BELOW),
      bytes: Math.min(bytes, size.bytes * BELOW),
      left: this.#patience,
    };
    this.#patience = Math.min(PATIENCE.most, this.#patience * 2);
  }

  /** The upstream takes no requests of this size. */
  tooLarge({ bytes }: Pick<RequestSize, 'bytes'>): void {
    this.#bytesRaise = RAISED_CAREFULLY;
    this.#bytes = Math.max(LEAST_BYTES, Math.min(this.#bytes, bytes / 2));
  }

  #late(spans: number, bytes: number, ms: number): void {
    // A small one that is late says nothing about size.
    const isLarge = isFilling(spans, this.#spans) || isFilling(bytes, this.#bytes);
    if (this.#isLateAnyway || !isLarge) return;
    const rate = spans / ms;
    this.#before ??= { spans: this.#spans, bytes: this.#bytes, rate };
    if (isFilling(spans, this.#spans) && rate < this.#before.rate * OF_NO_USE) {
      this.#isLateAnyway = true;
      this.#spans = this.#before.spans;
      this.#bytes = this.#before.bytes;
    } else {
      const share = this.#options.targetMs / ms;
      this.#lower(spans * share, bytes * share);
    }
  }

  /** What is found out of late answers begins anew. */
  #beginAnew(): void {
    this.#before = undefined;
    this.#isLateAnyway = false;
  }

  /** What the limits are raised to. */
  get #bounds(): RequestSize {
    const { maxSpans, maxBytes } = this.#options;
    const { spans, bytes } = this.#ceiling ?? { spans: Infinity, bytes: Infinity };
    return { spans: Math.min(maxSpans, spans), bytes: Math.min(maxBytes, bytes) };
  }

  #raised(limit: number, { by, to, size, ms }: { by: number; to: number; size: number; ms: number }): number {
    const raised = Math.max(limit, Math.min(to, Math.max(limit * by, limit + 1)));
    const expectedMs = (ms * raised) / size;
    return isFilling(size, limit) && expectedMs <= this.#options.targetMs * HEADROOM ? raised : limit;
  }

  #lower(spans: number, bytes: number): void {
    this.#spans = Math.max(1, Math.min(this.#spans, Math.max(spans, this.#spans * LOWERED_AT_MOST)));
    this.#bytes = Math.max(
      LEAST_BYTES,
      Math.min(this.#bytes, Math.max(bytes, this.#bytes * LOWERED_AT_MOST)),
    );
  }
}

/** So much that the limit has probably kept more out. */
function isFilling(size: number, limit: number): boolean {
  return size > limit / 2;
}
