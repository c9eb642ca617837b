import type { DevelopmentCertificates } from '../../stack/certificates.ts';
import { startRelayProcess } from '../../stack/relay-process.ts';
import type { Service } from '../../stack/service.ts';
import { startBenchCollector } from '../collector.ts';

/** A program that takes traces over mutual TLS and takes them to the sink with a token that it fetches itself. */
export type Forwarder = Service & { readonly url: string };

export const FORWARDERS = ['relay', 'collector-durable', 'collector-memory'] as const;
export type ForwarderKind = (typeof FORWARDERS)[number];

export type Surroundings = {
  directory: string;
  certificates: DevelopmentCertificates;
  sinkUrl: string;
  collectorBinary: string;
  signal: AbortSignal;
};

const CLIENT = { clientId: 'bench', secret: 'bench-secret' };

export function startForwarder(kind: ForwarderKind, around: Surroundings): Promise<Forwarder> {
  const { directory, certificates, sinkUrl, collectorBinary, signal } = around;
  if (kind === 'relay') {
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
  return startBenchCollector({
    kind: kind === 'collector-durable' ? 'durable' : 'memory',
    binary: collectorBinary,
    directory,
    certificates,
    upstreamUrl: sinkUrl,
    experimentId: '1',
    tokenUrl: `${sinkUrl}/token`,
    client: CLIENT,
    signal,
  });
}
