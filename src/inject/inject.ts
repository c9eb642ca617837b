import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { pino } from 'pino';
import type { Config } from '../config/schema.ts';
import { tlsFilesOf } from '../config/tls-files.ts';
import { createTokens } from '../destination-tokens.ts';
import type { ExperimentChoice } from '../destinations/experiment-words.ts';
import { createHttpClient } from '../destinations/http-client.ts';
import { withTrailingSlash } from '../destinations/mlflow.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { agentTrace } from './agent-trace.ts';
import { createStoredWaiter } from './await-stored.ts';
import type { Pending, StoredOutcome } from './await-stored.ts';
import type { Difference } from './compare.ts';
import type { InjectedTrace } from './injected-trace.ts';
import { createMlflowReader } from './mlflow-reader.ts';
import type { MlflowReader } from './mlflow-reader.ts';
import type { RelayEndpoint } from './relay-endpoint.ts';
import { createSender } from './sender.ts';
import { sentTraces } from './sent-spans.ts';

/** What is sent: agent traces that are made up, or requests (ExportTraceServiceRequest, protobuf) as they are. */
export type Load =
  | {
      readonly kind: 'agent';
      readonly count: number;
      readonly service: string;
      readonly attributes: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'requests'; readonly requests: readonly Uint8Array[] };

export type Injection = {
  readonly endpoint: RelayEndpoint;
  readonly destination: { readonly name: string; readonly config: Config['destinations'][string] };
  readonly load: Load;
  /** Requests a second, each with one trace where they are made up; undefined: as fast as the relay answers. */
  readonly rate: number | undefined;
  /** Milliseconds for each trace, from the begin of its last request; undefined: it is not read back. */
  readonly waitMs: number | undefined;
  /** In place of that of the destination. */
  readonly experiment: ExperimentChoice | undefined;
  /** After each request, taken or not. */
  readonly onSent?: (() => void) | undefined;
  /** As soon as each is known, with how many there are in all. */
  readonly onResult?: ((result: InjectedTrace, total: number) => void) | undefined;
};

/** Requests that have to be sent before their traces are looked for. */
type Batch = () => readonly Uint8Array[];

/** Of a trace that MLflow gives back: far above what its pages can show. */
const LARGEST_TRACE = 64 * 1024 * 1024;

/**
 * Sends traces to the relay, one request after the other, and reads them back while it sends. In the order of sending.
 * @throws RelayError CERTIFICATE_INVALID
 */
export async function inject(injection: Injection): Promise<InjectedTrace[]> {
  const { endpoint, destination, load, rate, waitMs, onSent, onResult } = injection;
  const { name, config } = destination;
  const log = pino({ level: 'silent' });
  const closing = new AbortController();
  const closers: (() => Promise<void>)[] = [];
  try {
    const http = createHttpClient(
      { name, tls: tlsFilesOf(config.tls), timeoutMs: config.timeout, maxResponseSize: LARGEST_TRACE },
      log,
    );
    closers.push(() => http.close());
    const sender = createSender(endpoint, log, closing.signal);
    closers.push(() => sender.close());
    const tokens = createTokens(name, config, { log, metrics: createMetrics() });
    if (tokens !== undefined) closers.push(() => tokens.close());
    const experiment = injection.experiment ?? config.experiment;
    const reader = createMlflowReader(
      { url: new URL(config.url), experiment, workspace: config.workspace },
      { http, tokens },
      closing.signal,
    );
    const { awaitStored, lookNow } = createStoredWaiter(reader);
    const linkTo = createLinks(config.url, reader, experiment);
    const pace = createPace(rate);

    /** Resolves when all are sent, to a promise for each trace in them. */
    const send = async (payloads: readonly Uint8Array[]): Promise<Promise<InjectedTrace>[]> => {
      const traces = sentTraces(payloads);
      // What is made up has ids that nobody had before.
      const isNew = load.kind === 'agent';
      const before = isNew || waitMs === undefined ? new Map<string, never>() : await lookNow(traces);
      const sentAt = performance.now();
      let deadline = sentAt;
      const refusals = new Map<string, string>();
      for (const payload of payloads) {
        await pace();
        deadline = performance.now() + (waitMs ?? 0);
        const result = await sender.send(payload, deadline);
        onSent?.();
        if (result.kind === 'taken') continue;
        for (const traceId of sentTraces([payload]).keys()) refusals.set(traceId, result.reason);
      }
      return [...traces].map(([traceId, spans]) =>
        follow({ traceId, spans, sentAt, deadline, isNew }, refusals.get(traceId), before.get(traceId)),
      );
    };

    const follow = async (
      sent: Pending,
      refusal: string | undefined,
      before: readonly Difference[] | undefined,
    ): Promise<InjectedTrace> => {
      const known: Known = { traceId: sent.traceId, spans: sent.spans.length, differences: [] };
      if (refusal !== undefined) return { ...known, outcome: 'refused', reason: refusal };
      if (waitMs === undefined) return { ...known, outcome: 'sent', ...linkTo(sent.traceId) };
      const outcome = await awaitStored(sent);
      const isThere = outcome.kind !== 'not stored' || outcome.isPartly;
      return { ...known, ...ofOutcome(outcome, before), ...(isThere && linkTo(sent.traceId)) };
    };

    const results: Promise<InjectedTrace>[] = [];
    for (const batch of batchesOf(load)) {
      for (const result of await send(batch())) {
        results.push(
          result.then((known) => {
            onResult?.(known, load.kind === 'agent' ? load.count : results.length);
            return known;
          }),
        );
      }
    }
    return await Promise.all(results);
  } finally {
    closing.abort();
    await Promise.all(closers.map((close) => close()));
  }
}

type Known = Pick<InjectedTrace, 'traceId' | 'spans' | 'differences'>;

function* batchesOf(load: Load): Generator<Batch> {
  if (load.kind === 'requests') yield () => load.requests;
  else {
    for (let index = 0; index < load.count; index++) {
      // At the moment of sending, so that it has ended just now.
      yield () => [agentTrace(load.service, load.attributes, Date.now()).payload];
    }
  }
}

/** @param before what MLflow showed otherwise before it was sent; undefined: it did not have it */
function ofOutcome(
  found: StoredOutcome,
  before: readonly Difference[] | undefined,
): Omit<InjectedTrace, keyof Known> & Partial<Known> {
  if ('reason' in found) {
    return { outcome: found.kind, reason: found.reason };
  }
  const { kind: outcome, afterMs: storedAfterMs, trace } = found;
  const differences = found.kind === 'differs' ? found.differences : [];
  return {
    outcome,
    ...(isDeepStrictEqual(differences, before) ? { alreadyStored: true } : { storedAfterMs }),
    trace,
    differences,
  };
}

/** Resolves when the next request may go. */
function createPace(rate: number | undefined): () => Promise<void> {
  const start = performance.now();
  let count = 0;
  return async () => {
    if (rate === undefined) return;
    const wait = start + (count++ * 1_000) / rate - performance.now();
    if (wait > 0) await pause(wait);
  };
}

function createLinks(
  url: string,
  reader: MlflowReader,
  experiment: ExperimentChoice,
): (traceId: string) => { link?: string } {
  return (traceId) => {
    const id = reader.experimentId() ?? ('id' in experiment ? experiment.id : undefined);
    const page = withTrailingSlash(new URL(url));
    page.hash = `/experiments/${id}/traces?selectedEvaluationId=tr-${traceId}`;
    return id === undefined ? {} : { link: page.href };
  };
}
