import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Notice } from '../telemetry/notice.ts';
import type { UpstreamCondition } from './pacing.ts';

export type UpstreamState = {
  /** `unknown`: nothing was sent yet. */
  readonly state: UpstreamCondition | 'unknown';
  /** The words of the last failure; while it is up, of what waits all the same. */
  readonly reason?: string;
  /** Milliseconds since the Unix epoch. */
  readonly since: number;
};

/** Senders that are named in the state. */
const MOST_NAMED = 3;

const STATES: readonly UpstreamState['state'][] = ['unknown', 'up', 'retrying', 'blocked'];

const TROUBLE = {
  retrying:
    'the upstream does not take traces for now; they are kept, and sent again by themselves once the reason is gone',
  blocked:
    'the upstream does not take traces from this relay as it is set up; they are kept: ' +
    'correct what the reason names, in the configuration or at the upstream, and they go by themselves',
} as const;

/** What is known of an upstream, told to people: in the status, the metrics, and the log when it changes. */
export class Upstream {
  readonly #destination: string;
  readonly #metrics: Pick<Metrics, 'upstreamState'>;
  readonly #log: Logger;
  #state: UpstreamState = { state: 'unknown', since: Date.now() };
  #reminder = new Notice();

  constructor(destination: string, deps: { metrics: Pick<Metrics, 'upstreamState'>; log: Logger }) {
    this.#destination = destination;
    this.#metrics = deps.metrics;
    this.#log = deps.log;
    this.#setGauge();
  }

  get state(): UpstreamState {
    return this.#state;
  }

  isUp(): void {
    if (this.#state.state === 'up') return;
    const now = Date.now();
    const afterSeconds = secondsBetween(this.#state.since, now);
    if (this.#state.state !== 'unknown') this.#log.info({ afterSeconds }, 'the upstream takes traces again');
    this.#state = { state: 'up', since: now };
    this.#setGauge();
  }

  /** @param nextTryInMs when it is asked again */
  isDown(state: 'retrying' | 'blocked', reason: string, nextTryInMs: number): void {
    const now = Date.now();
    const isNews = this.#state.state !== state;
    this.#state = { state, reason, since: isNews ? now : this.#state.since };
    if (isNews) {
      this.#reminder = new Notice();
      this.#setGauge();
    }
    if (this.#reminder.due(performance.now()) === undefined) return;
    const details = {
      reason,
      forSeconds: secondsBetween(this.#state.since, now),
      nextTryInMs: Math.ceil(nextTryInMs),
    };
    this.#log[state === 'blocked' ? 'error' : 'warn'](details, TROUBLE[state]);
  }

  #setGauge(): void {
    for (const state of STATES) {
      this.#metrics.upstreamState.set(
        { destination: this.#destination, state },
        state === this.#state.state ? 1 : 0,
      );
    }
  }
}

/** @param isolating refused batches of which the bad spans are looked for, by sender */
export function whileSearching(state: UpstreamState, isolating: ReadonlyMap<string, number>): UpstreamState {
  if (isolating.size === 0) return state;
  const count = [...isolating.values()].reduce((sum, each) => sum + each, 0);
  const batches = count === 1 ? 'batch' : 'batches';
  const senders = [...isolating.keys()].slice(0, MOST_NAMED).join(', ');
  const others = isolating.size > MOST_NAMED ? ` and ${isolating.size - MOST_NAMED} others` : '';
  const reason = `looking for the bad spans of ${count} refused ${batches} from ${senders}${others}; other senders are not held up; where the refusal may be a fault that passes, other spans have to be stored first`;
  return { ...state, reason };
}

function secondsBetween(from: number, to: number): number {
  return Math.max(0, Math.round((to - from) / 1000));
}
