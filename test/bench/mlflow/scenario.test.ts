import { describe, expect, test } from 'vitest';
import { ExportTraceServiceRequest } from '../../../src/otlp/schema.ts';
import { createEncoder } from './encode.ts';
import {
  BATCH_PROCESSOR,
  SCENARIOS,
  SERVICES,
  planExports,
  planIdeally,
  planSpans,
  spanCount,
} from './scenario.ts';

describe.each(SCENARIOS)('the load of the scenario $name', (scenario) => {
  const spans = planSpans(scenario);
  const exports = planExports(spans);
  const traces = Map.groupBy(spans, (span) => span.trace);

  test('has every span once, at an even rate', () => {
    expect(new Set(spans.map(({ trace, index }) => `${trace} ${index}`)).size).toBe(spanCount(scenario));
    expect(spans.at(-1)?.endMs).toBeCloseTo((spanCount(scenario) / scenario.spansPerSecond) * 1000);
  });

  test('has traces among each other that last about as long as they should, the root last', () => {
    let lastedMs = 0;
    for (const trace of traces.values()) {
      expect(trace.map(({ index }) => index)).toEqual(Array.from({ length: 20 }, (_, index) => index));
      lastedMs += (trace.at(-1)?.endMs ?? 0) - (trace[0]?.endMs ?? 0);
    }
    const mean = lastedMs / scenario.traces / 1000;
    expect(mean).toBeGreaterThan(0.75 * scenario.traceSeconds);
    expect(mean).toBeLessThan(1.5 * scenario.traceSeconds);
  });

  test('spreads each trace over all services', () => {
    for (const trace of traces.values()) expect(new Set(trace.map((s) => s.service)).size).toBe(SERVICES);
  });

  test('is exported once, in batches of one service that are not too large and not sent before they are there', () => {
    expect(exports.flatMap((batch) => batch.spans).toSorted(byEnd)).toEqual(spans);
    for (const batch of exports) {
      expect(new Set(batch.spans.map((span) => span.service))).toEqual(new Set([batch.service]));
      expect(batch.spans.length).toBeLessThanOrEqual(BATCH_PROCESSOR.maxSpans);
      expect(batch.atMs).toBeGreaterThanOrEqual(batch.spans.at(-1)?.endMs ?? Infinity);
    }
  });

  test('has ideal requests of whole traces, none before all its spans are exported, and all of them once', () => {
    const exportedAt = new Map(exports.flatMap(({ atMs, spans: own }) => own.map((span) => [span, atMs])));
    const ideal = planIdeally(exports, 50);
    expect(ideal.flatMap((request) => request.spans).toSorted(byEnd)).toEqual(spans);
    for (const request of ideal) {
      expect(new Set(request.spans.map(({ trace }) => trace)).size).toBe(50);
      expect(request.spans).toHaveLength(1000);
      expect(request.atMs).toBe(Math.max(...request.spans.map((span) => exportedAt.get(span) ?? Infinity)));
    }
  });
});

test('a batch that does not fill is exported when the delay is up', () => {
  const spans = [100, 4000, 12_000].map((endMs) => ({ trace: 0, index: 0, service: 0, endMs }));
  const exports = planExports(spans);
  expect(exports.map((batch) => [batch.atMs, batch.spans.length])).toEqual([
    [5000, 2],
    [12_000, 1],
  ]);
});

test('an encoded request has the planned spans, each under its service, with ids of this run', () => {
  const [scenario] = SCENARIOS;
  const spans = planSpans(scenario).filter(({ trace }) => trace === 7);
  const read = (run: string) => {
    const bytes = createEncoder(scenario, run, 1_700_000_000_000)(spans);
    const message = ExportTraceServiceRequest.decode(bytes) as unknown as Decoded;
    return message.resourceSpans.flatMap(({ resource, scopeSpans }) =>
      scopeSpans.flatMap((scope) =>
        scope.spans.map((found) => ({
          service: resource.attributes[0]?.value.stringValue,
          traceId: Buffer.from(found.traceId).toString('hex'),
          spanId: Buffer.from(found.spanId).toString('hex'),
          parent: Buffer.from(found.parentSpanId).toString('hex'),
          end: String(found.endTimeUnixNano),
        })),
      ),
    );
  };
  const first = read('one');
  expect(first.map(({ service, end }) => ({ service, end })).toSorted(byTime)).toEqual(
    spans.map(({ service, endMs }) => ({
      service: `service-${service}`,
      end: String(1_700_000_000_000_000_000n + BigInt(Math.round(endMs * 1000)) * 1000n),
    })),
  );
  expect(new Set(first.map(({ traceId }) => traceId)).size).toBe(1);
  expect(new Set(first.map(({ spanId }) => spanId)).size).toBe(20);
  const root = first.filter(({ parent }) => parent === '');
  expect(root).toHaveLength(1);
  expect(first.filter(({ parent }) => parent === root[0]?.spanId)).toHaveLength(19);
  expect(read('two')[0]?.traceId).not.toBe(first[0]?.traceId);
});

type Decoded = {
  resourceSpans: {
    resource: { attributes: { value: { stringValue: string } }[] };
    scopeSpans: {
      spans: {
        traceId: Uint8Array;
        spanId: Uint8Array;
        parentSpanId: Uint8Array;
        endTimeUnixNano: unknown;
      }[];
    }[];
  }[];
};

function byEnd(a: { endMs: number }, b: { endMs: number }): number {
  return a.endMs - b.endMs;
}

function byTime(a: { end: string }, b: { end: string }): number {
  return a.end < b.end ? -1 : 1;
}
