/**
 * How long bodies are worked on in one turn of the event loop, in milliseconds. Each is a matter of microseconds,
 * mostly; but when many are there at once, or they were made to be costly, the rest is for other turns or threads.
 */
const TURN_MS = 10;

let spentMs = 0;

/** To be called with the time that was spent on a body in this turn. */
export function spend(ms: number): void {
  // The first of a turn sees to it that the next one begins with nothing.
  if (spentMs === 0) setImmediate(() => (spentMs = 0));
  spentMs += ms;
}

/** Whether this turn has time for more. */
export function hasTime(): boolean {
  return spentMs < TURN_MS;
}
