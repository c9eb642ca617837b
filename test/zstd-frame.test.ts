import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { endOfSkippableFrame, endOfZstdFrame, isSkippableFrame } from '../src/zstd-frame.ts';

const { ZSTD_c_checksumFlag, ZSTD_c_contentSizeFlag, ZSTD_c_compressionLevel } = zlib.constants;

const frames = fc
  .record({
    // Repeated to get blocks of each kind: raw, of one byte, compressed.
    bytes: fc.uint8Array({ maxLength: 2000 }),
    times: fc.constantFrom(1, 2, 500),
    checksum: fc.constantFrom(0, 1),
    contentSize: fc.constantFrom(0, 1),
    level: fc.constantFrom(-5, 1, 19),
  })
  .map(({ bytes, times, checksum, contentSize, level }) =>
    zlib.zstdCompressSync(Buffer.concat(Array.from({ length: times }, () => bytes)), {
      params: {
        [ZSTD_c_checksumFlag]: checksum,
        [ZSTD_c_contentSizeFlag]: contentSize,
        [ZSTD_c_compressionLevel]: level,
      },
    }),
  );

describe('endOfZstdFrame', () => {
  test('is the end of what the encoder made, whatever follows', () => {
    fc.assert(
      fc.property(frames, fc.uint8Array({ maxLength: 20 }), (frame, more) => {
        expect(endOfZstdFrame(frame)).toBe(frame.length);
        expect(endOfZstdFrame(Buffer.concat([frame, more]))).toBe(frame.length);
      }),
      { numRuns: 50 },
    );
  });

  test('is nowhere in a part of it', () => {
    fc.assert(
      fc.property(frames, fc.nat(), (frame, cut) => {
        expect(endOfZstdFrame(frame.subarray(0, cut % frame.length))).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });

  test('a block of one byte, and other frames', () => {
    const rle = Buffer.from([
      0x28,
      0xb5,
      0x2f,
      0xfd,
      0x20,
      200,
      0b11 | ((200 << 3) & 0xff),
      200 >> 5,
      0,
      0x61,
    ]);
    expect(endOfZstdFrame(rle)).toBe(10);
    expect(zlib.zstdDecompressSync(rle).toString()).toBe('a'.repeat(200));
    const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    expect(endOfZstdFrame(skippable)).toBeUndefined();
    expect(endOfZstdFrame(Buffer.alloc(0))).toBeUndefined();
  });
});

describe('a frame that is skipped', () => {
  test.each<[string, number[], boolean, number | undefined]>([
    ['empty', [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], true, 8],
    ['the last magic number, and more behind it', [0x5f, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2, 3], true, 10],
    ['cut off', [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1], true, undefined],
    ['cut off in its length', [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0], true, undefined],
    ['of the largest size', [0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255], true, undefined],
    ['half a magic number', [0x50, 0x2a], false, undefined],
    ['another one', [0x60, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], false, undefined],
    ['one of data', [0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0], false, undefined],
  ])('%s', (_, bytes, is, end) => {
    expect(isSkippableFrame(Buffer.from(bytes))).toBe(is);
    expect(endOfSkippableFrame(Buffer.from(bytes))).toBe(end);
  });
});
