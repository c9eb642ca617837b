import { setTimeout as pause } from 'node:timers/promises';
import { quantile } from '../../fault/support/open-loop.ts';
import { atMost } from '../attack.ts';
import type { Attack, Form } from '../attack.ts';
import { countAnswers } from '../attacker.ts';
import { BAD_MARK, markedTraces } from '../bodies.ts';

const TRACES_EACH = 10;
const UPSTREAM_MS = 200;
/** Twice what the upstream takes is the aim; a machine with other work takes longer, a relay that searches far longer. */
const MOST_P50_MS = 1_500;
const LONGEST_MS = 10_000;

/** Traces that the upstream refuses for good, beside five good ones a second. */
function badSpans(perSecond: number, seconds: number): Attack {
  return {
    name: `${perSecond} requests a second of ${TRACES_EACH} traces that the upstream refuses, each answer after ${UPSTREAM_MS} ms`,
    options: { upstreamMs: UPSTREAM_MS, perSecond: 5 },
    deadlineMs: seconds * 1000 + 60_000,
    async run({ busyAttacker, isDead }) {
      const answers = countAnswers();
      const startedAt = Date.now();
      const underWay: Promise<void>[] = [];
      for (let count = 0; count < perSecond * seconds && !isDead(); count++) {
        await pause(Math.max(0, startedAt + (count * 1000) / perSecond - Date.now()));
        const body = markedTraces(BAD_MARK, 1 + count * TRACES_EACH, TRACES_EACH);
        underWay.push(busyAttacker.post(body).then(answers.add));
      }
      await Promise.all(underWay);
      return { answer: answers.words() };
    },
    judge: ({ delays }) => [
      atMost("p50 of others' way to the upstream", quantile(delays, 0.5), MOST_P50_MS, ' ms'),
      atMost("longest of others' ways to the upstream", Math.max(0, ...delays), LONGEST_MS, ' ms'),
    ],
  };
}

export function badSpansAttacks(form: Form): Attack[] {
  if (form === 'short') return [badSpans(20, 10)];
  return [5, 20, 50].map((perSecond) => badSpans(perSecond, 60));
}
