import { join } from 'node:path';
import type { DevelopmentCertificates } from '../../stack/certificates.ts';
import { startCollector } from '../../stack/collector.ts';
import { freePort } from '../../stack/processes.ts';
import { startRelayProcess } from '../../stack/relay-process.ts';
import { cpuOf } from './cpu.ts';

/** A program that takes traces over mutual TLS, keeps them on disk, and takes them to MLflow with tokens of its own. */
export type Forwarder = {
  readonly url: string;
  /** CPU time so far, in seconds. */
  cpu(): number;
  /** Of all that it has accepted nothing is under way any more: it was taken by MLflow, or given up. */
  isDone(acceptedSpans: number): Promise<boolean>;
  stop(): Promise<unknown>;
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
export async function startRelay(around: Surroundings): Promise<Forwarder> {
  const { experimentId, ...rest } = around;
  const relay = await startRelayProcess({ ...rest, experiment: { id: experimentId } });
  return {
    url: relay.url,
    cpu: () => cpuOf(relay),
    stop: relay.stop,
    async isDone() {
      return (await relay.metrics()).get(WAITING) === 0;
    },
  };
}

const WAITING = 'mlflow_trace_relay_waiting_spans{destination="mlflow"}';

/**
 * As it is usually set up where traces are to outlive a restart: batches by the batch processor, a sending queue on
 * disk, everything else by default.
 */
export async function startDurableCollector(binary: string, around: Surroundings): Promise<Forwarder> {
  const { directory, certificates, mlflowUrl, experimentId, issuer, client, signal } = around;
  const port = await freePort();
  const collector = await startCollector({
    binary,
    directory,
    config: {
      extensions: {
        oauth2client: {
          client_id: client.clientId,
          client_secret: client.secret,
          token_url: `${issuer}/token`,
        },
        file_storage: { directory: join(directory, 'storage'), create_directory: true },
      },
      receivers: {
        otlp: {
          protocols: {
            http: {
              endpoint: `127.0.0.1:${port}`,
              tls: {
                cert_file: certificates.certFile,
                key_file: certificates.keyFile,
                client_ca_file: certificates.caFile,
              },
            },
          },
        },
      },
      processors: { batch: {} },
      exporters: {
        otlp_http: {
          endpoint: mlflowUrl,
          auth: { authenticator: 'oauth2client' },
          headers: { 'x-mlflow-experiment-id': experimentId },
          sending_queue: { storage: 'file_storage' },
        },
      },
      service: {
        extensions: ['oauth2client', 'file_storage'],
        pipelines: { traces: { receivers: ['otlp'], processors: ['batch'], exporters: ['otlp_http'] } },
      },
    },
    signal,
  });
  return {
    url: `https://127.0.0.1:${port}`,
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
