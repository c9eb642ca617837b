/* Of what one run of `inject` sends, by the command and by the library. */

export const MOST_TRACES = 10_000;
/** Traces a second. */
export const HIGHEST_RATE = 1_000;
export const LONGEST_WAIT_MS = 3_600_000;
