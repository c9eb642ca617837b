import { MOST_REPAIR_WORK } from '../destinations/destination.ts';
import type { Destination, RepairWork } from '../destinations/destination.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Batch } from './batch.ts';
import type { Refusal } from './isolation.ts';
import type { RepairSpans } from './part.ts';

type Deps = { readonly destination: Pick<Destination, 'repair'>; readonly log: Logger };

/**
 * The batch with what the destination knows to be wrong mended; undefined if it knows of nothing more than before. A bug in
 * it must cost no span, and not the process.
 * @param refusal that of the batch
 */
export function mend<H>(batch: Batch<H>, refusal: Refusal, { destination, log }: Deps): Batch<H> | undefined {
  if (destination.repair === undefined) return undefined;
  const repair: RepairSpans = (...about) => destination.repair?.(...about);
  let isChanged = false;
  const work: RepairWork = { left: MOST_REPAIR_WORK };
  try {
    const parts = batch.parts.map((part) => {
      const mended = work.left > 0 ? part.mend(repair, work, refusal) : undefined;
      if (mended !== undefined) isChanged = true;
      return mended ?? part;
    });
    return isChanged ? { ...batch, parts } : undefined;
  } catch (error) {
    log.error(
      { err: error },
      'spans could not be mended because of a bug of this relay; they go as they came',
    );
    return undefined;
  }
}

/** How many spans are not sent as they came. */
export function mendedSpans(batch: Batch<unknown>): number {
  return batch.parts.reduce((sum, { mended }) => sum + (mended?.size ?? 0), 0);
}
