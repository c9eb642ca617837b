import { Pacing } from '../../src/delivery/pacing.ts';
import type { Answer, Ticket } from '../../src/delivery/pacing.ts';

/** In place of chance. */
export const middle = () => 0.5;

export function pacingOf(maxInFlight: number, canProbe = false): Pacing {
  return new Pacing({ maxInFlight, canProbe, random: middle });
}

/** Of the last that there was to send. */
export const LAST: Answer = { now: 0, spans: 100, moreWaits: false };

/** Begins as many as may begin. */
export function beginAll(pacing: Pacing, now: number): Ticket[] {
  const tickets: Ticket[] = [];
  while (pacing.slots(now) > 0) tickets.push(pacing.begin(now));
  return tickets;
}
