import { join } from 'node:path';
import type { DevelopmentCertificates } from '../stack/certificates.ts';
import { startCollector } from '../stack/collector.ts';
import type { Collector } from '../stack/collector.ts';
import { freePort } from '../stack/processes.ts';

/**
 * `durable`: what was answered 200 is on disk, by a stored sending queue with fsync, and the exporter makes its batches
 * from there. `memory`: the batch processor, and a queue that a crash takes away.
 */
export type CollectorKind = 'durable' | 'memory';

export type BenchCollectorOptions = {
  kind: CollectorKind;
  binary: string;
  directory: string;
  certificates: DevelopmentCertificates;
  /** MLflow, or what stands in its place. */
  upstreamUrl: string;
  experimentId: string;
  tokenUrl: string;
  client: { clientId: string; secret: string };
  signal: AbortSignal;
};

/** A Collector between senders over mutual TLS and MLflow, batches as by default: 8,192 spans, or what came in 200 ms. */
export async function startBenchCollector(
  options: BenchCollectorOptions,
): Promise<Collector & { readonly url: string }> {
  const { kind, binary, directory, certificates, upstreamUrl, experimentId, tokenUrl, client, signal } =
    options;
  const port = await freePort();
  const isDurable = kind === 'durable';
  const oauth2client = { client_id: client.clientId, client_secret: client.secret, token_url: tokenUrl };
  const storage = { directory: join(directory, 'storage'), create_directory: true, fsync: true };
  const batch = { flush_timeout: '200ms', min_size: 8192 };
  const collector = await startCollector({
    binary,
    directory,
    config: {
      extensions: { oauth2client, ...(isDurable && { file_storage: storage }) },
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
      processors: isDurable ? {} : { batch: {} },
      exporters: {
        otlp_http: {
          endpoint: upstreamUrl,
          auth: { authenticator: 'oauth2client' },
          headers: { 'x-mlflow-experiment-id': experimentId },
          compression: 'gzip',
          // As the relay has it; a higher one costs more.
          compression_params: { level: 1 },
          sending_queue: {
            // In spans, and larger than what is ever sent: how a full queue behaves is another question.
            sizer: 'items',
            queue_size: 10_000_000,
            ...(isDurable && { storage: 'file_storage', batch }),
          },
        },
      },
      service: {
        extensions: ['oauth2client', ...(isDurable ? ['file_storage'] : [])],
        pipelines: {
          traces: { receivers: ['otlp'], processors: isDurable ? [] : ['batch'], exporters: ['otlp_http'] },
        },
      },
    },
    signal,
  });
  return { ...collector, url: `https://127.0.0.1:${port}` };
}
