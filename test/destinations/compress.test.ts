import { randomBytes } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { compress } from '../../src/destinations/compress.ts';

function decompress({ body, encoding }: Awaited<ReturnType<typeof compress>>): Buffer {
  return encoding['content-encoding'] === 'gzip' ? gunzipSync(body) : Buffer.from(body);
}

test('what is small stays as it is', async () => {
  expect(await compress([Buffer.alloc(1000), Buffer.alloc(23)])).toEqual({
    body: Buffer.alloc(1023),
    encoding: {},
  });
});

test.each([1024, 70_000, 5_000_000])('%d bytes of many parts come back whole', async (size) => {
  const whole = randomBytes(size);
  const parts = [whole.subarray(0, 10), whole.subarray(10, 900), whole.subarray(900)];
  const compressed = await compress(parts);
  expect(compressed.encoding).toEqual({ 'content-encoding': 'gzip' });
  expect(decompress(compressed).equals(whole)).toBe(true);
});

test('several at once, and one after the other, do not get into each other', async () => {
  for (let round = 0; round < 5; round++) {
    const all = Array.from({ length: 6 }, (_, index) =>
      Buffer.alloc(3000 + index * 50_000, round * 10 + index),
    );
    const compressed = await Promise.all(all.map((plain) => compress([plain])));
    expect(compressed.map(decompress).map((plain, index) => plain.equals(all[index]!))).toEqual(
      all.map(() => true),
    );
  }
});
