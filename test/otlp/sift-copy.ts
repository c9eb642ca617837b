import { expect } from 'vitest';
import { siftTraces } from '../../src/otlp/sift.ts';
import type { SiftResult } from '../../src/otlp/sift.ts';
import { scanTraces } from '../../src/otlp/wire.ts';

type Sifted = Extract<SiftResult, { ok: true }>;

/** Sifts a copy, as what is given is used up, and looks at what comes out. */
export function siftCopy(
  payload: Uint8Array,
  { maxOwnBytes = Infinity, repair = true, maxSize = Infinity } = {},
): Sifted {
  const result = siftTraces(new Uint8Array(payload), maxOwnBytes, { repair, maxSize });
  if (!result.ok) throw new Error(result.message);
  const { spanCount } = result;
  expect(scanTraces(result.payload)).toEqual({ ok: true, spanCount, invalidSpanCount: 0 });
  return result;
}
