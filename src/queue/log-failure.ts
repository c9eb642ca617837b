import { messageOf } from '../errors.ts';
import { Notice } from '../telemetry/notice.ts';
import type { LogObserver } from './log-options.ts';

const TRY_AGAIN_AFTER_MS = 1000;

/** That the disk takes no writes from a log: why, who is told of it and how often, and when it is tried again. */
export class LogFailure {
  readonly #observer: LogObserver;
  readonly #tryAgain: () => void;
  #isLasting = false;
  #error: unknown;
  #kind: string | undefined;
  /** A lasting failure is told once a minute. */
  #reminder = new Notice();
  #timer: NodeJS.Timeout | undefined;

  constructor(observer: LogObserver, tryAgain: () => void) {
    this.#observer = observer;
    this.#tryAgain = tryAgain;
  }

  get isLasting(): boolean {
    return this.#isLasting;
  }

  /** While it lasts. */
  get error(): unknown {
    return this.#error;
  }

  met(error: unknown): void {
    this.#isLasting = true;
    this.#error = error;
    // Not by the message, in which each try has another file's name.
    const kind = (error as NodeJS.ErrnoException).code ?? messageOf(error);
    if (kind !== this.#kind) this.#reminder = new Notice();
    this.#kind = kind;
    if (this.#reminder.due(performance.now()) !== undefined) this.#observer.failing(messageOf(error));
  }

  tryAgainLater(): void {
    this.#timer = setTimeout(this.#tryAgain, TRY_AGAIN_AFTER_MS);
    this.#timer.unref();
  }

  tryNoMore(): void {
    clearTimeout(this.#timer);
  }

  /** The disk takes writes. */
  isOver(): void {
    if (!this.#isLasting) return;
    this.#isLasting = false;
    this.#error = undefined;
    this.#kind = undefined;
    this.#observer.recovered();
  }
}
