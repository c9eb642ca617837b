import { RoundRobin } from '../round-robin.ts';

/**
 * How long bodies are worked on in one turn of the event loop, in milliseconds. Each is a matter of microseconds,
 * mostly; but when many are there at once, or they were made to be costly, the rest is for other turns or threads.
 * The senders share half of it, so that who comes into the turn of one with much to do still has time in it.
 */
const TURN_MS = 20;

/** What goes on in a turn of what has waited for one; how long that takes is known afterwards only. */
const WAITING_A_TURN = 4;

const waiting = new RoundRobin<() => void>();
let waitingCount = 0;
const spentBy = new Map<string, number>();
let spent = 0;
let isNextScheduled = false;

/** To be called with the time that was spent on a sender's body in this turn. */
export function spend(sender: string, ms: number): void {
  scheduleTurn();
  spent += ms;
  spentBy.set(sender, (spentBy.get(sender) ?? 0) + ms);
}

/** Whether this turn has time for more of this sender. */
export function hasTime(sender: string): boolean {
  const share = TURN_MS / 2 / Math.max(1, spentBy.size);
  return spent < TURN_MS && (spentBy.get(sender) ?? 0) < share;
}

/** Goes on in one of the next turns. The senders take turns, and no turn gets many at once. */
export function waitForTurn(sender: string, goOn: () => void): void {
  waiting.add(sender, goOn);
  waitingCount++;
  scheduleTurn();
}

/** What is done in this turn is forgotten in the next one. */
function scheduleTurn(): void {
  if (isNextScheduled) return;
  isNextScheduled = true;
  setImmediate(beginTurn);
}

function beginTurn(): void {
  isNextScheduled = false;
  spentBy.clear();
  spent = 0;
  for (let i = 0; i < WAITING_A_TURN && waitingCount > 0; i++) {
    waitingCount--;
    waiting.next()!();
  }
  if (waitingCount > 0) scheduleTurn();
}
