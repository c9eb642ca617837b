/** For what has a time limit of its own, and is never given up before. */
export const NEVER_ABORTS: AbortSignal = new AbortController().signal;
