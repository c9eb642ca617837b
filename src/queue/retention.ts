import { comparePositions } from './log-cursor.ts';
import type { Position } from './log-cursor.ts';
import type { Segment } from './segment.ts';
import { destinationsOf } from './waiting-spans.ts';

/**
 * Whether a segment that is not written to any more may be removed: every destination is past it, or has nothing in
 * it. So a destination that is away, or not configured any more, keeps its own data and no more.
 *
 * @param positions that are on stable storage, by destination; undefined where it is not known
 */
export function isPassedByAll(
  segment: Segment,
  positions: readonly (readonly [string, Position | undefined])[],
): boolean {
  const end = { segment: segment.id, offset: segment.end };
  return positions.every(([destination, position]) => {
    if (position !== undefined && comparePositions(end, position) <= 0) return true;
    const known = destinationsOf(segment.tally);
    // Without any it was not read: it may be for everybody.
    return known.size > 0 && !known.has(destination);
  });
}
