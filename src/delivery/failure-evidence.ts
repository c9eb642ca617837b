/*
 * Whether a failure that usually passes is a batch's own. Pure. Times are ms of one clock that never goes back, requests
 * are numbered in the order in which they begin.
 */

/**
 * What chance would do once in so many times tells that a batch is to blame: it goes in halves, which costs a request
 * where it was chance after all.
 */
const HALVED_AT = Math.log(10);
/** The same for the first failure to be that of the batch, so that the upstream is not spared. */
const ALONE_AT = Math.log(5);
/**
 * The same for a single span, which is given up. An upstream that fails at a share of all requests, whatever the share,
 * fails so often at one of them with a probability of 1e-12: in 100,000 requests, as many as go in an hour, with 1e-7.
 * A third makes it 25 failures, a twentieth or less 10.
 */
const GIVEN_UP_AT = Math.log(1e12);
/** The same where nothing new can be read before it is settled. */
const PRESSED_AT = Math.log(1e4);
/** What is to blame fails for longer than this: a lock, or a restart, that hits one span alone takes less, in ms. */
const GIVEN_UP_AFTER_MS = 10 * 60_000;

/** A target of which less is known, or that fails less often, is taken for one that fails at this share. */
const LEAST_SHARE = 1 / 20;
/** Batches that the share is of: of these, and with ever less weight of those before. */
const REMEMBERED = 200;
/** Of fewer than these the rest is taken for known: of whole batches that a half failed, of parts the share of the whole. */
const LEAST_KNOWN = 100;
/** The targets that are remembered: routes give more than a few only by mistake. */
const MOST_TARGETS = 1_000;

/** What is known of a batch that has failed. */
export type OwnFailures = {
  /** When it failed first; undefined: not by itself. */
  readonly since: number | undefined;
  readonly times: number;
  /** How unlikely it is to have failed so often by chance: minus the natural logarithm of the probability. */
  readonly evidence: number;
  /** The last request that had begun when it failed last. */
  readonly begun: number;
};

/** A request that failed. */
export type Failed = {
  readonly target: string;
  readonly now: number;
  /** Of a request that was given up for its time: its number. */
  readonly since?: number | undefined;
  /** The last request that has begun. */
  readonly begun: number;
};

/** Of a part of a batch: that the whole has failed says nothing of each of its parts. */
export function ofPart(whole: OwnFailures | undefined): OwnFailures | undefined {
  return whole && { since: undefined, times: 0, evidence: 0, begun: whole.begun };
}

/** Whether it has failed while others were stored. */
export function isOwn(own: OwnFailures | undefined): boolean {
  return own !== undefined && own.evidence > 0;
}

/** Whether a failure is not the upstream's: the first of a batch is that only where the upstream seldom fails. */
export function isAlone(before: OwnFailures | undefined, own: OwnFailures): boolean {
  const gained = own.evidence - (before?.evidence ?? 0);
  return before === undefined ? gained >= ALONE_AT : gained > 0;
}

/** Whether it goes in halves, if it has any. */
export function isToHalve(own: OwnFailures | undefined): boolean {
  return own !== undefined && own.evidence >= HALVED_AT;
}

/** Whether a single span is not sent again. @param isPressed nothing new can be read before it is settled */
export function isToGiveUp(
  { since = Infinity, evidence }: OwnFailures,
  now: number,
  isPressed: boolean,
): boolean {
  return isPressed ? evidence >= PRESSED_AT : evidence >= GIVEN_UP_AT && now - since >= GIVEN_UP_AFTER_MS;
}

/**
 * What each target does with requests, beside which a batch that fails is seen. A failure is evidence only if the target
 * has stored other spans by a request that began after the batch had failed before, or, where it got no answer, after it
 * had begun: an outage, however long, is none. How strong it is, the share of others that fail tells: where every third request fails, it takes many.
 */
export class FailureEvidence {
  /** The one that was heard of last is the last. */
  readonly #targets = new Map<string, Target>();

  /** The target has stored what request `number` had. */
  stored(target: string, number: number): void {
    const known = this.#of(target);
    known.stored = Math.max(known.stored, number);
  }

  /** What became of the first request of a batch, or of a part of one. */
  tried(
    target: string,
    { isPart, isFailed }: { readonly isPart: boolean; readonly isFailed: boolean },
  ): void {
    const { parts, whole } = this.#of(target);
    (isPart ? parts : whole).add(isFailed);
  }

  /** @param before what was known of the batch */
  failed(before: OwnFailures | undefined, { target, now, since, begun }: Failed): OwnFailures {
    const { stored, parts, whole } = this.#of(target);
    const isEvidence = stored > Math.min(before?.begun ?? Infinity, since ?? Infinity);
    // Parts of what fails are the likelier to fail: of the two shares the lesser is that of the target itself.
    const ofWhole = whole.value(1 / 2);
    const share = Math.max(LEAST_SHARE, Math.min(ofWhole, parts.value(ofWhole)));
    return {
      since: before?.since ?? now,
      times: (before?.times ?? 0) + 1,
      evidence: (before?.evidence ?? 0) + (isEvidence ? -Math.log(share) : 0),
      begun,
    };
  }

  #of(key: string): Target {
    const target = this.#targets.get(key) ?? { stored: 0, parts: new Share(), whole: new Share() };
    this.#targets.delete(key);
    this.#targets.set(key, target);
    for (const oldest of this.#targets.keys()) {
      if (this.#targets.size <= MOST_TARGETS) break;
      this.#targets.delete(oldest);
    }
    return target;
  }
}

type Target = {
  /** The last request of which it has stored spans; 0 without. */
  stored: number;
  readonly parts: Share;
  readonly whole: Share;
};

/** The share of requests that fail, of the last ones. */
class Share {
  #tries = 0;
  #failures = 0;

  /** @param assumed of those that are not known */
  value(assumed: number): number {
    const unknown = Math.max(0, LEAST_KNOWN - this.#tries);
    return (this.#failures + unknown * assumed) / (this.#tries + unknown);
  }

  add(isFailed: boolean): void {
    const kept = Math.min(1, REMEMBERED / (this.#tries + 1));
    this.#tries = this.#tries * kept + 1;
    this.#failures = this.#failures * kept + (isFailed ? 1 : 0);
  }
}
