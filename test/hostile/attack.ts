import type { Arena, ArenaOptions, Observed } from './arena.ts';

/** `short` runs with all tests, `full` by `npm run test:hostile`. */
export type Form = 'short' | 'full';

/** A number, beside what it should be. */
export type Figure = {
  readonly what: string;
  readonly measured: string;
  readonly goal: string;
  readonly isMet: boolean;
};

export type Attack = {
  /** What is sent. */
  readonly name: string;
  readonly options?: ArenaOptions;
  /** What half of others' requests may wait at most, where they are no small ones. */
  readonly mostP50Ms?: number;
  /** Far above what it takes; its end is a failure. */
  readonly deadlineMs: number;
  /** Resolves when it is over, with what the attacker was answered. It may end early once the relay has died. */
  run(arena: Arena): Promise<{ answer: string; figures?: readonly Figure[] }>;
  /** What it should come to, beyond what all attacks should. */
  judge?(observed: Observed): readonly Figure[];
};

export function atMost(what: string, measured: number, goal: number, unit: string): Figure {
  const words = (value: number) => `${Number(value.toFixed(1)).toLocaleString('en-US')}${unit}`;
  return { what, measured: words(measured), goal: `at most ${words(goal)}`, isMet: measured <= goal };
}

export function isTrue(what: string, isMet: boolean, measured: string, goal: string): Figure {
  return { what, measured, goal, isMet };
}
