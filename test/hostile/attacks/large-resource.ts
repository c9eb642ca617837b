import { atMost, isTrue } from '../attack.ts';
import type { Attack, Form } from '../attack.ts';
import { MIB, gzipped, largeResource } from '../bodies.ts';

const TRACES = 10_000;
/** The largest that is taken, by `receiver.max_resource_size`. */
const LARGEST_RESOURCE = MIB - 1024;
/** Requests of 4 MiB and 1,000 spans at most make ten copies of a resource that is shared, and a million bytes of spans. */
const MOST_SENT_MIB = 100;

function sharedResource(bytes: number, watchMs: number, isTaken: boolean): Attack {
  return {
    name: `a resource of ${(bytes / MIB).toFixed(1)} MiB that ${TRACES.toLocaleString('en-US')} traces share`,
    deadlineMs: watchMs + 120_000,
    async run({ attacker, watch, seen }) {
      const body = await gzipped(largeResource(bytes, TRACES));
      const answer = await attacker.post(body, { 'content-encoding': 'gzip' });
      await watch(watchMs);
      const { bytes: sent, otherSpans } = await seen();
      return {
        answer,
        figures: [
          isTrue(
            'answer',
            isTaken ? answer === '200' : /^4\d\d$/.test(answer),
            answer,
            isTaken ? '200' : '4xx',
          ),
          atMost('sent upstream', sent / MIB, MOST_SENT_MIB, ' MiB'),
          isTrue(
            'spans of it at the upstream',
            otherSpans === (isTaken ? TRACES : 0),
            String(otherSpans),
            isTaken ? 'all' : 'none',
          ),
        ],
      };
    },
  };
}

export function largeResourceAttacks(form: Form): Attack[] {
  if (form === 'short') return [sharedResource(LARGEST_RESOURCE, 6_000, true)];
  return [sharedResource(LARGEST_RESOURCE, 40_000, true), sharedResource(5_000_000, 40_000, false)];
}
