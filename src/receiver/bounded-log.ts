import type { Logger } from '../telemetry/logger.ts';

/** One line for each key in this time: a client that errs with every request cannot flood the log. */
const INTERVAL_MS = 60_000;
/** Keys carry names of clients, so their number is bounded too; beyond it all share one. */
const MAX_KEYS = 1_000;
const OVERFLOW = 'others';

export type BoundedLog = {
  /** Logs, or counts; the count goes out as `suppressed` with the next line of the key. */
  warn(key: string, fields: Record<string, unknown>, message: string): void;
};

/** Warnings at a bounded rate: at most one a minute for a key, the first at once. */
export function createBoundedLog(log: Logger, now: () => number = Date.now): BoundedLog {
  const slots = new Map<string, { loggedAt: number; suppressed: number }>();

  function slotOf(key: string) {
    const known = slots.get(key);
    if (known !== undefined || slots.size < MAX_KEYS) return { name: key, slot: known };
    for (const [name, { loggedAt }] of slots) {
      if (now() - loggedAt >= INTERVAL_MS) slots.delete(name);
    }
    const name = slots.size < MAX_KEYS ? key : OVERFLOW;
    return { name, slot: slots.get(name) };
  }

  return {
    warn(key, fields, message) {
      const { name, slot } = slotOf(key);
      if (slot !== undefined && now() - slot.loggedAt < INTERVAL_MS) {
        slot.suppressed += 1;
        return;
      }
      const suppressed = slot?.suppressed ?? 0;
      slots.set(name, { loggedAt: now(), suppressed: 0 });
      log.warn(suppressed === 0 ? fields : { ...fields, suppressed }, message);
    },
  };
}
