import { RoundRobin } from './round-robin.ts';

/** What goes on in a turn of what has waited for one; how long that takes is known afterwards only. */
const WAITING_A_TURN = 4;

/** Work of one kind on the event loop that senders share, so much of it in one turn of the loop. */
export type Turns = ReturnType<typeof createTurns>;

/**
 * The senders share half of what a turn has, so that who comes into the turn of one with much to do still has time in
 * it.
 * @param turnMs how long this work may go on in one turn of the event loop, in milliseconds
 */
export function createTurns(turnMs: number) {
  const waiting = new RoundRobin<() => void>();
  let waitingCount = 0;
  const spentBy = new Map<string, number>();
  let spent = 0;
  let isNextScheduled = false;

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

  return {
    /** To be called with the time that was spent for a sender in this turn. */
    spend(sender: string, ms: number): void {
      scheduleTurn();
      spent += ms;
      spentBy.set(sender, (spentBy.get(sender) ?? 0) + ms);
    },

    /** Whether this turn has time for more of this sender. */
    hasTime(sender: string): boolean {
      const share = turnMs / 2 / Math.max(1, spentBy.size);
      return spent < turnMs && (spentBy.get(sender) ?? 0) < share;
    },

    /** Goes on in one of the next turns. The senders take turns, and no turn gets many at once. */
    waitForTurn(sender: string, goOn: () => void): void {
      waiting.add(sender, goOn);
      waitingCount++;
      scheduleTurn();
    },
  };
}
