import { assert, constantFrom, array, property, string } from 'fast-check';
import { expect, test } from 'vitest';
import { claimsSpiffe, spiffeFault } from '../../src/receiver/spiffe-id.ts';

test.each([
  'spiffe://cluster.local/ns/observability/sa/collector',
  'spiffe://td/a',
  'spiffe://a_b-c.1/A.b_c-9',
  'spiffe://td/...',
  `spiffe://${'a'.repeat(255)}/b`,
  `spiffe://td/${'a'.repeat(2036)}`,
])('%s is one', (uri) => {
  expect(spiffeFault(uri)).toBeUndefined();
});

test.each([
  ['spiffe://', 'no trust domain'],
  ['spiffe:///a', 'no trust domain'],
  ['spiffe://td', 'no path'],
  ['spiffe://td/', 'no path'],
  ['spiffe://td/a/', 'slash at its end'],
  ['spiffe://td//a', 'empty segment'],
  ['spiffe://td/a//b', 'empty segment'],
  ['spiffe://td/../a', 'dot segment'],
  ['spiffe://td/./a', 'dot segment'],
  ['spiffe://td/a/..', 'dot segment'],
  ['spiffe://td/%2e%2e/a', 'path has other characters'],
  ['spiffe://td/a%41', 'path has other characters'],
  ['spiffe://td/a?b', 'path has other characters'],
  ['spiffe://td/a#b', 'path has other characters'],
  ['spiffe://td/ä', 'path has other characters'],
  ['spiffe://td/a b', 'path has other characters'],
  ['spiffe://td/a\n', 'path has other characters'],
  ['spiffe://td?b/a', 'trust domain has other characters'],
  ['spiffe://TD/a', 'trust domain has other characters'],
  ['spiffe://td:443/a', 'trust domain has other characters'],
  ['spiffe://me@td/a', 'trust domain has other characters'],
  ['spiffe://t%64/a', 'trust domain has other characters'],
  ['spiffe://[::1]/a', 'trust domain has other characters'],
  ['SPIFFE://td/a', 'does not begin with spiffe://'],
  ['spiffe:td/a', 'does not begin with spiffe://'],
  ['spiffe:/td/a', 'does not begin with spiffe://'],
  [`spiffe://${'a'.repeat(256)}/b`, 'more than 255 bytes'],
  [`spiffe://td/${'a'.repeat(2037)}`, 'more than 2048 bytes'],
])('%s is none: %s', (uri, words) => {
  expect(claimsSpiffe(uri)).toBe(true);
  expect(spiffeFault(uri)).toContain(words);
});

test.each(['https://td/a', 'xspiffe://td/a', ' spiffe://td/a', 'spiffe', ''])(
  '%j does not claim to be one',
  (uri) => {
    expect(claimsSpiffe(uri)).toBe(false);
  },
);

test('whatever is taken reads as one URI does everywhere, and is spelled in one way', () => {
  const part = constantFrom('a', 'B', '.', '..', '/', '%', '?', '#', '@', ':', '-', '_', ' ', '\\');
  assert(
    property(array(part, { maxLength: 8 }), string({ maxLength: 3 }), (parts, rest) => {
      const uri = `spiffe://td/${parts.join('')}${rest}`;
      const url = URL.parse(uri);
      expect(spiffeFault(uri) !== undefined || (url?.href === uri && url.search + url.hash === '')).toBe(
        true,
      );
    }),
    { numRuns: 2_000 },
  );
});
