/** Part of the window that senders that are apart may have together. */
const WINDOW_SHARE = 1 / 4;

type Options = {
  readonly windowSize: number;
  /** What a sender has in the window, in bytes. */
  readonly inWindow: (sender: string) => number;
  /** What it has in the queue that was read and has no room in the window. */
  readonly aside: (sender: string) => number;
};

/** What senders that are apart may have: they wait for a search, and must not take the room of the others. */
export class SuspectShares {
  readonly #options: Options;
  #held: ReadonlySet<string> = new Set();

  constructor(options: Options) {
    this.#options = options;
  }

  /** Whether more of a sender may enter the window. */
  hasRoom(sender: string, apart: ReadonlySet<string>): boolean {
    const { windowSize, inWindow } = this.#options;
    if (!apart.has(sender)) return true;
    const bytes = inWindow(sender);
    return bytes === 0 || bytes < (windowSize * WINDOW_SHARE) / apart.size;
  }

  /**
   * Senders from which nothing new is to be taken: those that have as much in the window and aside as there is room for in
   * a window. One that was held is held until it has half of that.
   */
  held(apart: ReadonlySet<string>): ReadonlySet<string> {
    if (apart.size === 0 && this.#held.size === 0) return this.#held;
    const { windowSize, inWindow, aside } = this.#options;
    const most = windowSize / apart.size;
    const isHeld = (sender: string) =>
      inWindow(sender) + aside(sender) >= (this.#held.has(sender) ? most / 2 : most);
    this.#held = new Set([...apart].filter(isHeld));
    return this.#held;
  }
}
