import type { DevelopmentCertificates } from '../../stack/certificates.ts';
import { startRelayProcess } from '../../stack/relay-process.ts';
import { startBenchCollector } from '../collector.ts';
import { cpuOf } from '../cpu.ts';
import type { Limits } from './report.ts';

/** A program that takes traces over mutual TLS, keeps them on disk, and takes them to MLflow with tokens of its own. */
export type Forwarder = {
  readonly url: string;
  /** CPU time so far, in seconds. */
  cpu(): number;
  /** Of all that it has accepted nothing is under way any more: it was taken by MLflow, or given up. */
  isDone(acceptedSpans: number): Promise<boolean>;
  stop(): Promise<unknown>;
};

export type Relay = Forwarder & {
  /** What it has found out that MLflow can take. */
  limits(): Promise<Limits>;
};

export type Surroundings = {
  /** Of this forwarder alone. */
  directory: string;
  certificates: DevelopmentCertificates;
  mlflowUrl: string;
  experimentId: string;
  issuer: string;
  client: { clientId: string; secret: string };
  signal: AbortSignal;
};

/** With the defaults of its configuration. */
export async function startRelay(around: Surroundings): Promise<Relay> {
  const { experimentId, ...rest } = around;
  const relay = await startRelayProcess({ ...rest, experiment: { id: experimentId } });
  return {
    url: relay.url,
    cpu: () => cpuOf(relay),
    stop: relay.stop,
    async isDone() {
      return (await relay.metrics()).get(metric('waiting_spans')) === 0;
    },
    async limits() {
      const metrics = await relay.metrics();
      const value = (name: string) => metrics.get(metric(name)) ?? Number.NaN;
      return {
        inFlight: value('upstream_in_flight_limit'),
        batchSpans: value('upstream_batch_spans_limit'),
      };
    },
  };
}

function metric(name: string): string {
  return `mlflow_trace_relay_${name}{destination="mlflow"}`;
}

/** It may lose nothing in a crash, as the relay. */
export async function startDurableCollector(binary: string, around: Surroundings): Promise<Forwarder> {
  const { mlflowUrl, issuer, ...rest } = around;
  const collector = await startBenchCollector({
    ...rest,
    kind: 'durable',
    binary,
    upstreamUrl: mlflowUrl,
    tokenUrl: `${issuer}/token`,
  });
  return {
    url: collector.url,
    cpu: () => cpuOf(collector),
    // At once: what it may still hold is measured as not stored.
    stop: () => collector.stop('SIGKILL'),
    async isDone(acceptedSpans) {
      const counts = await Promise.all(ENDS.map((name) => collector.metric(name)));
      return counts.reduce((sum, count) => sum + count, 0) >= acceptedSpans;
    },
  };
}

/** What can become of a span in the exporter. */
const ENDS = ['sent', 'send_failed', 'enqueue_failed'].map((end) => `otelcol_exporter_${end}_spans_total`);
