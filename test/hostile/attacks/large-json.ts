import type { Attack, Form } from '../attack.ts';
import { countAnswers } from '../attacker.ts';
import { gzipped, uselessJson } from '../bodies.ts';

const LARGE = 50_000_000;
const SMALLER = 1_200_000;
const AT_ONCE = 4;
const MOST_P50_MS = 2_000;

/** JSON that takes a second to be converted, and another sender's that takes a part of it. */
export function largeJsonAttacks(form: Form): Attack[] {
  const seconds = form === 'short' ? 8 : 40;
  return [
    {
      name: `JSON of ${LARGE / 1e6} MB, ${AT_ONCE} at once, beside others' of ${SMALLER / 1e6} MB`,
      options: { body: { format: 'json', bytes: SMALLER }, perSecond: 2 },
      mostP50Ms: MOST_P50_MS,
      deadlineMs: seconds * 1000 + 120_000,
      async run({ attacker, isDead }) {
        const body = await gzipped(uselessJson(LARGE));
        const answers = countAnswers();
        const end = Date.now() + seconds * 1000;
        const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
        async function send(): Promise<void> {
          while (Date.now() < end && !isDead()) answers.add(await attacker.post(body, headers));
        }
        await Promise.all(Array.from({ length: AT_ONCE }, send));
        return { answer: answers.words() };
      },
    },
  ];
}
