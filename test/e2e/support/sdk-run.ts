import { pythonEnv } from '../../stack/python.ts';
import type { StoredSpan } from '../../stack/mlflow-client.ts';

/* What every run of a program with an OpenTelemetry SDK has in common. */

/** The environment of this process without what would tell an SDK, or Python, something else than the test does. */
export function sdkEnvironment(variables: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const env = pythonEnv();
  for (const name of Object.keys(env)) if (name.startsWith('OTEL_')) delete env[name];
  // For Python's requests these stand above what the exporter is told.
  delete env['REQUESTS_CA_BUNDLE'];
  delete env['CURL_CA_BUNDLE'];
  return { ...env, ...variables };
}

/** A span as a program has printed it, with its times as texts. */
export function withBigTimes({ start, end, events, ...rest }: StoredSpan): StoredSpan {
  return {
    ...rest,
    start: BigInt(start),
    end: BigInt(end),
    events: events.map(({ name, time, attributes }) => ({ name, time: BigInt(time), attributes })),
  };
}
