import { table } from '../table.ts';
import type { Result } from './measure.ts';

/** One line a transaction of MLflow. */
export function timeline({ commits, beganAt }: Pick<Result, 'commits' | 'beganAt'>): string {
  const rows = commits.map(({ at, spans, traces }, index) => {
    const before = commits[index - 1]?.at ?? beganAt;
    return [((at - beganAt) / 1000).toFixed(2), (at - before).toFixed(0), String(spans), String(traces)];
  });
  return table(['committed at, s', 'ms after the one before', 'spans', 'traces'], rows);
}
