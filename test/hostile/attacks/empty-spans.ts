import { isTrue } from '../attack.ts';
import type { Attack, Form } from '../attack.ts';
import { countAnswers } from '../attacker.ts';
import { emptySpans, gzipped } from '../bodies.ts';

/** A body that is next to nothing, compressed, and has more spans than anybody can list. */
function empty(spans: number, requests: number): Attack {
  return {
    name: `${(spans / 1e6).toFixed(1)} million empty spans and a good one, ${requests} at once`,
    deadlineMs: 180_000,
    async run({ attacker, watch }) {
      const body = await gzipped(emptySpans(spans));
      const answers = countAnswers();
      const posts = Array.from({ length: requests }, () =>
        attacker.post(body, { 'content-encoding': 'gzip' }).then(answers.add),
      );
      await Promise.all(posts);
      await watch(2_000);
      return {
        answer: answers.words(),
        // Refused for want of room is an answer, too.
        figures: [isTrue('no answer is 500', !answers.has(500), answers.words(), 'no 500')],
      };
    },
  };
}

export function emptySpansAttacks(form: Form): Attack[] {
  if (form === 'short') return [empty(33_500_000, 1)];
  return [empty(4_000_000, 50), empty(33_500_000, 4), empty(33_500_000, 50)];
}
