import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseExactly } from '../../../src/inject/exact-json.ts';
import type { StoredSpan } from '../../stack/mlflow-client.ts';
import { sdkEnvironment, withBigTimes } from './sdk-run.ts';

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
  const told = Object.entries(variables).map(([name, value]) => [`OTEL_EXPORTER_OTLP_${name}`, value]);
  const env = sdkEnvironment(Object.fromEntries(told) as Record<string, string>);
  const { stdout, stderr } = await promisify(execFile)(python, [SCRIPT, seed], { env, timeout: 60_000 });
  const { exported, spans } = parseExactly(stdout) as { exported: boolean; spans: StoredSpan[] };
  if (!exported) throw new Error(`the SDK could not export: ${stderr}`);
  return spans.map(withBigTimes);
}
