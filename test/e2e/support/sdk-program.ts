import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { parseExactly } from '../../../src/inject/exact-json.ts';
import type { StoredSpan } from '../../stack/mlflow-client.ts';
import type { Program } from '../../stack/sdks.ts';
import type { Stack } from './stack.ts';
import { clientFiles } from './relay.ts';
import { sdkEnvironment, withBigTimes } from './sdk-run.ts';

/*
 * Programs that are set up by OpenTelemetry's own variables alone, send spans by an SDK, and print each as a line of
 * JSON in the shape of StoredSpan.
 */

/** Of an exporter, for all signals or for traces. */
export type Scope = 'OTEL_EXPORTER_OTLP' | 'OTEL_EXPORTER_OTLP_TRACES';

/** What tells an SDK that there are traces, no other signals, and whose they are. */
export const SERVICE = {
  OTEL_SERVICE_NAME: 'e2e-sdk',
  OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
  OTEL_TRACES_EXPORTER: 'otlp',
  // The relay takes traces only.
  OTEL_METRICS_EXPORTER: 'none',
  OTEL_LOGS_EXPORTER: 'none',
};

/** The variables for sending to this URL with the client certificate of the stack. */
export function exporterVariables(
  stack: Stack,
  url: string,
  { scope, protocol, compression }: { scope: Scope; protocol: string; compression?: string },
): Record<string, string> {
  const { caFile, certFile, keyFile } = clientFiles(stack);
  return {
    // Only the general one is added to.
    [`${scope}_ENDPOINT`]: scope === 'OTEL_EXPORTER_OTLP' ? url : `${url}/v1/traces`,
    [`${scope}_PROTOCOL`]: protocol,
    [`${scope}_CERTIFICATE`]: caFile,
    [`${scope}_CLIENT_CERTIFICATE`]: certFile,
    [`${scope}_CLIENT_KEY`]: keyFile,
    ...(compression !== undefined && { [`${scope}_COMPRESSION`]: compression }),
  };
}

/**
 * Runs it to its end.
 * @returns the spans as the SDK had them when it sent them, and what the program complained of
 */
export async function runSdkProgram(
  { command, args }: Program,
  variables: Record<string, string>,
): Promise<{ spans: StoredSpan[]; complaints: string }> {
  const options = { env: sdkEnvironment(variables), timeout: 60_000, maxBuffer: 16 * 1024 * 1024 };
  const { stdout, stderr } = await promisify(execFile)(command, args, options);
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return { spans: lines.map((line) => withBigTimes(parseExactly(line) as StoredSpan)), complaints: stderr };
}
