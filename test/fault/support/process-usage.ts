import { setTimeout as pause } from 'node:timers/promises';
import { cpuOf } from '../../bench/cpu.ts';
import { watchMemory } from '../../bench/cost/memory.ts';
import type { Service } from '../../stack/service.ts';

/** CPU time of a process against what it has done by then. */
export type Sample = { readonly done: number; readonly cpuSeconds: number };

export type Usage = {
  readonly samples: readonly Sample[];
  /** The most anonymous memory that was seen, in bytes. */
  stop(): Promise<number>;
};

/** Samples a process four times a second. */
export function watchUsage(service: Pick<Service, 'pid'>, done: () => number): Usage {
  const pid = service.pid();
  if (pid === undefined) throw new Error('the process to be watched does not run');
  const memory = watchMemory(pid);
  const samples: Sample[] = [];
  const stopping = new AbortController();
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      samples.push({ done: done(), cpuSeconds: cpuOf(service) });
      await pause(250);
    }
  })();
  return {
    samples,
    async stop() {
      stopping.abort();
      await watching;
      return memory.stop().anonymous;
    },
  };
}

/** CPU seconds for each thing done, in each of so many equal parts of all that was done. */
export function cpuByPart(samples: readonly Sample[], parts: number): number[] {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return [];
  const at = (share: number) => {
    const done = first.done + (last.done - first.done) * share;
    return samples.find((sample) => sample.done >= done) ?? last;
  };
  return Array.from({ length: parts }, (_, part) => {
    const [from, to] = [at(part / parts), at((part + 1) / parts)];
    return (to.cpuSeconds - from.cpuSeconds) / (to.done - from.done);
  });
}

/** That of the values under which the share of them lies, in each of so many equal parts. */
export function quantileByPart(values: readonly number[], parts: number, share: number): number[] {
  return Array.from({ length: parts }, (_, part) => {
    const from = Math.floor((values.length * part) / parts);
    const some = values
      .slice(from, Math.floor((values.length * (part + 1)) / parts))
      .toSorted((a, b) => a - b);
    return some[Math.floor(some.length * share)] ?? Number.NaN;
  });
}
