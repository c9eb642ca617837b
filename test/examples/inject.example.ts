import { injectTrace } from 'mlflow-trace-relay/testing';
import { expect, test } from 'vitest';

// The relay and its client certificate are named by OTEL_EXPORTER_OTLP_ENDPOINT and its like.
const config = process.env['RELAY_CONFIG'] ?? 'relay.yaml';

test('a trace is in MLflow as it was sent', { timeout: 40_000 }, async () => {
  const result = await injectTrace({ config, wait: 30_000, attributes: { 'session.id': 'session-7' } });
  expect(result).toMatchObject({ outcome: 'stored', differences: [] });
  expect(result.trace?.metadata['mlflow.trace.session']).toBe('session-7');
});
