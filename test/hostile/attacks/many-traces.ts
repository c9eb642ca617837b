import { atMost, isTrue } from '../attack.ts';
import type { Attack, Form } from '../attack.ts';
import { gzipped, requestOfBytes, smallestSpans } from '../bodies.ts';

const GZIP = { 'content-encoding': 'gzip' };
const READY_S = 20;

/** Spans of 30 bytes, each a trace of its own; then a start on the queue that they are in. */
function manyTraces(count: number, watchMs: number, behindStartMs: number): Attack {
  return {
    name: `${count.toLocaleString('en-US')} of the smallest spans, each its own trace, and a restart`,
    deadlineMs: 2 * watchMs + behindStartMs + 120_000,
    async run({ attacker, watch, restart, seen }) {
      const body = await gzipped(requestOfBytes(smallestSpans(count, 'own traces')));
      const answer = attacker.post(body, GZIP);
      await watch(watchMs);
      const readyAfter = await restart();
      await watch(behindStartMs);
      const { otherSpans } = await seen();
      return {
        answer: await answer,
        figures: [
          readyAfter === undefined
            ? isTrue('ready again on the same queue', false, 'never', `within ${READY_S} s`)
            : atMost('ready again on the same queue', readyAfter, READY_S, ' s'),
          // It is delivered in parts; all of it would take its time.
          isTrue('spans of it at the upstream', otherSpans > 0, otherSpans.toLocaleString('en-US'), 'some'),
        ],
      };
    },
  };
}

export function manyTracesAttacks(form: Form): Attack[] {
  if (form === 'short') return [manyTraces(300_000, 6_000, 3_000)];
  return [manyTraces(300_000, 40_000, 20_000), manyTraces(2_200_000, 90_000, 60_000)];
}

/** One trace that is as large as a request can be. */
export function oneTraceAttacks(form: Form): Attack[] {
  const count = form === 'short' ? 200_000 : 2_200_000;
  return [
    {
      name: `one trace of ${count.toLocaleString('en-US')} spans`,
      deadlineMs: 240_000,
      async run({ attacker, watch, seen, relay, isDead }) {
        const body = await gzipped(requestOfBytes(smallestSpans(count, 'one trace')));
        const answer = await attacker.post(body, GZIP);
        await watch(form === 'short' ? 8_000 : 90_000);
        const { otherSpans } = await seen();
        const cpu = isDead()
          ? Number.NaN
          : ((await relay.metrics()).get('mlflow_trace_relay_process_cpu_seconds_total') ?? Number.NaN);
        return {
          answer,
          figures: [
            isTrue(
              'spans of it at the upstream',
              answer !== '200' || otherSpans === count,
              otherSpans.toLocaleString('en-US'),
              'all',
            ),
            isTrue('CPU of the relay', true, `${cpu.toFixed(1)} s`, '-'),
          ],
        };
      },
    },
  ];
}
