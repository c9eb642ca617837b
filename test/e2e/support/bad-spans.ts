import { join } from 'node:path';
import { writeKeyPair } from '../../stack/certificates.ts';
import type { StoredSpan } from '../../stack/mlflow-client.ts';
import { temporaryFolder } from './relay.ts';
import type { TestRelay } from './relay.ts';
import { createSender } from './sender.ts';
import type { Stack } from './stack.ts';
import { makeTrace, requestOf } from './traces.ts';
import type { TestTrace } from './traces.ts';

/* Senders with good spans, and one bad one among those of each. */

/** Of each sender. */
const TRACES = 8;
const SPANS = 8;

export type Kind = {
  readonly bad: Partial<StoredSpan>;
  /** What can be delivered in its place, and what was done to it then. */
  readonly mended?: Partial<StoredSpan>;
  readonly repaired?: string;
  /** Of MLflow's answer. */
  readonly status: number;
  readonly reason: string;
};

const LONG = 'x'.repeat(300);
const CUT = 'x'.repeat(250);
const END = 1_700_000_001_000_000_000n;
const TOO_LONG = "'Session ID' exceeds the maximum length of 250 characters";
const ANYTHING = 'Failed to log OpenTelemetry spans';

/** What MLflow refuses of what the receiver takes. */
const KINDS: Record<string, Kind> = {
  'a start that is none': {
    bad: { start: 2n ** 64n - 1n, end: END },
    mended: { start: END, end: END },
    repaired: 'start time: 18446744073709551615 ns replaced by the end time, as MLflow stores less than 2^63',
    status: 500,
    reason: 'too large to convert',
  },
  'a long session id': {
    bad: { attributes: { 'session.id': LONG } },
    mended: { attributes: { 'session.id': CUT } },
    repaired: 'session.id: cut from 300 to 250 characters',
    status: 400,
    reason: TOO_LONG,
  },
  'a long conversation id': {
    bad: { attributes: { 'gen_ai.conversation.id': LONG } },
    mended: { attributes: { 'gen_ai.conversation.id': CUT } },
    repaired: 'gen_ai.conversation.id: cut from 300 to 250 characters',
    status: 400,
    reason: TOO_LONG,
  },
  'costs that are none': {
    bad: { attributes: { 'mlflow.llm.cost': '[1,2]' } },
    mended: { attributes: {} },
    repaired: 'mlflow.llm.cost: left out, as it is not an object',
    status: 422,
    reason: ANYTHING,
  },
  'tokens that are none': {
    bad: { attributes: { 'mlflow.chat.tokenUsage': '{"input_tokens":null}' } },
    mended: { attributes: {} },
    repaired: 'mlflow.chat.tokenUsage: left out, as its input_tokens is not a number',
    status: 422,
    reason: ANYTHING,
  },
  'a type that is a map': {
    bad: { attributes: { 'mlflow.spanType': { a: 1 } } },
    mended: { attributes: {} },
    repaired: 'mlflow.spanType: left out, as it is a map and no text',
    status: 400,
    reason: 'Error binding parameter',
  },
  'half a character': {
    bad: { attributes: { 'session.id': String.raw`"\ud800"` } },
    mended: { attributes: { 'session.id': '\ufffd' } },
    repaired: 'U+FFFD in place of half of a surrogate pair: attributes',
    status: 500,
    reason: 'surrogates not allowed',
  },
  'JSON that is too deep for Python': {
    bad: { attributes: { text: `${'['.repeat(100_000)}${']'.repeat(100_000)}` } },
    status: 422,
    reason: 'Cannot convert OpenTelemetry span',
  },
};

export type Plan = {
  readonly name: string;
  readonly kind: Kind;
  readonly identity: string;
  readonly good: readonly TestTrace[];
  /** The bad one, in the first of the good traces. */
  readonly bad: StoredSpan;
};

/** A sender for each kind. */
export function makePlans(): Plan[] {
  return Object.entries(KINDS).map(([name, kind], index) => {
    const good = Array.from({ length: TRACES }, () => makeTrace(SPANS));
    const root = good[0]!.spans.at(-1)!;
    const [lone] = makeTrace(1, kind.bad).spans;
    return {
      name,
      kind,
      identity: `spiffe://e2e.example/ns/test/sa/sender-${index}`,
      good,
      bad: { ...lone!, traceId: root.traceId, parentSpanId: root.spanId },
    };
  });
}

/** Each with a certificate of its own, all at once. */
export async function sendPlans(stack: Stack, relay: TestRelay, plans: readonly Plan[]): Promise<void> {
  const directory = await temporaryFolder();
  await Promise.all(
    plans.map(async ({ identity, good, bad }, index) => {
      const certFile = join(directory, `${index}.crt`);
      const keyFile = join(directory, `${index}.key`);
      const { ca, caFile } = stack.certificates;
      await writeKeyPair(
        certFile,
        keyFile,
        await ca.issue({ commonName: identity, uris: [identity], usage: 'client' }),
      );
      const sender = await createSender(relay.url, { caFile, certFile, keyFile });
      await sender.send(requestOf([bad, ...good.flatMap(({ spans }) => spans)]));
      await sender.close();
    }),
  );
}

/** The traces as they are stored: with the bad span as far as it could be mended. */
export function storedOf(plans: readonly Plan[], isRepairing: boolean): TestTrace[] {
  return plans.flatMap(({ kind: { mended, repaired }, good, bad }) => {
    if (!isRepairing || mended === undefined) return good;
    const [first, ...others] = good as [TestTrace, ...TestTrace[]];
    const attributes = { ...(mended.attributes ?? bad.attributes), 'relay.repaired': repaired! };
    return [{ ...first, spans: [...first.spans, { ...bad, ...mended, attributes }] }, ...others];
  });
}
