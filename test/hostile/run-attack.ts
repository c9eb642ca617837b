import { setTimeout as pause } from 'node:timers/promises';
import { startArena } from './arena.ts';
import type { Attack, Figure } from './attack.ts';
import { judge } from './judge.ts';

export type AttackResult = { readonly answer: string; readonly figures: readonly Figure[] };

/** For connections, token and compiled code of the good sender to be there. */
const WARM_UP_MS = 1_000;

/** One attack on a relay of its own. */
export async function runAttack(
  attack: Attack,
  { directory, signal }: { directory: string; signal: AbortSignal },
): Promise<AttackResult> {
  const arena = await startArena(attack.options ?? {}, directory, signal);
  try {
    await pause(WARM_UP_MS, undefined, { signal });
    const over = new AbortController();
    const deadline = pause(attack.deadlineMs, 'deadline' as const, { signal: over.signal });
    deadline.catch(() => {});
    arena.beginWatch();
    const running = attack.run(arena);
    // What ends behind the deadline is of no interest any more.
    running.catch(() => {});
    const ended = await Promise.race([running, deadline]);
    over.abort();
    const observed = await arena.finish();
    const late = ended === 'deadline';
    const figures = late ? [lateFigure(attack.deadlineMs)] : (ended.figures ?? []);
    return {
      answer: late ? 'none' : ended.answer,
      figures: [...judge(observed, attack.mostP50Ms), ...figures, ...(attack.judge?.(observed) ?? [])],
    };
  } finally {
    await arena.close();
  }
}

function lateFigure(deadlineMs: number): Figure {
  const words = `${deadlineMs / 1000} s`;
  return { what: 'the attack', measured: `no end within ${words}`, goal: `within ${words}`, isMet: false };
}
