import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { StoredSpan } from '../../stack/mlflow-client.ts';
import { pythonEnv } from '../../stack/python.ts';

const SCRIPT = join(import.meta.dirname, '../send_trace.py');

/**
 * Runs send_trace.py.
 * @param seed two runs with different seeds send the same spans, but for the ids
 * @param variables OpenTelemetry's own, without OTEL_EXPORTER_OTLP_
 * @returns the spans as the SDK had them when it sent them
 */
export async function sendFromPython(
  python: string,
  seed: string,
  variables: Record<string, string>,
): Promise<StoredSpan[]> {
  const env = pythonEnv();
  for (const name of Object.keys(env)) if (name.startsWith('OTEL_')) delete env[name];
  // For the requests library these stand above what the exporter is told.
  delete env['REQUESTS_CA_BUNDLE'];
  delete env['CURL_CA_BUNDLE'];
  for (const [name, value] of Object.entries(variables)) env[`OTEL_EXPORTER_OTLP_${name}`] = value;
  const { stdout, stderr } = await promisify(execFile)(python, [SCRIPT, seed], { env, timeout: 60_000 });
  const { exported, spans } = JSON.parse(stdout, keepInteger) as { exported: boolean; spans: StoredSpan[] };
  if (!exported) throw new Error(`the SDK could not export: ${stderr}`);
  return spans.map(withBigTimes);
}

/** Times come as texts. */
function withBigTimes({ start, end, events, ...rest }: StoredSpan): StoredSpan {
  return { ...rest, start: BigInt(start), end: BigInt(end), events: events.map(withBigTime) };
}

function withBigTime({ name, time, attributes }: StoredSpan['events'][number]): StoredSpan['events'][number] {
  return { name, time: BigInt(time), attributes };
}

/** Python writes integers of any size. */
function keepInteger(_key: string, value: unknown, context?: { source?: string }): unknown {
  const source = context?.source ?? '';
  return typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
    ? BigInt(source)
    : value;
}
