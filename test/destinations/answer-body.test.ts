import fc from 'fast-check';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { readBeginning, readWhole } from '../../src/destinations/answer-body.ts';

const chunked = (bytes: Uint8Array, sizes: readonly number[]): Buffer[] => {
  const chunks: Buffer[] = [];
  for (let at = 0, next = 0; at < bytes.length; next++) {
    const size = sizes[next % sizes.length] ?? 1;
    chunks.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return chunks;
};

it('reads the same in whatever chunks it comes', async () => {
  const chunkSizes = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 5000, size: 'max' }),
      chunkSizes,
      fc.integer({ min: 1, max: 6000 }),
      fc.boolean(),
      async (bytes, sizes, limit, isZipped) => {
        const encoding = isZipped ? 'gzip' : undefined;
        const body = () => Readable.from(chunked(isZipped ? gzipSync(bytes) : bytes, sizes));
        const whole = await readWhole(body(), encoding, limit);
        const isTooLarge = bytes.length > limit || (isZipped && gzipSync(bytes).length > limit);
        expect(whole).toEqual(isTooLarge ? undefined : { bytes: Buffer.from(bytes), isCut: false });
        const beginning = await readBeginning(body(), encoding, limit);
        expect(isZipped || beginning.isCut === bytes.length > limit).toBe(true);
        expect(beginning.bytes).toEqual(Buffer.from(bytes.subarray(0, beginning.bytes.length)));
        expect(isZipped || beginning.bytes.length === Math.min(limit, bytes.length)).toBe(true);
      },
    ),
  );
});

it('lets others have their turn between chunks that are all there already', async () => {
  const reading = { turns: 0, isDone: false };
  const count = async () => {
    for (; !reading.isDone; reading.turns++) await setImmediate();
  };
  const counting = count();
  const chunks = chunked(Buffer.alloc(20_000, 'x'), [1]);
  expect((await readWhole(Readable.from(chunks), undefined, 20_000))?.bytes.length).toBe(20_000);
  reading.isDone = true;
  await counting;
  expect(reading.turns).toBeGreaterThan(20);
});
