import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SHOWN_TEXTS } from '../../inject/shown-texts.ts';
import type { StoredSpan } from '../../stack/mlflow-client.ts';
import { startCommand } from './command.ts';
import { clientFiles, temporaryFolder } from './relay.ts';
import type { TestRelay } from './relay.ts';
import type { Stack } from './stack.ts';
import { makeTrace, requestOf } from './traces.ts';

/* A trace with what MLflow shows otherwise than it was sent, and what `inject` says of it. */

/** The first is the root's. */
const KINDS = ['SERVER', 'UNSPECIFIED', 'INTERNAL', 'CLIENT', 'PRODUCER', 'CONSUMER'];

const TEXTS = SHOWN_TEXTS.map(([text], index): [string, string] => [`text ${index}`, text]);

export type Shown = {
  readonly code: number | null;
  /** As it prints them. */
  readonly outcome: string;
  readonly differences: readonly unknown[] | undefined;
  /** Of the spans from the root down, as MLflow gives them back. */
  readonly kinds: readonly (string | undefined)[];
  /** Texts, as MLflow shows them as attributes of the root. */
  readonly texts: readonly (readonly [text: string, shown: unknown])[];
};

/** Sends it by `inject` from a file, and reads it back. */
export async function injectShown(stack: Stack, relay: TestRelay): Promise<Shown> {
  const attributes = Object.fromEntries(TEXTS);
  const { traceId, spans } = makeTrace(KINDS.length, {
    events: [{ name: 'event', time: 1_700_000_000_000_000_009n, attributes }],
    links: [{ traceId: 'c'.repeat(32), spanId: 'd'.repeat(16), attributes }],
  });
  const named = spans
    .toReversed()
    .map((span, depth): StoredSpan => Object.assign(span, { kind: `SPAN_KIND_${KINDS[depth]}` }));
  Object.assign(named[0]!, { attributes });
  const file = join(await temporaryFolder(), 'traces.json');
  await writeFile(file, JSON.stringify(requestOf(named)));
  const { caFile, certFile, keyFile } = clientFiles(stack);
  const variables = {
    OTEL_EXPORTER_OTLP_ENDPOINT: relay.url,
    OTEL_EXPORTER_OTLP_CERTIFICATE: caFile,
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: certFile,
    OTEL_EXPORTER_OTLP_CLIENT_KEY: keyFile,
  };
  const args = ['inject', '--config', relay.configFile, '--json', '--wait', '30s', '--file', file];
  const { code, stdout } = await startCommand(variables, ...args).ended;
  const { outcome, differences } = JSON.parse(stdout) as Pick<Shown, 'outcome' | 'differences'>;
  const stored = await stack.mlflow.waitForTrace(traceId, { spans: KINDS.length });
  const spanOf = ({ spanId }: StoredSpan) => stored.spans.find((span) => span.spanId === spanId);
  return {
    code,
    outcome,
    differences,
    kinds: named.map((span) => spanOf(span)?.kind),
    texts: TEXTS.map(([key, text]) => [text, spanOf(named[0]!)?.attributes[key]]),
  };
}
