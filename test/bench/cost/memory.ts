import { readFileSync } from 'node:fs';

/** Bytes; `total` counts mapped files too, `anonymous` what only the process itself needs. */
export type Memory = { anonymous: number; total: number };

/** Linux: proc(5), status. Zeros of a process that has ended. */
function memory(pid: number): Memory {
  let status = '';
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    // It is the measuring that will fail, with what it says.
  }
  const bytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
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
