import { join } from 'node:path';
import { startCollector } from '../stack/collector.ts';
import type { DevelopmentCertificates } from '../stack/certificates.ts';
import { freePort } from '../stack/processes.ts';
import { startRelayProcess } from '../stack/relay-process.ts';

/** A program that takes traces over mutual TLS and takes them to the sink with a token that it fetches itself. */
export type Forwarder = {
  readonly url: string;
  pid(): number | undefined;
  stop(): Promise<unknown>;
};

export type ForwarderKind = 'relay' | 'collector, durable' | 'collector, memory';

export type Surroundings = {
  directory: string;
  certificates: DevelopmentCertificates;
  sinkUrl: string;
  collectorBinary: string;
  signal: AbortSignal;
};

const CLIENT = { clientId: 'bench', secret: 'bench-secret' };

export function startForwarder(kind: ForwarderKind, around: Surroundings): Promise<Forwarder> {
  return kind === 'relay' ? startRelay(around) : startTheCollector(kind, around);
}

async function startRelay({ directory, certificates, sinkUrl, signal }: Surroundings): Promise<Forwarder> {
  return startRelayProcess({
    directory,
    certificates,
    mlflowUrl: sinkUrl,
    issuer: sinkUrl,
    experiment: { id: '1' },
    client: CLIENT,
    signal,
  });
}

async function startTheCollector(
  kind: Exclude<ForwarderKind, 'relay'>,
  around: Surroundings,
): Promise<Forwarder> {
  const { directory, certificates, sinkUrl, collectorBinary } = around;
  const port = await freePort();
  const isDurable = kind === 'collector, durable';
  const storage = {
    file_storage: { directory: join(directory, 'storage'), create_directory: true, fsync: true },
  };
  const collector = await startCollector({
    binary: collectorBinary,
    directory,
    config: {
      extensions: {
        oauth2client: {
          client_id: CLIENT.clientId,
          client_secret: CLIENT.secret,
          token_url: `${sinkUrl}/token`,
        },
        ...(isDurable && storage),
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
      // With it, what is in it is lost in a crash, so the durable set-up is without.
      processors: isDurable ? {} : { batch: {} },
      exporters: {
        otlp_http: {
          endpoint: sinkUrl,
          compression: 'gzip',
          auth: { authenticator: 'oauth2client' },
          headers: { 'x-mlflow-experiment-id': '1' },
          sending_queue: {
            // Larger than what is ever sent: a full queue would be another measurement.
            queue_size: 1_000_000,
            ...(isDurable && { storage: 'file_storage' }),
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
    signal: around.signal,
  });
  return { ...collector, url: `https://127.0.0.1:${port}` };
}
