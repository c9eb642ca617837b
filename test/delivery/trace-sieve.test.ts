import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/delivery/batch.ts';
import { divide } from '../../src/delivery/divide.ts';
import { TraceSieve } from '../../src/delivery/trace-sieve.ts';
import { seeded } from '../fault/support/random.ts';
import { batchOf, idsOf } from './batches.ts';

type Naming = (refused: readonly string[]) => readonly string[];

/** As MLflow names a trace of another experiment. */
const first: Naming = (refused) => [refused.toSorted()[0] ?? ''];
/** As MLflow names archived traces. */
const all: Naming = (refused) => refused;

const byId = (a: number, b: number) => a - b;

/** What comes of a batch at an upstream that refuses some traces, and of the requests for it. */
function sift(batch: Batch<string>, isRefused: (traceId: string) => boolean, naming: Naming) {
  const sieve = new TraceSieve(batch);
  const delivered: number[] = [];
  const named: number[] = [];
  let requests = 0;
  let spans = 0;
  for (let next = sieve.next(); next !== undefined; next = sieve.next()) {
    requests++;
    spans += next.spanCount;
    const refused = [...next.traces.keys()].filter((traceId) => isRefused(traceId));
    if (refused.length === 0) {
      delivered.push(...idsOf(next));
      sieve.left(next, true);
      continue;
    }
    const names = new Set(naming(refused));
    named.push(...idsOf(divide(next, (traceId) => names.has(traceId))[0]));
    sieve.named(next, names);
  }
  return { delivered: delivered.toSorted(byId), named: named.toSorted(byId), requests, spans };
}

const whole = (traces: number) => batchOf(Array.from({ length: traces }, () => 1));
const among = (traceIds: readonly string[]) => (traceId: string) => traceIds.includes(traceId);

describe('a sieve of traces', () => {
  test('tells each span once, whichever are named and in whatever order', () => {
    const namings = { first, all, last: (refused: readonly string[]) => [refused.toSorted().at(-1) ?? ''] };
    fc.assert(
      fc.property(
        fc.array(fc.record({ spans: fc.integer({ min: 1, max: 4 }), isRefused: fc.boolean() }), {
          minLength: 1,
          maxLength: 40,
        }),
        fc.constantFrom<keyof typeof namings>('first', 'all', 'last'),
        (traces, naming) => {
          const batch = batchOf(traces.map(({ spans }) => spans));
          const refused = traces.flatMap(({ isRefused }, trace) =>
            isRefused ? [trace.toString(16).padStart(32, '0')] : [],
          );
          const isOfRefused = traces.flatMap(({ spans, isRefused }) =>
            Array.from({ length: spans }, () => isRefused),
          );
          const { delivered, named } = sift(batch, among(refused), namings[naming]);
          expect(named).toEqual([...isOfRefused.keys()].filter((id) => isOfRefused[id]));
          expect(delivered).toEqual([...isOfRefused.keys()].filter((id) => !isOfRefused[id]));
        },
      ),
    );
  });

  test.each([0, 1, 499, 999])('takes two requests for one trace, number %i of a thousand', (at) => {
    const batch = whole(1000);
    const one = [...batch.traces.keys()][at] ?? '';
    expect(sift(batch, among([one]), first).requests).toBe(2);
  });

  test('takes two requests where all of them are named at once', () => {
    const batch = whole(1000);
    const some = [...batch.traces.keys()].filter((_, at) => at % 3 === 0);
    expect(sift(batch, among(some), all).requests).toBe(2);
  });

  test('takes about a request for each of 200 in a thousand, wherever they are, and sends the others seldom in vain', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const batch = whole(1000);
      const { below } = seeded(seed);
      const ids = [...batch.traces.keys()];
      const some = new Set(Array.from({ length: 200 }, () => ids.splice(below(ids.length), 1)[0]));
      const { requests, spans } = sift(batch, (traceId) => some.has(traceId), first);
      expect(requests).toBeLessThanOrEqual(250);
      expect(spans).toBeLessThan(8 * 1000);
    }
  });

  test('takes a request for each where there are no others, none of them large', () => {
    const { requests, spans } = sift(whole(1000), () => true, first);
    expect(requests).toBe(1000);
    expect(spans).toBeLessThan(8 * 1000);
  });
});
