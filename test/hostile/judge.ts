import { quantile } from '../fault/support/open-loop.ts';
import type { Observed } from './arena.ts';
import { atMost } from './attack.ts';
import type { Figure } from './attack.ts';
import { MIB } from './bodies.ts';

/*
 * What holds of every attack. The goals are far from what a relay does that is not attacked, as machines have other work:
 * what they find is a relay that stands still, refuses others, or dies.
 */

const LONGEST_WAIT_MS = 5_000;
/** Half of the requests tell more of a relay than the longest, which a machine may make wait. */
const USUAL_P50_MS = 500;
const LONGEST_DELIVERY_MS = 20_000;
/** `resources.limits.memory` of k8s/base/statefulset.yaml. */
const POD_MEMORY_MIB = 1536;

function longest(times: readonly number[]): number {
  return times.reduce((most, time) => Math.max(most, time), 0);
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}

export function judge(
  { witness, delays, undelivered, peakBytes, deaths }: Observed,
  mostP50Ms = USUAL_P50_MS,
): Figure[] {
  const { waits, lost, refused, livez, livezFailures } = witness;
  const named = (figure: Figure, counts: Readonly<Record<string, number>>): Figure => ({
    ...figure,
    measured: [
      `${figure.measured} of ${waits.length}`,
      ...Object.entries(counts).map(([word, n]) => `${n} × ${word}`),
    ].join(', '),
  });
  const wait = atMost("others' longest wait", longest(waits), LONGEST_WAIT_MS, ' ms');
  const p99 = quantile(waits, 0.99).toFixed(0);
  return [
    atMost('deaths of the relay', deaths, 0, ''),
    atMost("p50 of others' waits", quantile(waits, 0.5), mostP50Ms, ' ms'),
    { ...wait, measured: `${wait.measured} (p99 ${p99})` },
    named(atMost('requests of others lost', sum(lost), 0, ''), lost),
    named(atMost('requests of others refused', sum(refused), 0, ''), refused),
    named(atMost('traces of others taken, not delivered', undelivered, 0, ''), {}),
    deliveryFigure(delays),
    atMost('longest /livez', longest(livez), LONGEST_WAIT_MS, ' ms'),
    atMost('/livez that failed', livezFailures, 0, ''),
    atMost('peak memory', peakBytes / MIB, POD_MEMORY_MIB, ' MiB'),
  ];
}

function deliveryFigure(delays: readonly number[]): Figure {
  const what = "longest way of others' traces to the upstream";
  const figure = atMost(what, longest(delays), LONGEST_DELIVERY_MS, ' ms');
  return { ...figure, measured: `${figure.measured} (p50 ${quantile(delays, 0.5).toFixed(0)})` };
}
