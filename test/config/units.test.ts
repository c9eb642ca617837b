import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, formatSize, parseDuration, parseSize, suggestSize } from '../../src/config/units.ts';

describe('sizes', () => {
  test.each([
    ['0B', 0],
    ['1B', 1],
    ['1KiB', 1024],
    ['64MiB', 67_108_864],
    ['4GiB', 4_294_967_296],
    ['0064MiB', 67_108_864],
  ])('%s is %d bytes', (written, bytes) => {
    expect(parseSize(written)).toBe(bytes);
  });

  test.each([
    '',
    '64',
    'MiB',
    '64MB',
    '64 MiB',
    ' 64MiB',
    '64MiB\n',
    '-1B',
    '1.5GiB',
    '1e3B',
    '64mib',
    '64TiB',
  ])('%j is no size', (written) => {
    expect(parseSize(written)).toBeUndefined();
  });

  test('a number that a double cannot hold exactly is no size', () => {
    expect(parseSize('9007199254740991B')).toBe(Number.MAX_SAFE_INTEGER);
    expect(parseSize('9007199254740992B')).toBeUndefined();
    expect(parseSize(`${'9'.repeat(400)}GiB`)).toBeUndefined();
  });

  test('what is printed reads back as the same number of bytes', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => {
        expect(parseSize(formatSize(bytes))).toBe(bytes);
      }),
    );
  });

  test('whole units are printed in the largest of them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1023 }), fc.constantFrom('B', 'KiB', 'MiB'), (amount, unit) => {
        expect(formatSize(parseSize(`${amount}${unit}`) ?? -1)).toBe(`${amount}${unit}`);
      }),
    );
    expect([formatSize(0), formatSize(1024 ** 3), formatSize(1025)]).toEqual(['0B', '1GiB', '1025B']);
  });

  test.each([
    ['64MB', '64MiB'],
    ['64 MiB', '64MiB'],
    ['64m', '64MiB'],
    ['64mib', '64MiB'],
    ['10', '10B'],
    ['1.5GiB', undefined],
    ['64 potatoes', undefined],
    ['64TB', undefined],
  ])('%s: %s was meant', (written, meant) => {
    expect(suggestSize(written)).toBe(meant);
  });

  test('a suggestion is a size', () => {
    fc.assert(
      fc.property(
        fc.nat(2 ** 20),
        fc.constantFrom('', ' '),
        fc.constantFrom('', 'k', 'KB', 'MB', 'mib', 'G'),
        (n, gap, unit) => {
          expect(parseSize(suggestSize(`${n}${gap}${unit}`) ?? '')).toBeTypeOf('number');
        },
      ),
    );
  });
});

describe('times', () => {
  test.each([
    ['0s', 0],
    ['250ms', 250],
    ['5s', 5000],
    ['10m', 600_000],
    ['2h', 7_200_000],
  ])('%s is %d ms', (written, ms) => {
    expect(parseDuration(written)).toBe(ms);
  });

  test.each(['', '5', 's', '5 s', '5S', '1m30s', '1.5s', '-5s', '5sec', '5d', '5s\n'])(
    '%j is no time',
    (written) => {
      expect(parseDuration(written)).toBeUndefined();
    },
  );

  test('what is printed reads back as the same time', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
    expect([0, 1, 1000, 1001, 90_000, 3_600_000].map(formatDuration)).toEqual([
      '0s',
      '1ms',
      '1s',
      '1001ms',
      '90s',
      '1h',
    ]);
  });
});
