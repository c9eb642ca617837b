/** A log that says the same thing more often tells no more. */
const INTERVAL_MS = 60_000;

/** Lets the first of a kind of event be said at once, and then one a minute for all that came since. */
export class Notice {
  #quietUntil = Number.NEGATIVE_INFINITY;
  #unsaid = 0;

  /** What has added up since it was last said; undefined while it is too early to say it again. `now` in ms. */
  due(now: number, count = 1): number | undefined {
    this.#unsaid += count;
    if (now < this.#quietUntil) return undefined;
    const sum = this.#unsaid;
    this.#unsaid = 0;
    this.#quietUntil = now + INTERVAL_MS;
    return sum;
  }
}

/** A notice for each of a few kinds of event. */
export class Notices {
  readonly #notices = new Map<string, Notice>();

  /** As of `Notice`, for this kind. */
  due(kind: string, now: number): number | undefined {
    let notice = this.#notices.get(kind);
    if (notice === undefined) this.#notices.set(kind, (notice = new Notice()));
    return notice.due(now);
  }
}
