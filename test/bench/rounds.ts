import { InvalidArgumentError } from 'commander';

/** For commander: how often each is measured. */
export function toRounds(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= 20) return value;
  throw new InvalidArgumentError('expected a number, 1 to 20.');
}

/** Each round begins with another, so that none always runs after the same. */
export function turned<T>(items: readonly T[], by: number): T[] {
  const first = by % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}
