import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { PieceIndex } from '../../src/masking/pieces.ts';
import { MASKED, SLICE } from '../../src/masking/secret-mask.ts';
import type { SecretMask } from '../../src/masking/secret-mask.ts';
import { FORMS, JWT, forms, maskOf, secret } from './forms.ts';

/* Bodies of several slices: they are masked as if they were one, and hold nobody up. */

/** In characters of two bytes, so that a slice may begin with half of one. */
function filled(bytes: number): string {
  return '\u0391'.repeat(bytes / 2) + '.'.repeat(bytes % 2);
}

describe('a secret in a body of several slices', () => {
  const place = fc.nat({ max: 3 * SLICE });

  test('is found wherever it is, in whatever form', async () => {
    await fc.assert(
      fc.asyncProperty(secret, forms, place, async (value, form, at) => {
        fc.pre(value.isWellFormed() && !/[\u0391.\n]/.test(value));
        const before = filled(at);
        const behind = filled(3 * SLICE - at);
        const masked = await maskOf(value).bytes(Buffer.from(before + FORMS[form]!(value) + behind));
        expect(masked.toString()).toBe(before + MASKED + behind);
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ['in JSON', 'pä"ss\\wörd 🔑', FORMS['in JSON in ASCII']!('pä"ss\\wörd 🔑')],
    ['with half a character at both ends', `é${'x'.repeat(20)}é`, `ũ${'x'.repeat(20)}ê`],
    ['with a third of a character at both ends', `€${'x'.repeat(20)}€`, `ぬ${'x'.repeat(20)}—`],
    [
      'and another in the same character',
      `€${'xX'.repeat(8)}€`,
      `ぬ${'xX'.repeat(8)}\u202c${'xX'.repeat(8)}—`,
    ],
  ])('is found at each end of a slice: %s', async (_, value, form) => {
    const mask = maskOf(value);
    // In that much it is looked for behind one layer of escapes, and the slices overlap by less.
    const behind = filled(4 * SLICE);
    const missed: number[] = [];
    for (let at = SLICE - 700; at < SLICE + 200; at++) {
      const masked = await mask.bytes(Buffer.from(filled(at) + form + behind));
      if (masked.toString() !== filled(at) + MASKED + behind) missed.push(at);
    }
    expect(missed).toEqual([]);
  });

  test.each([
    ['short', 'sécret'],
    ['long', JWT],
    ['longer than a slice', 'Zq7é'.repeat(SLICE)],
  ])('is found each time: a %s one', async (_, value) => {
    const times = Math.ceil((6 * SLICE) / value.length);
    const body = Buffer.from(`${value}\u0391`.repeat(times));
    const mask = maskOf(value);
    expect((await mask.bytes(body)).toString()).toBe(`${MASKED}\u0391`.repeat(times));
    const blot = `${'*'.repeat(Buffer.byteLength(value))}\u0391`;
    expect((await mask.bytes(body, { keepsLength: true })).toString()).toBe(blot.repeat(times));
  });

  test('leaves what has none as it is, the same bytes', async () => {
    const body = Buffer.alloc(6 * SLICE, 'é\\u00e9%2B&amp;');
    expect(await maskOf(JWT).bytes(body)).toBe(body);
  });
});

describe('a hostile body', () => {
  afterEach(() => vi.restoreAllMocks());

  const find = PieceIndex.prototype.find;

  /** Bytes that are looked through, behind escapes too: in all, and in a turn of the event loop at most. */
  async function workOf(mask: SecretMask, body: Buffer): Promise<{ all: number; most: number }> {
    const work = { all: 0, most: 0 };
    let inTurn = 0;
    vi.spyOn(PieceIndex.prototype, 'find').mockImplementation(function count(this: PieceIndex, text) {
      work.all += text.length;
      work.most = Math.max(work.most, (inTurn += text.length));
      return find.call(this, text);
    });
    let turn = setImmediate(function next() {
      inTurn = 0;
      turn = setImmediate(next);
    });
    try {
      await mask.bytes(body);
      return work;
    } finally {
      clearImmediate(turn);
    }
  }

  const value = `${JWT.slice(0, 20)}"&+%\\`;
  const hostile = {
    'what only looks like escapes': '&%\\&#x',
    'escapes of all kinds': '%26&amp;+\\u0026',
    'escapes of escapes': '\\u0025\\\\&#38;%25',
    'a secret, again and again': value,
    'a secret in JSON': JSON.stringify(value),
    'halves of pieces': `${value.slice(0, 9)}#`,
  };

  test.each(Object.entries(hostile))(
    'of %s is looked through once for each kind of escapes',
    async (_, words) => {
      const mask = maskOf(value, 'shorter');
      for (const size of [256 * 1024, 1024 * 1024]) {
        const { all, most } = await workOf(mask, Buffer.alloc(size, words));
        // As it is and behind four kinds; slices overlap a little.
        expect(all / size).toBeLessThan(5.5);
        expect(most).toBeLessThanOrEqual(5 * SLICE);
      }
    },
  );

  test.each(Object.entries(hostile))('as long as an error, of %s: behind two layers', async (_, words) => {
    const { all, most } = await workOf(maskOf(value, 'shorter'), Buffer.alloc(64 * 1024, words));
    expect(all / (64 * 1024)).toBeLessThan(1.5 * 21);
    expect(most).toBeLessThanOrEqual(21 * SLICE);
  });

  test('without a whole escape in it is looked through once', async () => {
    const { all } = await workOf(maskOf(JWT), Buffer.alloc(SLICE, '&%\\#'));
    expect(all).toBe(SLICE);
  });
});
