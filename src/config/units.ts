/** Largest first, so that printing finds the shortest spelling. */
const SIZE_UNITS = { GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10, B: 1 } as const;
const DURATION_UNITS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

/** What `parseSize` and `parseDuration` take, as regular expressions of JSON schema. */
export const SIZE_PATTERN = '^[0-9]+(B|KiB|MiB|GiB)$';
export const DURATION_PATTERN = '^[0-9]+(ms|s|m|h)$';

/** `64MiB` → bytes; undefined for anything else. */
export function parseSize(text: string): number | undefined {
  return parse(text, SIZE_PATTERN, SIZE_UNITS);
}

/** `5s` → milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  return parse(text, DURATION_PATTERN, DURATION_UNITS);
}

/** Bytes → `64MiB`: the largest unit that leaves no rest. */
export function formatSize(bytes: number): string {
  return format(bytes, SIZE_UNITS);
}

/** Milliseconds → `5s`: the largest unit that leaves no rest. */
export function formatDuration(ms: number): string {
  return format(ms, DURATION_UNITS);
}

/** The spelling that was probably meant by a decimal unit, such as `64MiB` for `64 MB`. */
export function suggestSize(text: string): string | undefined {
  const [, amount, prefix] = /^\s*(\d+)\s*([kmg]?)(?:i?b)?\s*$/i.exec(text) ?? [];
  if (amount === undefined || prefix === undefined) return undefined;
  const meant = amount + (prefix === '' ? 'B' : `${prefix.toUpperCase()}iB`);
  return parseSize(meant) === undefined ? undefined : meant;
}

function parse(text: string, pattern: string, units: Readonly<Record<string, number>>): number | undefined {
  const unit = new RegExp(pattern).exec(text)?.[1];
  if (unit === undefined) return undefined;
  const value = Number(text.slice(0, -unit.length)) * (units[unit] ?? Number.NaN);
  return Number.isSafeInteger(value) ? value : undefined;
}

function format(value: number, units: Readonly<Record<string, number>>): string {
  // Zero is a multiple of every unit.
  if (value === 0) return 's' in units ? '0s' : '0B';
  for (const [unit, factor] of Object.entries(units)) {
    if (value % factor === 0) return `${value / factor}${unit}`;
  }
  throw new RangeError(`not a whole number: ${value}`);
}
