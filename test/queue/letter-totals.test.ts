import fc from 'fast-check';
import { expect, test } from 'vitest';
import { countLetter } from '../../src/queue/letter-tally.ts';
import { LetterTotals } from '../../src/queue/letter-totals.ts';
import { Tally } from '../../src/queue/tally.ts';
import { letterOf } from './letters.ts';

type Letter = {
  readonly sender: string;
  readonly destination: string;
  readonly spans: number;
  readonly repaired?: string | undefined;
};

function tallyOf(letters: readonly Letter[], tally = new Tally()): Tally {
  for (const { sender, destination, spans, repaired } of letters)
    countLetter(letterOf('x', { sender, destination, spanCount: spans, repaired }), spans * 10, tally);
  return tally;
}

const letters: fc.Arbitrary<Letter[]> = fc.array(
  fc.record({
    sender: fc.constantFrom('a', 'b', 'c'),
    destination: fc.constantFrom('mlflow', 'phoenix'),
    spans: fc.integer({ min: 1, max: 9 }),
    repaired: fc.constantFrom(undefined, 'cut'),
  }),
  { maxLength: 5 },
);
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('append' as const), letters }),
    fc.record({ kind: fc.constant('roll' as const) }),
    /** What is left of a segment, or that it is gone. */
    fc.record({ kind: fc.constant('rewrite' as const), at: fc.nat(9), left: fc.option(letters) }),
  ),
  { maxLength: 20 },
);

test('are what is in all segments, whatever is appended, rewritten and removed', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const segments: { tally: Tally; letters: Letter[] }[] = [{ tally: new Tally(), letters: [] }];
      const totals = new LetterTotals(segments);
      for (const step of all) {
        const last = segments.at(-1)!;
        if (step.kind === 'append') {
          tallyOf(step.letters, last.tally);
          last.letters.push(...step.letters);
        } else if (step.kind === 'roll') {
          segments.push({ tally: new Tally(), letters: [] });
        } else if (step.at < segments.length - 1) {
          const { left, at } = step;
          if (left === null) segments.splice(at, 1);
          else Object.assign(segments[at]!, { tally: tallyOf(left), letters: left });
        }
        const spans: Record<string, number> = {};
        const bytes: Record<string, number> = {};
        let originals = 0;
        for (const letter of segments.flatMap((segment) => segment.letters)) {
          spans[letter.destination] = (spans[letter.destination] ?? 0) + letter.spans;
          if (letter.repaired !== undefined) originals += letter.spans * 10;
          else bytes[letter.sender] = (bytes[letter.sender] ?? 0) + letter.spans * 10;
        }
        expect(totals.originalBytes()).toBe(originals);
        expect(Object.fromEntries(totals.spansByDestination())).toEqual(spans);
        expect(Object.fromEntries(totals.bytesBySender())).toEqual(bytes);
      }
    }),
  );
});

test('look once at what is not written to any more', () => {
  let looks = 0;
  class Watched extends Tally {
    override [Symbol.iterator]() {
      looks++;
      return super[Symbol.iterator]();
    }
  }
  const sealed = Array.from({ length: 3 }, () => ({
    tally: tallyOf([{ sender: 'a', destination: 'mlflow', spans: 2 }], new Watched()),
  }));
  const totals = new LetterTotals([...sealed, { tally: new Tally() }]);
  for (let i = 0; i < 100; i++) expect(totals.bytesBySender().get('a')).toBe(60);
  expect(looks).toBe(3);
});
