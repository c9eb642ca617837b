import type { PayloadPart } from '../otlp/wire.ts';

/**
 * How much enters the window before answers of the upstream get their turn; a record counts as some bytes more than it
 * has, and a span does.
 */
export const TURN_COST = 1024 * 1024;
export const RECORD_COST = 1024;
const SPAN_COST = 128;

export function costOf({ payload, spans }: PayloadPart): number {
  return RECORD_COST + payload.byteLength + spans.length * SPAN_COST;
}
