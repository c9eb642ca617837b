import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  PREFIX_SIZE,
  decodeFooter,
  LogContent,
  decodeHeader,
  decodePayloads,
  decodePrefix,
  decodeSegmentHeader,
  decodeTrailer,
  encodeFooter,
  encodeFrame,
  encodeSegmentHeader,
  encodeTrailer,
  placeFrame,
} from '../../src/queue/frame.ts';
import type { Prefix } from '../../src/queue/frame.ts';

function readEntries(prefix: Prefix, frame: Buffer) {
  const payloadsAt = PREFIX_SIZE + prefix.headerLength;
  const header = decodeHeader(prefix, frame.subarray(PREFIX_SIZE, payloadsAt));
  return header && decodePayloads(prefix, header, frame.subarray(payloadsAt));
}

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const offsets = fc.integer({ min: 0, max: 2 ** 40 });

test('a frame holds its entries, whatever they are and wherever it stands', () => {
  const entries = fc.array(fc.record({ meta: fc.jsonValue(), payload: fc.uint8Array({ maxLength: 200 }) }));
  fc.assert(
    fc.property(entries, u32, offsets, (given, salt, offset) => {
      const bytes = Buffer.concat(placeFrame(encodeFrame(given), salt, offset));
      const prefix = decodePrefix(bytes, 0, salt, offset);
      expect(prefix?.kind).toBe('entries');
      const read = readEntries(prefix!, bytes);
      expect(read?.map(({ payload }) => [...payload])).toEqual(given.map(({ payload }) => [...payload]));
      expect(read?.map(({ meta }) => JSON.stringify(meta))).toEqual(
        given.map(({ meta }) => JSON.stringify(meta)),
      );
    }),
  );
});

test('no bit of a frame can flip unseen', () => {
  const entries = [
    { meta: { sender: 'a' }, payload: Buffer.from('first') },
    { meta: { sender: 'b' }, payload: Buffer.from('second') },
  ];
  const bytes = Buffer.concat(placeFrame(encodeFrame(entries), 7, 32));
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const prefix = decodePrefix(flipped, 0, 7, 32);
    expect(prefix && readEntries(prefix, flipped)).toBeUndefined();
  }
});

test('a frame is none at another offset or in another segment', () => {
  fc.assert(
    fc.property(u32, u32, offsets, offsets, (salt, otherSalt, offset, otherOffset) => {
      fc.pre(salt !== otherSalt || offset !== otherOffset);
      const bytes = Buffer.concat(placeFrame(encodeFrame([]), salt, offset));
      // Two different seeds give one CRC-32 with a chance of 2^-32.
      expect(decodePrefix(bytes, 0, otherSalt, otherOffset)).toBeUndefined();
    }),
  );
});

test('segment header, footer and trailer come back, and show damage', () => {
  const header = encodeSegmentHeader(2 ** 40, 99, LogContent.deadLetters);
  expect(decodeSegmentHeader(header)).toEqual({ version: 1, id: 2 ** 40, salt: 99, content: 2 });
  const footer = Buffer.concat(placeFrame(encodeFooter({ tally: { a: 1 } }), 99, 4711));
  const prefix = decodePrefix(footer, 0, 99, 4711);
  expect(prefix?.kind).toBe('footer');
  expect(decodeFooter(prefix!, footer.subarray(PREFIX_SIZE))).toEqual({ tally: { a: 1 } });
  const trailer = encodeTrailer(4711, 99);
  expect(decodeTrailer(trailer, 99)).toBe(4711);
  for (let i = 0; i < header.length; i++) {
    const damaged = Buffer.from(header);
    damaged[i]! ^= 0x10;
    expect(decodeSegmentHeader(damaged)).toBeUndefined();
  }
  for (let i = 0; i < trailer.length; i++) {
    const damaged = Buffer.from(trailer);
    damaged[i]! ^= 0x10;
    expect(decodeTrailer(damaged, 99)).toBeUndefined();
  }
});
