import { expect } from 'vitest';
import type { StoredSpan } from '../../stack/mlflow-client.ts';
import { waitFor } from '../../stack/processes.ts';
import { runCommand } from './command.ts';
import { startBrokenServer } from './broken-server.ts';
import { startGate } from './gate.ts';
import { accountOf, DEADLINE_MS, expectBalanced, startTestRelay, temporaryFolder } from './relay.ts';
import { waitForDestination, waitUntilDelivered, withRepair } from './relay.ts';
import type { TestRelay } from './relay.ts';
import type { Stack } from './stack.ts';
import { makeTrace, requestOf } from './traces.ts';
import type { TestTrace } from './traces.ts';

/* Spans that are sent more than once, and what MLflow makes of them: its totals count each copy's children again. */

const TOKENS = { input_tokens: 4, output_tokens: 6, total_tokens: 10 };

/** A chain whose leaf has used ten tokens. */
function chain(depth: number): TestTrace {
  const trace = makeTrace(depth);
  const [leaf, ...others] = trace.spans;
  const attributes = { 'mlflow.chat.tokenUsage': JSON.stringify(TOKENS) };
  return { ...trace, spans: [{ ...leaf!, attributes }, ...others] };
}

function times<T>(count: number, values: readonly T[]): T[] {
  return Array.from({ length: count }, () => values).flat();
}

/** Of a trace in MLflow: how many spans it has, and its tokens. */
async function totalsOf(stack: Stack, { traceId }: TestTrace) {
  const stored = await stack.mlflow.getTrace(traceId);
  const tokens = JSON.parse(stored?.metadata['mlflow.trace.tokenUsage'] ?? '{}') as { total_tokens?: number };
  return { state: stored?.state, spans: stored?.spans.length, tokens: tokens.total_tokens };
}

/**
 * The same spans come many times while MLflow is away, and once more when they are stored.
 * @returns the answers to the requests that MLflow got in the first place, and what it has then and in the end
 */
export async function tryEqualCopies(stack: Stack, depth: number, copies: number) {
  const directory = await temporaryFolder();
  const trace = chain(depth);
  const experiment = { id: await stack.mlflow.ensureExperiment(stack.experimentName()) };
  const away = await startTestRelay(
    { ...stack, mlflowUrl: await startBrokenServer() },
    { directory, experiment },
  );
  const half = requestOf(times(copies / 2, trace.spans));
  await away.sender.send(half);
  await away.sender.send(half);
  await waitForDestination(away, 'retrying', ({ state }) => state === 'retrying');
  await away.stop();

  const gate = await startGate(stack.mlflowUrl);
  const relay = await startTestRelay({ ...stack, mlflowUrl: gate.url }, { directory, experiment });
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  const superseded = (copies - 1) * depth;
  expect(account).toMatchObject({ recovered: copies * depth, delivered: depth, superseded });
  expectBalanced(account);
  const statuses = [...gate.statuses];
  const first = await totalsOf(stack, trace);
  await relay.sender.send(requestOf(trace.spans));
  await waitUntilDelivered(relay);
  return { statuses, first, last: await totalsOf(stack, trace) };
}

/** A copy that says that its span goes on, or how it went on. */
type Sent = 'open' | 'ended';

/**
 * Copies of a root come one after the other: the first goes to MLflow and is not answered until all have come; or none
 * goes before that. Beside the root is a span that MLflow refuses, if it is to take the request apart.
 * @returns what MLflow shows of the root
 */
export async function tryDifferentCopies(
  stack: Stack,
  sent: readonly Sent[],
  how: { readonly isFirstOut: boolean; readonly isTakenApart: boolean },
) {
  const trace = makeTrace(2);
  const [child, root] = trace.spans as [StoredSpan, StoredSpan];
  const copies = sent.map((name) => ({ ...root, name, ...(name === 'open' && { end: 0n }) }));
  const bad = { ...child, attributes: { 'session.id': 'x'.repeat(300) } };
  const request = (copy: StoredSpan) => requestOf([how.isTakenApart ? bad : child, copy]);
  const experiment = { id: await stack.mlflow.ensureExperiment(stack.experimentName()) };
  const gate = await startGate(stack.mlflowUrl);
  gate.close();
  const relay = await startTestRelay({ ...stack, mlflowUrl: gate.url }, { experiment });
  const [first, ...others] = copies;
  if (how.isFirstOut) {
    await relay.sender.send(request(first!));
    await waitFor('no request came', DEADLINE_MS, async () => (gate.waiting() > 0 ? true : undefined));
    for (const copy of others) await relay.sender.send(request(copy));
  } else {
    await relay.sender.send(requestOf(copies.flatMap((copy) => [how.isTakenApart ? bad : child, copy])));
  }
  gate.open();
  await settled(relay);
  const stored = await stack.mlflow.getTrace(trace.traceId);
  const shown = stored?.spans.find(({ spanId }) => spanId === root.spanId);
  return { state: stored?.state, spans: stored?.spans.length, name: shown?.name, end: shown?.end };
}

/**
 * A span is refused and becomes a dead letter; then it is replayed, and sent again besides.
 * @returns what MLflow has of its trace
 */
export async function tryReplayedCopies(stack: Stack) {
  const trace = chain(8);
  const [leaf, ...others] = trace.spans;
  const bad = { ...leaf!, attributes: { ...leaf!.attributes, 'session.id': 'x'.repeat(300) } };
  const request = requestOf([bad, ...others]);
  const experiment = { id: await stack.mlflow.ensureExperiment(stack.experimentName()) };
  const gate = await startGate(stack.mlflowUrl);
  const relay = await startTestRelay({ ...stack, mlflowUrl: gate.url }, { experiment });
  await withRepair(relay, false);
  await relay.sender.send(request);
  await settled(relay);
  await withRepair(relay, true);
  gate.close();
  const args = ['dead-letters', 'replay', '--config', relay.configFile, '--reason', 'session id'];
  expect(await runCommand(...args)).toMatchObject({ code: 0 });
  await relay.sender.send(request);
  await relay.sender.send(request);
  gate.open();
  await settled(relay);
  return totalsOf(stack, trace);
}

async function settled(relay: TestRelay): Promise<void> {
  await waitUntilDelivered(relay);
  expectBalanced(await accountOf(relay));
}
