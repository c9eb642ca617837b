import { strict as assert } from 'node:assert';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { LetterRequest } from '../../../src/queue/letter-requests.ts';
import { openQueue } from '../../../src/queue/segment-queue.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { letterOf, lettersIn } from '../../queue/letters.ts';
import type { StoredLetter } from '../../queue/letters.ts';
import { ModelDisk } from '../support/model-disk.ts';
import type { AfterStop, Mount } from '../support/model-disk.ts';
import { seeded } from '../support/random.ts';
import { howMany } from '../support/run.ts';

const DIRECTORY = '/var/queue';
const FIRST_SEED = Number(process.env['FAULT_SEED'] ?? Date.now() % 2 ** 31);

type Round = {
  /** Bytes of the letters of each append before the request. */
  readonly appends: readonly (readonly number[])[];
  readonly action: LetterRequest['action'];
  /** The part of the letters that is asked for. */
  readonly share: number;
  readonly seed: number;
  readonly end:
    | { readonly by: 'power loss' | 'kill'; readonly afterCalls: number; readonly afterwards: AfterStop }
    /** Some calls fail, then the disk works; the queue is closed in order. */
    | { readonly by: 'trouble'; readonly calls: number };
};

const round: fc.Arbitrary<Round> = fc.record({
  appends: fc.array(fc.array(fc.integer({ min: 20, max: 9000 }), { minLength: 1, maxLength: 4 }), {
    maxLength: 4,
  }),
  action: fc.constantFrom('replay' as const, 'discard' as const),
  share: fc.constantFrom(0.2, 0.5, 0.9, 1),
  seed: fc.nat(2 ** 31 - 1),
  end: fc.oneof(
    fc.record({
      by: fc.constantFrom('power loss' as const, 'power loss' as const, 'kill' as const),
      afterCalls: fc.oneof(fc.nat(30), fc.nat(120)),
      afterwards: fc.constantFrom('hangs' as const, 'fails' as const),
    }),
    fc.record({ by: fc.constant('trouble' as const), calls: fc.integer({ min: 0, max: 6 }) }),
  ),
});

const metrics = createMetrics();

/** Everything that is under way has ended, or waits for a timer: the disk's calls are microtasks. */
const quiet = () => new Promise((resolve) => setImmediate(resolve));

function openOn(fs: Mount) {
  return openQueue(
    { directory: DIRECTORY, maxBytes: 1024 * 1024, destinations: ['mlflow'], fs, lock: () => () => {} },
    { log: pino({ level: 'silent' }), metrics },
  );
}

/** What is owed of a letter. `maybe`: something was asked and never answered, or not wholly done. */
type Fate = { dead: 'yes' | 'no' | 'maybe'; queued: 'yes' | 'maybe' | 'no'; readonly text: string };

async function run(rounds: readonly Round[], seed: number): Promise<string> {
  const disk = new ModelDisk(seeded(seed));
  const fates = new Map<string, Fate>();
  for (const { appends, action, share, seed: roundSeed, end } of rounds) {
    const random = seeded(roundSeed);
    const mount = disk.mount();
    const queue = await openOn(mount);
    await check(mount, queue, fates);

    for (const sizes of appends) {
      const letters = sizes.map((bytes, index) => {
        const text = `letter ${fates.size + index}; `;
        return letterOf(text, { bytes, reason: text });
      });
      for (const { reason } of letters) fates.set(reason, { dead: 'yes', queued: 'no', text: reason });
      await queue.deadLetters.append(letters);
    }
    const chosen = (await lettersIn(DIRECTORY, mount)).filter(() => random.chance(share));
    if (end.by === 'trouble') mount.failNext(end.calls);
    else mount.stopAfter(end.afterCalls, end.afterwards);

    const requests = [...new Set(chosen.map(({ segment }) => segment))].map(async (segment) => {
      const asked = chosen.filter((letter) => letter.segment === segment);
      const asFates = asked.map(({ meta }) => fates.get(meta.reason)!);
      for (const fate of asFates) {
        fate.dead = 'maybe';
        if (fate.queued !== 'yes') fate.queued = action === 'replay' ? 'maybe' : 'no';
      }
      const answer = await queue.letterDesk.carryOut({ action, segment, ids: idsOf(asked) });
      if (answer.stopped !== undefined || mount.stopped) return;
      for (const fate of asFates) {
        fate.dead = 'no';
        if (action === 'replay') fate.queued = 'yes';
      }
    });
    if (end.by === 'trouble') {
      await Promise.all(requests);
      mount.failNext(0);
      await queue.close().catch(() => {});
    } else {
      await quiet();
      if (end.by === 'kill') disk.killProcess();
      else disk.losePower(random);
    }
    vi.clearAllTimers();
  }
  disk.losePower(seeded(seed));
  const mount = disk.mount();
  const queue = await openOn(mount);
  await check(mount, queue, fates);
  await queue.close();
  return 'all accounted for';
}

function idsOf(letters: readonly StoredLetter[]): string[] {
  return letters.map(({ meta }) => meta.id);
}

/** Holds what a start finds against what is owed. */
async function check(
  mount: Mount,
  queue: Awaited<ReturnType<typeof openOn>>,
  fates: ReadonlyMap<string, Fate>,
): Promise<void> {
  const found = await lettersIn(DIRECTORY, mount);
  const reasons = found.map(({ meta }) => meta.reason);
  assert.equal(new Set(reasons).size, reasons.length, 'a letter is there twice');
  const order = [...fates.keys()].filter((reason) => reasons.includes(reason));
  assert.deepEqual(reasons, order, 'the order of letters has changed');
  for (const { meta, text } of found)
    assert.equal(text, meta.reason.repeat(text.length).slice(0, text.length), `the bytes of ${meta.reason}`);
  assert.equal(queue.deadLetters.status().spans['mlflow'] ?? 0, found.length, 'dead letters are miscounted');

  const queued = new Set<string>();
  const reader = queue.reader('mlflow');
  for (let lease = await reader.next(); lease; lease = await reader.next()) {
    queued.add(`${Buffer.from(lease.record.payload).toString().split('; ')[0]}; `);
  }
  for (const [reason, fate] of fates) {
    const isDead = reasons.includes(reason);
    const isQueued = queued.has(reason);
    if (fate.dead === 'yes') assert(isDead, `${reason} is lost`);
    if (fate.dead === 'no') assert(!isDead, `${reason} is there again`);
    if (fate.queued === 'yes') assert(isQueued, `${reason} was replayed and is not in the queue`);
    if (fate.queued === 'maybe') assert(isDead || isQueued, `${reason} is neither dead nor in the queue`);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test(
  'whenever power is lost or the relay killed, a letter that is to be replayed is dead or in the queue, one that is not asked for stays, and one that was discarded does not come back',
  { timeout: 30 * 60_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(round, { minLength: 1, maxLength: 6 }),
        fc.nat(2 ** 31 - 1),
        async (rounds, seed) => {
          expect(await run(rounds, seed)).toBe('all accounted for');
        },
      ),
      { numRuns: howMany({ short: 150, long: 5000 }), seed: FIRST_SEED },
    );
  },
);
