import { PREFIX_SIZE, SEGMENT_HEADER_SIZE } from '../../../src/queue/frame.ts';

export type Range = { readonly start: number; readonly end: number };

/** Where in a good segment file its records stand, and its footer if it has one; read from the lengths alone. */
export function layoutOf(segment: Buffer): {
  readonly records: readonly Range[];
  readonly footer: Range | undefined;
} {
  const records: Range[] = [];
  for (let start = SEGMENT_HEADER_SIZE; start < segment.length;) {
    const isFooter = segment.readUInt32LE(start + 4) === 1;
    const end = start + PREFIX_SIZE + segment.readUInt32LE(start + 8) + segment.readUInt32LE(start + 12);
    if (isFooter) return { records, footer: { start, end } };
    records.push({ start, end });
    start = end;
  }
  return { records, footer: undefined };
}
