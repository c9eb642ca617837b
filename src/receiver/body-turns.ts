import { createTurns } from '../turns.ts';

/**
 * How long bodies are worked on in one turn of the event loop, in milliseconds. Each is a matter of microseconds,
 * mostly; but when many are there at once, or they were made to be costly, the rest is for other turns or threads.
 */
const TURN_MS = 20;

export const { spend, hasTime, waitForTurn } = createTurns(TURN_MS);
