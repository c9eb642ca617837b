import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import { bytesOfFields, fieldsOfBytes, placesOf } from './field-tree.ts';

/** Whether these bytes still fail, in the way that is looked for. */
export type StillFails = (bytes: Uint8Array) => Promise<boolean>;

/** It gives what it has after so many questions, or so much time. */
export type ShrinkLimits = { readonly tries: number; readonly ms: number };

/**
 * The smallest body that was found to fail still: fields are left out, the lengths around them set right; then ranges of
 * bytes, halves first, down to single ones (delta debugging).
 */
export async function shrink(
  body: Uint8Array,
  stillFails: StillFails,
  { tries, ms }: ShrinkLimits,
): Promise<Uint8Array> {
  const end = performance.now() + ms;
  let left = tries;
  const fails = async (candidate: Uint8Array) =>
    left-- > 0 && performance.now() < end && (await stillFails(candidate));
  let smallest = body;
  for (;;) {
    const before = smallest.length;
    smallest = await withoutRanges(await withoutFields(smallest, fails), fails);
    if (smallest.length === before) return smallest;
  }
}

async function withoutFields(body: Uint8Array, fails: StillFails): Promise<Uint8Array> {
  let smallest = body;
  for (let index = 0; ;) {
    const fields = fieldsOfBytes(smallest, ExportTraceServiceRequest);
    const place = fields && placesOf(fields)[index];
    if (fields === undefined || place === undefined) return smallest;
    const [removed] = place.fields.splice(place.index, 1);
    const candidates = [bytesOfFields(fields)];
    if (removed?.kind === 'leaf' && removed.bytes.length > 0) {
      place.fields.splice(place.index, 0, { ...removed, bytes: new Uint8Array() });
      candidates.push(bytesOfFields(fields));
    }
    let smaller: Uint8Array | undefined;
    for (const candidate of candidates) {
      if (candidate.length < smallest.length && (await fails(candidate))) {
        smaller = candidate;
        break;
      }
    }
    // Where a field was left out, the next one stands now.
    if (smaller === undefined) index++;
    else smallest = smaller;
  }
}

async function withoutRanges(body: Uint8Array, fails: StillFails): Promise<Uint8Array> {
  let smallest = body;
  for (let size = Math.ceil(smallest.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < smallest.length;) {
      const candidate = new Uint8Array(smallest.length - Math.min(size, smallest.length - at));
      candidate.set(smallest.subarray(0, at));
      candidate.set(smallest.subarray(at + size), at);
      if (await fails(candidate)) smallest = candidate;
      else at += size;
    }
  }
  return smallest;
}
