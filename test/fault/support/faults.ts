import { setTimeout as pause } from 'node:timers/promises';
import type { Proxy, Toxic } from '../../stack/toxiproxy.ts';

/*
 * Faults of the way to an upstream, as toxics of a proxy.
 */

export type Fault = readonly Toxic[];

/** Both sides see a reset after so many bytes of what is sent on a connection; for connections that are new. */
export function resetAfter(bytes: number): Fault {
  return [
    { stream: 'upstream', type: 'limit_data', attributes: { bytes } },
    { stream: 'downstream', type: 'reset_peer', attributes: { timeout: 0 } },
  ];
}

/** Requests arrive, and answers vanish. */
export const NO_ANSWER: Fault = [{ stream: 'downstream', type: 'timeout', attributes: { timeout: 0 } }];

/** Connections stay open, and nothing passes. */
export const NOTHING_PASSES: Fault = [
  { stream: 'upstream', type: 'timeout', attributes: { timeout: 0 } },
  ...NO_ANSWER,
];

/** For connections that are new: the first answer on each ends after so many bytes. */
export function answersCutAfter(bytes: number): Fault {
  return [{ stream: 'downstream', type: 'limit_data', attributes: { bytes } }];
}

export function answersLateBy(ms: number): Fault {
  return [{ stream: 'downstream', type: 'latency', attributes: { latency: ms } }];
}

/** What the upstream closes stays open for the client, longer than any test takes. */
export const UNHEARD_CLOSE: Fault = [
  { stream: 'downstream', type: 'slow_close', attributes: { delay: 3_600_000 } },
];

/** Breaks all connections where they stand. */
export async function breakAll(proxy: Proxy, fault: Fault): Promise<void> {
  for (const toxic of fault) await proxy.add(toxic);
}

/** Breaks connections that are opened from now on; the old ones are closed. */
export async function breakNew(proxy: Proxy, fault: Fault): Promise<void> {
  await proxy.disable();
  await breakAll(proxy, fault);
  await proxy.enable();
}

/** Takes faults away, with the connections that have suffered them. */
export async function heal(proxy: Proxy): Promise<void> {
  await proxy.disable();
  await proxy.removeToxics();
  await proxy.enable();
}

/** Away for half a second and there for another, until stopped; there in the end. */
export async function flap(proxy: Proxy, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    await proxy.disable();
    await pause(500);
    await proxy.enable();
    await pause(500);
  }
}
