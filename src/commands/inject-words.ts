import type { Difference } from '../inject/compare.ts';
import type { InjectedTrace } from '../inject/injected-trace.ts';
import { quote } from '../network-words.ts';
import { safeJson } from './safe-json.ts';

type Outcome = InjectedTrace['outcome'];

/** Of the process, where it is the lowest above 0 of all traces. */
export const EXIT_CODES: Readonly<Record<Outcome, number>> = {
  stored: 0,
  sent: 0,
  refused: 3,
  'not stored': 4,
  differs: 5,
  'not readable': 6,
};

export const EXIT_CODE_HELP = `
Exit codes:
  0  every trace is stored as it was sent; without --wait: every trace was taken by the relay
  1  failed for another reason
  2  wrong usage or configuration
  3  a trace was refused by the relay, or the relay cannot be reached
  4  a trace was not in MLflow in time
  5  a trace is in MLflow and differs from what was sent
  6  no permission to read a trace back
With several traces, the lowest that holds for any of them, and is not 0.`;

/** Of a trace that differs, unless it is for scripts. */
const MOST_DIFFERENCES = 10;

export function exitCodeOf(results: readonly InjectedTrace[]): number {
  const codes = results.map(({ outcome }) => EXIT_CODES[outcome]).filter((code) => code !== 0);
  return codes.length === 0 ? 0 : Math.min(...codes);
}

/** One object in one line. */
export function traceToJson(result: InjectedTrace): string {
  const { traceId, outcome, spans, reason, link, alreadyStored, storedAfterMs, trace, differences } = result;
  return safeJson({
    trace_id: traceId,
    outcome,
    spans,
    ...(reason !== undefined && { reason }),
    ...(link !== undefined && { link }),
    ...(alreadyStored && { already_stored: true }),
    ...(storedAfterMs !== undefined && { stored_after_seconds: Math.round(storedAfterMs) / 1_000 }),
    ...(trace !== undefined && { experiment_id: trace.experimentId, state: trace.state }),
    ...(differences.length > 0 && {
      differences: differences.map(({ spanId, span, what, sent, stored }) => ({
        span_id: spanId,
        span,
        what,
        sent,
        stored,
      })),
    }),
  });
}

/** A line, and for what differs some more. */
export function traceToText(result: InjectedTrace): string {
  const { traceId, outcome, spans, reason, link, alreadyStored, storedAfterMs, differences } = result;
  const after = storedAfterMs === undefined ? [] : [`after ${(storedAfterMs / 1_000).toFixed(2)} s`];
  const line = [
    traceId,
    WORDS[outcome] + (alreadyStored ? ', as it was before it was sent' : ''),
    `${spans} span${spans === 1 ? '' : 's'}`,
    ...after,
    ...(link === undefined ? [] : [link]),
  ].join('  ');
  const more = [
    ...(reason === undefined ? [] : [quote(reason)]),
    ...differences.slice(0, MOST_DIFFERENCES).map(differenceWords),
    ...(differences.length > MOST_DIFFERENCES
      ? [`and ${differences.length - MOST_DIFFERENCES} more differences`]
      : []),
  ];
  return [line, ...more.map((words) => `  ${words}`)].join('\n');
}

/** How many of each outcome, and how long it took; for several traces. */
export function summaryOf(results: readonly InjectedTrace[]): string {
  const counts = Object.keys(WORDS).flatMap((outcome) => {
    const count = results.filter((result) => result.outcome === outcome).length;
    return count === 0 ? [] : [`${count} ${WORDS[outcome as Outcome]}`];
  });
  const times = results.flatMap(({ storedAfterMs }) => storedAfterMs ?? []).toSorted((a, b) => a - b);
  const [first, last] = [times[0], times.at(-1)].map((ms) => ((ms ?? 0) / 1_000).toFixed(2));
  return `${results.length} traces: ${counts.join(', ')}${times.length === 0 ? '' : `, after ${first} to ${last} s`}`;
}

/** Of traces that were there before; undefined where there are none. */
export function warningOf(results: readonly InjectedTrace[]): string | undefined {
  const count = results.filter(({ alreadyStored }) => alreadyStored).length;
  if (count === 0) return undefined;
  const was =
    count === 1 ? 'trace was in MLflow before it was sent' : 'traces were in MLflow before they were sent';
  return `${count} ${was}: this shows nothing of the relay; without --file a new one is sent`;
}

const WORDS: Readonly<Record<Outcome, string>> = {
  stored: 'stored and equal',
  sent: 'taken by the relay',
  refused: 'not taken by the relay',
  'not stored': 'not stored in time',
  differs: 'stored, but different',
  'not readable': 'cannot be read back',
};

function differenceWords({ spanId, span, what, sent, stored }: Difference): string {
  const where = spanId === '' ? '' : `span ${spanId} "${quote(span)}": `;
  return `${where}${quote(what)}: sent ${quote(sent)}, stored ${quote(stored)}`;
}
