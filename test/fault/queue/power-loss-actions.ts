import fc from 'fast-check';
import type { AfterStop } from '../support/model-disk.ts';

/** By number, so that a sequence is plain JSON. */
export const DESTINATIONS = ['mlflow', 'phoenix', 'archive'] as const;

/** Some of the destinations: bit 0 is the first of them. */
export type Some = number;

export function namesOf(some: Some): string[] {
  return DESTINATIONS.filter((_, index) => (some & (1 << index)) !== 0);
}

export type RecordSpec = { readonly bytes: number; readonly spans: number; readonly to: Some };
export type LetterSpec = { readonly bytes: number; readonly spans: number };

/** What a running relay does with its queue. */
export type Action =
  /** Appends at the same time, each of some records. */
  | { readonly do: 'append'; readonly appends: readonly (readonly RecordSpec[])[] }
  | { readonly do: 'read'; readonly destination: number; readonly most: number }
  /** A share of what was read, in an order of its own; of some records a part is done before. */
  | { readonly do: 'settle'; readonly destination: number; readonly share: number; readonly seed: number }
  | { readonly do: 'letters'; readonly letters: readonly LetterSpec[] }
  /** A second goes by: positions are saved, segments removed. */
  | { readonly do: 'wait' }
  /** The disk fails for so many calls. */
  | { readonly do: 'trouble'; readonly calls: number };

/** What ends it: a process that is killed leaves all that it wrote to the next one, but no more durable than it was. */
export type End = {
  readonly by: 'power loss' | 'kill';
  /** The disk stops after so many calls, maybe in the midst of something. */
  readonly afterCalls: number;
  readonly afterwards: AfterStop;
  readonly seed: number;
};

export type Step =
  | Action
  | { readonly do: 'together'; readonly actions: readonly Action[] }
  | { readonly do: 'close and open'; readonly destinations: Some }
  | {
      readonly do: 'crash';
      readonly during: readonly Action[];
      readonly closing: boolean;
      readonly end: End;
      /** Starts that are cut off, before one that is not. */
      readonly starts: readonly End[];
      readonly destinations: Some;
    };

export type Sequence = {
  /** The disk's: in which order it does what it is told at the same time. */
  readonly seed: number;
  readonly destinations: Some;
  readonly steps: readonly Step[];
};

const PAGE = 4096;
const seed = fc.nat(2 ** 31 - 1);
const bytes = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 600 }) },
  { weight: 3, arbitrary: fc.integer({ min: PAGE - 300, max: PAGE + 300 }) },
  { weight: 4, arbitrary: fc.integer({ min: PAGE, max: 24 * 1024 }) },
  { weight: 1, arbitrary: fc.integer({ min: 64 * 1024, max: 90 * 1024 }) },
);
const some = fc.integer({ min: 1, max: 2 ** DESTINATIONS.length - 1 });
const mostlyAll = fc.oneof({ weight: 3, arbitrary: fc.constant(7) }, { weight: 1, arbitrary: some });
const destination = fc.nat(DESTINATIONS.length - 1);
const spans = fc.integer({ min: 1, max: 9 });
const record = fc.record({ bytes, spans, to: some });

const append: fc.Arbitrary<Action> = fc.record({
  do: fc.constant('append' as const),
  appends: fc.array(fc.array(record, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 5 }),
});
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 10, arbitrary: append },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      destination,
      most: fc.constantFrom(1, 3, 10, Infinity),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      destination,
      share: fc.constantFrom(0.3, 0.7, 1, 1),
      seed,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('letters' as const),
      letters: fc.array(fc.record({ bytes, spans }), { minLength: 1, maxLength: 2 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('trouble' as const), calls: fc.integer({ min: 1, max: 12 }) }),
  },
);

const end = (mostCalls: number): fc.Arbitrary<End> =>
  fc.record({
    by: fc.constantFrom('power loss', 'power loss', 'kill'),
    afterCalls: fc.nat(mostCalls),
    afterwards: fc.constantFrom('hangs', 'hangs', 'fails'),
    seed,
  });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: action },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('together' as const),
      actions: fc.array(action, { minLength: 2, maxLength: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('close and open' as const), destinations: mostlyAll }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('crash' as const),
      during: fc.array(action, { maxLength: 4 }),
      closing: fc.constantFrom(false, false, true),
      end: end(40),
      // A start of several segments makes some hundred calls.
      starts: fc.array(fc.oneof(end(60), end(200)), { maxLength: 2 }),
      destinations: mostlyAll,
    }),
  },
);

export const sequence: fc.Arbitrary<Sequence> = fc.record({
  seed,
  destinations: mostlyAll,
  steps: fc.array(step, { minLength: 1, maxLength: 20, size: 'max' }),
});
