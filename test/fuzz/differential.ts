import type { GoogleFacts } from './google.ts';
import type { Finding, Inspected } from './inspect.ts';

/**
 * Where the relay refuses what Google's runtime takes, on purpose. There is nothing that the relay takes and Google's
 * runtime refuses: MLflow could not read it.
 */
export const DISAGREEMENTS = [
  {
    name: 'a number of more than 64 bits',
    refusal: /: a number of more than 64 bits,/,
    reason: 'Google drops the bits that are too many, Go refuses the request',
  },
  {
    name: 'field number 0 in a group',
    refusal: /: field number 0,/,
    reason: 'Google skips it, pure Python and protobufjs refuse it; outside of groups all refuse it',
  },
  {
    name: 'groups one deeper',
    refusal: /: nesting deeper than \d+,/,
    reason: 'pure Python counts the message around the groups as well',
  },
] as const;

export type DisagreementName = (typeof DISAGREEMENTS)[number]['name'];

/** What two parsers make of one body: a finding, a disagreement that is known, or undefined where they agree. */
export function compare(inspected: Inspected, google: GoogleFacts): Finding | DisagreementName | undefined {
  if (!inspected.accepted) {
    if (!google.accepted) return undefined;
    const known = DISAGREEMENTS.find(({ refusal }) => refusal.test(inspected.refusal));
    return known?.name ?? { kind: 'only Google takes it', detail: inspected.refusal };
  }
  if (!google.accepted) return { kind: 'only the relay takes it', detail: `${inspected.spanCount} spans` };
  const { details } = google;
  if (details === undefined) return undefined;
  const { spans, cuts, json } = details;
  if (spans.length !== inspected.spanCount) {
    return { kind: 'span count', detail: `${inspected.spanCount}, and ${spans.length} by Google` };
  }
  const invalid = spans.filter(({ isValid }) => !isValid).length;
  if (invalid !== inspected.invalidSpans) {
    return { kind: 'invalid spans', detail: `${inspected.invalidSpans}, and ${invalid} by Google` };
  }
  for (const [index, { traceId, isRoot }] of spans.entries()) {
    const own = inspected.spans[index]!;
    if (own.traceId !== traceId) {
      return { kind: 'trace id', detail: `of span ${index}: ${own.traceId}, and ${traceId} by Google` };
    }
    if (own.isRoot !== isRoot)
      return { kind: 'root', detail: `span ${index}: ${own.isRoot}, and ${isRoot} by Google` };
  }
  const badCut = cuts.findIndex((cut) => cut !== 'equal');
  if (badCut !== -1) return { kind: `cut: ${cuts[badCut]}`, detail: `cut ${badCut} of ${cuts.length}` };
  return json === 'equal' ? undefined : { kind: `JSON: ${json}`, detail: 'there and back' };
}
