import { readFileSync, readdirSync } from 'node:fs';
import type { Service } from '../../stack/service.ts';

/** Of /proc/PID/stat, per second: USER_HZ is 100 on every Linux that runs Node. */
const TICKS_PER_SECOND = 100;

/**
 * CPU time of a service, all of its processes, in seconds, with that of children that have ended (Linux: proc(5),
 * fields 4 and 14 to 17 of stat). NaN when it does not run.
 */
export function cpuOf(service: Pick<Service, 'pid'>): number {
  const root = service.pid();
  if (root === undefined) return Number.NaN;
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readStat(Number(name)) ?? []);
  const wanted = new Set([root]);
  // Children may stand before their parents.
  for (let before = 0; before < wanted.size;) {
    before = wanted.size;
    for (const { pid, parent } of processes) if (wanted.has(parent)) wanted.add(pid);
  }
  const ticks = processes.reduce((sum, { pid, ticks: own }) => sum + (wanted.has(pid) ? own : 0), 0);
  return ticks / TICKS_PER_SECOND;
}

function readStat(pid: number): { pid: number; parent: number; ticks: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command's name, in parentheses, may have spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return { pid, parent: Number(fields[1]), ticks };
  } catch {
    // It has ended since.
    return undefined;
  }
}
