import { table } from '../bench/table.ts';
import type { AttackResult } from './run-attack.ts';

/** What an attack came to, each figure beside its goal. */
export function reportAttack({ answer, figures }: AttackResult): string {
  const rows = figures.map(({ what, measured, goal, isMet }) => [
    what,
    measured,
    goal,
    isMet ? '' : 'MISSED',
  ]);
  const text = table(['', 'measured', 'goal', ''], [['answer', answer, '', ''], ...rows]);
  return text.replaceAll(/^/gm, '  ').concat('\n');
}
