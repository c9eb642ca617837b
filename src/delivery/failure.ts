import type { SendOutcome } from '../destinations/destination.ts';

/** What says nothing of the spans: they go again. */
export type Failure = Exclude<SendOutcome, { kind: 'delivered' | 'refused' }>;

/** What it means for the upstream, and how long it asks to be left alone, in ms. */
export function failureOf(failure: Failure): { condition: 'retrying' | 'blocked'; after: number } {
  return failure.kind === 'retry'
    ? { condition: 'retrying', after: failure.after ?? 0 }
    : { condition: 'blocked', after: 0 };
}
