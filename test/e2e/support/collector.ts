import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { ensureCollector, startCollector } from '../../stack/collector.ts';
import type { Collector, CollectorConfig } from '../../stack/collector.ts';
import { freePort, waitFor } from '../../stack/processes.ts';
import { DEADLINE_MS, clientFiles, temporaryFolder } from './relay.ts';
import type { Stack } from './stack.ts';
import { toProtobuf } from './traces.ts';
import type { OtlpRequest } from './traces.ts';

/* The OpenTelemetry Collector, set up as the README shows it. */

const README = resolve(import.meta.dirname, '../../../README.md');

type Exporter = Record<string, unknown>;
/** The parts of a configuration that stand in the README. */
export type Snippet = Pick<CollectorConfig, 'extensions'> & {
  exporters: { otlp_http: Exporter };
  service?: { extensions: readonly string[] };
};

/** The README's Collector that sends to the relay, with this relay and the client certificate of the stack. */
export function toRelay(relayUrl: string, stack: Stack): Snippet {
  const { caFile, certFile, keyFile } = clientFiles(stack);
  return readmeSnippet('https://mlflow-trace-relay:4318', {
    'https://mlflow-trace-relay:4318': relayUrl,
    '/etc/otel/relay-ca.crt': caFile,
    '/etc/otel/client.crt': certFile,
    '/etc/otel/client.key': keyFile,
  });
}

/** The README's Collector that sends to MLflow itself, with the account of the stack. */
export function toMlflow(
  stack: Stack,
  {
    mlflowUrl = stack.mlflowUrl,
    experimentId,
    secretFile,
  }: {
    mlflowUrl?: string;
    experimentId: string;
    secretFile: string;
  },
): Snippet {
  return readmeSnippet('oauth2client', {
    'https://mlflow.example.com': mlflowUrl,
    'https://keycloak.example.com/realms/mlflow/protocol/openid-connect/token': `${stack.issuer}/token`,
    '/run/secrets/otel-collector': secretFile,
    'client_id: otel-collector': `client_id: ${stack.client.clientId}`,
    "x-mlflow-experiment-id: '1'": `x-mlflow-experiment-id: '${experimentId}'`,
  });
}

/** The one YAML block with these words. Each of the places in it is there once, and is filled in. */
function readmeSnippet(words: string, places: Record<string, string>): Snippet {
  const blocks = [...readFileSync(README, 'utf8').matchAll(/^```yaml\n(.*?)^```$/gms)]
    .map(([, block = '']) => block)
    .filter((block) => block.includes(words) && block.includes('otlp_http:'));
  let [yaml] = blocks;
  if (yaml === undefined || blocks.length > 1) throw new Error(`${blocks.length} blocks with ${words}`);
  for (const [place, value] of Object.entries(places)) {
    if (yaml.split(place).length !== 2) throw new Error(`"${place}" is not there once:\n${yaml}`);
    yaml = yaml.replace(place, () => value);
  }
  return parse(yaml) as Snippet;
}

export type TestCollector = Collector & {
  /** Sends to the receiver of a pipeline, and throws unless it is answered 200. */
  send(pipeline: string, request: OtlpRequest): Promise<void>;
  log(): Promise<string>;
};

/** What one pipeline does with spans; it sends them by OTLP/HTTP, unless another kind of exporter is named. */
export type Pipeline = { exporter: Exporter; kind?: 'file'; batch?: Record<string, unknown> };

/** Starts a Collector that has a receiver of its own for each pipeline. It is stopped after the test. */
export async function startTestCollector(
  pipelines: Record<string, Pipeline>,
  { extensions = {} }: Pick<CollectorConfig, 'extensions'> = {},
): Promise<TestCollector> {
  const directory = await temporaryFolder();
  const ports: Record<string, number> = {};
  const config = {
    extensions,
    receivers: {} as Record<string, unknown>,
    processors: {} as Record<string, unknown>,
    exporters: {} as Record<string, unknown>,
    service: { extensions: Object.keys(extensions), pipelines: {} as Record<string, unknown> },
  };
  for (const [name, { exporter, kind = 'otlp_http', batch }] of Object.entries(pipelines)) {
    const port = await freePort();
    ports[name] = port;
    config.receivers[`otlp/${name}`] = { protocols: { http: { endpoint: `127.0.0.1:${port}` } } };
    config.exporters[`${kind}/${name}`] = exporter;
    if (batch !== undefined) config.processors[`batch/${name}`] = batch;
    config.service.pipelines[`traces/${name}`] = {
      receivers: [`otlp/${name}`],
      processors: batch === undefined ? [] : [`batch/${name}`],
      exporters: [`${kind}/${name}`],
    };
  }
  const collector = await startCollector({ binary: await ensureCollector(), directory, config });
  onTestFinished(async () => void (await collector.stop()));
  return {
    ...collector,
    log: () => readFile(join(directory, 'collector.log'), 'utf8'),
    async send(pipeline, request) {
      const answer = await fetch(`http://127.0.0.1:${ports[pipeline]}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-protobuf' },
        body: toProtobuf(request),
      });
      if (answer.status !== 200) throw new Error(`the Collector answered ${answer.status}`);
    },
  };
}

/** Until what the Collector has counted is this. */
export async function waitForCount(collector: Collector, name: string, count: number): Promise<void> {
  let last = 0;
  await waitFor(`${name} of the Collector was not ${count}`, DEADLINE_MS, async () => {
    last = await collector.metric(name);
    return last === count ? true : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${last}`, { cause: error });
  });
}

export const SENT = 'otelcol_exporter_sent_spans_total';
export const FAILED = 'otelcol_exporter_send_failed_spans_total';
