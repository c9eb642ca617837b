import { expect } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { answerAll, DELIVERED } from './dispatcher-support.ts';
import type { deliver } from './dispatcher-support.ts';
import { decode, recordOf, traceIdOf } from './support.ts';
import type { Call } from './support.ts';

/* An upstream that refuses whole traces. */

export type Script = (call: Call) => SendOutcome;

export const about = (traces: readonly number[], reason: string): SendOutcome => ({
  kind: 'refused',
  status: 400,
  reason,
  traces: traces.map((trace) => traceIdOf(trace)),
});

/** Names the first trace of a request that is another experiment's, as MLflow 3.18 does. */
export const naming =
  (isForeign: (trace: number) => boolean): Script =>
  ({ traces }) => {
    const [foreign] = traces.filter((trace) => isForeign(trace)).toSorted((a, b) => a - b);
    return foreign === undefined ? DELIVERED : about([foreign], `trace ${foreign} is elsewhere`);
  };
/** Names all of them, as MLflow does of archived ones. */
export const namingAll =
  (isArchived: (trace: number) => boolean): Script =>
  ({ traces }) => {
    const archived = traces.filter((trace) => isArchived(trace));
    return archived.length === 0 ? DELIVERED : about(archived, 'these are archived');
  };
export const namingNone =
  (isGone: (trace: number) => boolean): Script =>
  ({ traces }) =>
    traces.some((trace) => isGone(trace)) ? about([], 'some trace is gone') : DELIVERED;

export const isOdd = (trace: number) => trace % 2 === 1;
export const everything = () => true;
export const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

/** One record of so many traces, of one span each. */
export const recordOfTraces = (traces: readonly number[], sender = 'agent') =>
  recordOf(
    traces.map((trace) => ({ trace, isRoot: true })),
    { sender },
  );

type Setting = ReturnType<typeof deliver>;
export const tracesOfLetters = ({ deadLetters }: Setting) =>
  deadLetters.letters.flatMap(({ payload }) => decode(payload).map(({ trace }) => trace));
export const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b);

/** Until all that was appended is settled, with the states that were seen on the way. */
export async function run(
  setting: Setting,
  script: Script,
  records: number,
  seconds = 600,
): Promise<Set<string>> {
  const states = new Set<string>();
  await answerAll(
    setting.destination,
    (call) => {
      states.add(setting.delivery.state().state);
      return script(call);
    },
    { seconds, until: () => setting.queue.settled.length === records },
  );
  expect(setting.queue.settled).toHaveLength(records);
  states.add(setting.delivery.state().state);
  return states;
}
