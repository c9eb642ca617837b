import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { startDelivery } from '../../src/delivery/dispatcher.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { seeded } from '../fault/support/random.ts';
import { howMany, isLong } from '../fault/support/run.ts';
import { useTimeOfTest, valueOf } from './dispatcher-support.ts';
import { decode, encode, memoryLog, MemoryDeadLetters, recordOf, routeOf } from './support.ts';
import { StrictQueue } from './strict-queue.ts';
import { contentOf, KINDS, textOf, WholeUpstream } from './whole-upstream.ts';
import type { Content, Faults } from './whole-upstream.ts';

/* The whole delivery, beside an upstream of which much is wrong at once. In hours of the test's time. */

useTimeOfTest();

const HOUR = 3_600_000;
/** What comes, comes within so many ms. */
const ARRIVALS_MS = 20_000;
/** From one span of a sender that is always well to the next. */
const BEAT_MS = 20_000;

const traces = fc.integer({ min: 1, max: 6 });
/** Few ids, so that there are copies. */
const span = fc.record({
  trace: traces,
  id: fc.integer({ min: 1, max: 5 }),
  kind: fc.oneof(
    { weight: 8, arbitrary: fc.constant('good' as const) },
    { weight: 5, arbitrary: fc.constantFrom(...KINDS) },
  ),
  version: fc.constantFrom(1, 1, 2),
  isRoot: fc.boolean(),
  hasEnd: fc.boolean(),
});
const record = fc.record({
  at: fc.nat(ARRIVALS_MS),
  sender: fc.constantFrom('one', 'two', 'nul\0'),
  route: fc.constantFrom('a', 'a', 'a', 'b'),
  spans: fc.array(span, { minLength: 1, maxLength: 12 }),
});
const outage = fc
  .record({
    from: fc.nat(60_000),
    ms: fc.integer({ min: 100, max: 40_000 }),
    outcome: fc.constantFrom(
      { kind: 'retry', reason: '503: away' } as const,
      { kind: 'retry', reason: '503: later', after: 5_000 } as const,
      { kind: 'retry', reason: 'no answer', tooSlow: true } as const,
      { kind: 'blocked', reason: '403' } as const,
      { kind: 'refused', status: 422, reason: '422: a fault of all', doubtful: true } as const,
    ),
  })
  .map(({ from, ms, outcome }) => ({ from, to: from + ms, outcome }));
const gone = fc.record({ trace: traces, from: fc.constantFrom(0, 0, 2_000, 30_000) });
const faults: fc.Arbitrary<Faults> = fc.record({
  gone: fc.array(gone, { maxLength: 3 }),
  naming: fc.constantFrom('first', 'all', 'none'),
  isTraceFirst: fc.boolean(),
  outages: fc.array(outage, { maxLength: 1 }),
  flaky: fc.constantFrom(0, 0, 0.05, 0.3),
  mostSpans: fc.constantFrom(1000, 1000, 5, 2),
  canProbe: fc.boolean(),
});
const options = fc.record({
  maxBatchSpans: fc.constantFrom(100, 100, 7, 2),
  maxInFlight: fc.constantFrom(8, 3, 1),
  windowSize: fc.constantFrom(1e6, 200_000),
  traceWaitMs: fc.constantFrom(0, 1_000, 5_000),
});
const plan = fc.record({
  seed: fc.nat(),
  records: fc.array(record, { minLength: 1, maxLength: 25 }),
  faults,
  options,
});
type Plan = typeof plan extends fc.Arbitrary<infer T> ? T : never;

function recordFrom({ sender, route, spans }: Plan['records'][number]) {
  const specs = spans.map(({ kind, version, ...rest }) => ({ ...rest, name: `${kind} ${version}` }));
  const payload = encode([{ name: sender, scopes: [{ name: 'lib', spans: specs }] }]);
  return { payload, spanCount: spans.length, sender, route: routeOf(route), receivedAt: Date.now() };
}

/** Until something happens. */
async function step(): Promise<void> {
  await vi.advanceTimersToNextTimerAsync();
  for (let turn = 0; turn < 3; turn++) await setImmediate();
}

/** Until all is settled, and for a day at most. */
async function run({ seed, records, faults: upstreamFaults, options: limits }: Plan) {
  const random = seeded(seed);
  vi.spyOn(Math, 'random').mockImplementation(() => random.below(1e6) / 1e6);
  const queue = new StrictQueue();
  const destination = new WholeUpstream(upstreamFaults, random);
  const deadLetters = new MemoryDeadLetters();
  const metrics = createMetrics();
  const { log } = memoryLog();
  const delivery = startDelivery(
    { maxBatchSize: 100_000, timeoutMs: 30_000, ...limits },
    { reader: queue, destination, deadLetters, metrics, log },
  );
  const arrived: Content[] = [];
  for (const one of records) {
    setTimeout(() => {
      const made = recordFrom(one);
      for (const each of decode(made.payload)) arrived.push(contentOf(each, one.route));
      queue.append(made);
    }, one.at);
  }
  const began = Date.now();
  const passed = () => Date.now() - began;
  const isOver = () => passed() > ARRIVALS_MS && queue.unread === 0 && queue.openOfOthers('well') === 0;
  // What an upstream fails at shows by what it takes.
  let trace = 1000;
  const beat = () => {
    for (const route of ['a', 'b'])
      queue.append(recordOf([{ trace: trace++, isRoot: true }], { sender: 'well', route }));
    if (!isOver()) setTimeout(beat, BEAT_MS);
  };
  beat();
  let steps = 0;
  for (; passed() < 24 * HOUR && !(isOver() && queue.open.size === 0); steps++) await step();
  const seconds = passed() / 1000;
  await delivery.stop(0);
  vi.restoreAllMocks();
  return { queue, destination, deadLetters, metrics, arrived, steps, seconds };
}

type Ran = Awaited<ReturnType<typeof run>>;

/** Letters by what is in them. */
function lettersOf({ deadLetters }: Ran) {
  return new Map(
    deadLetters.letters.flatMap((letter) =>
      decode(letter.payload).map((each) => [textOf(contentOf(each, letter.route.name)), letter] as const),
    ),
  );
}

async function expectAccountOf({ queue, deadLetters, metrics }: Ran): Promise<void> {
  let ended = deadLetters.letters.reduce((sum, { spanCount }) => sum + spanCount, 0);
  for (const metric of [metrics.deliveredSpans, metrics.rejectedSpans, metrics.supersededSpans])
    ended += (await valueOf(metric)) ?? 0;
  expect(ended).toBe(queue.spans);
  expect(queue.doneSpans).toBe(queue.spans);
}

/** Each copy of a span was taken, is a letter, or one was taken that is as good. */
function lost(ran: Ran): string[] {
  const letters = lettersOf(ran);
  const { taken } = ran.destination;
  const isTaken = ({ key, hasEnd }: Content) =>
    [...taken.values()].some((one) => one.key === key && (one.hasEnd || !hasEnd));
  return ran.arrived
    .filter((one) => !taken.has(textOf(one)) && !letters.has(textOf(one)) && !isTaken(one))
    .map(textOf);
}

/** Good spans that are letters, though neither their traces were refused nor were they mended. */
function wronged(ran: Ran): string[] {
  return [...lettersOf(ran)]
    .filter(([, { isOfTrace, repaired }]) => isOfTrace !== true && repaired === undefined)
    .flatMap(([text, { reason }]) => (text.includes(' good ') ? [`${text}: ${reason}`] : []));
}

test(
  'whatever is wrong, each span ends once, and a trace is in one request at a time',
  { timeout: isLong ? 1_800_000 : 60_000 },
  async () => {
    const property = fc.asyncProperty(plan, async (of) => {
      const ran = await run(of);
      expect(ran.queue.wrong).toEqual([]);
      expect(ran.destination.wrong).toEqual([]);
      expect(ran.queue.open.size).toBe(0);
      await expectAccountOf(ran);
      expect(lost(ran)).toEqual([]);
      expect(wronged(ran)).toEqual([]);
      // It waits for what happens, and asks for no time that brings nothing.
      expect(ran.steps).toBeLessThan(1000 + 5 * ran.seconds + 20 * ran.destination.requests);
    });
    // To make a plan smaller would take hours.
    await fc.assert(property, { numRuns: howMany({ short: 6, long: 500 }), endOnFailure: true });
  },
);
