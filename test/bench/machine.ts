import { availableParallelism, cpus, release, totalmem, type } from 'node:os';

/** What figures were measured on, for the head of a report. */
export function machineLine(): string {
  const gib = Math.round(totalmem() / 2 ** 30);
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${availableParallelism()} cores (${model}), ${gib} GiB, ${type()} ${release()}, Node ${process.versions.node}`;
}
