/**
 * How long fault tests run. `npm test` runs the short form of all of them; `npm run test:fault` the long one, which
 * prints how far it is and what it has measured, each figure beside its goal.
 */
export const isLong = process.env['FAULT_RUNS'] === 'long';

/** How many times something is done: few by `npm test`, many by `npm run test:fault`. */
export function howMany(times: { readonly short: number; readonly long: number }): number {
  return isLong ? times.long : times.short;
}

/** A line of progress, in a long run only. */
export function progress(line: string): void {
  if (isLong) process.stderr.write(`  ${line}\n`);
}

/** A figure beside its goal, such as `ready after a kill: 0.7 s (goal: 2 s)`. Printed, never asserted: machines are noisy. */
export function figure(what: string, measured: string, goal: string): void {
  progress(`${what}: ${measured} (goal: ${goal})`);
}
