import { readFileSync } from 'node:fs';

/** Of /proc/PID/stat, per second: USER_HZ is 100 on every Linux that runs Node. */
const TICKS_PER_SECOND = 100;

/** CPU time of a process, all of its threads, in seconds (Linux: proc(5), fields 14 and 15 of stat). */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command's name, in parentheses, may have spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Bytes; `total` counts mapped files too, `anonymous` what only the process itself needs. */
export type Memory = { anonymous: number; total: number };

function memory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
  return { anonymous: bytes('RssAnon'), total: bytes('VmRSS') };
}

/** Looks every 50 ms, until `stop`, which returns the most that was seen of each. */
export function watchMemory(pid: number): { stop(): Memory } {
  const peak: Memory = memory(pid);
  const look = () => {
    const { anonymous, total } = memory(pid);
    peak.anonymous = Math.max(peak.anonymous, anonymous);
    peak.total = Math.max(peak.total, total);
  };
  const timer = setInterval(look, 50);
  return {
    stop() {
      clearInterval(timer);
      look();
      return peak;
    },
  };
}
