import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureCollector } from '../stack/collector.ts';
import { waitFor } from '../stack/processes.ts';
import { FAILED, SENT, startTestCollector, toRelay, waitForCount } from './support/collector.ts';
import type { Pipeline } from './support/collector.ts';
import { expectStored } from './support/compare.ts';
import { startFront } from './support/front.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  metric,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import { skipWithout } from './support/skip.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { tapInto } from './support/tap.ts';
import { tapTls } from './support/tls-tap.ts';
import { makeTrace, requestOf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

describe.skipIf(skipWithout('go'))('a Collector that sends to the relay', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await useSharedStack();
    await ensureCollector();
  });
  afterAll(() => stack?.stop());

  test('in either encoding, with each compression', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const tap = await tapTls(relay.url, stack);
    const { otlp_http: exporter } = toRelay(tap.url, stack).exporters;
    const variants = ['proto', 'json'].flatMap((encoding) =>
      ['none', 'gzip', 'zstd'].map((compression) => ({ encoding, compression })),
    );
    const pipelines = variants.map((variant): [string, Pipeline] => [
      `${variant.encoding}-${variant.compression}`,
      { exporter: { ...exporter, ...variant } },
    ]);
    const collector = await startTestCollector(Object.fromEntries(pipelines));

    const traces: TestTrace[] = [];
    for (const [name] of pipelines) {
      // With values that protobuf and OTLP's JSON write in different ways.
      const trace = makeTrace(30, {
        attributes: {
          text: 'größe 😀',
          whole: 42,
          large: 2n ** 53n + 1n,
          part: 0.5,
          no: false,
          list: ['a', 1],
        },
        events: [{ name: 'event', time: 1_700_000_000_500_000_001n, attributes: { n: 1 } }],
        status: { code: 'STATUS_CODE_ERROR', message: 'none' },
      });
      traces.push(trace);
      await collector.send(name, requestOf(trace.spans));
    }
    await waitForCount(collector, SENT, 30 * variants.length);
    await waitUntilDelivered(relay);
    await expectStored(stack.mlflow, experiment, traces);
    expectBalanced(await accountOf(relay));

    const seen = tap.requests.map(({ contentType, contentEncoding, status }) =>
      [status, contentType, contentEncoding ?? 'none'].join(' '),
    );
    expect(seen.toSorted()).toEqual(
      variants
        .map(({ encoding, compression }) =>
          ['200', encoding === 'json' ? 'application/json' : 'application/x-protobuf', compression].join(' '),
        )
        .toSorted(),
    );
  });

  test(
    'a batch of 8,192 spans, which reaches MLflow in requests of its size',
    { timeout: 300_000 },
    async () => {
      const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
      const tap = await tapInto(stack.mlflowUrl);
      const relay = await startTestRelay(
        { ...stack, mlflowUrl: tap.url },
        { experiment: { id: experiment } },
      );
      const { otlp_http: exporter } = toRelay(relay.url, stack).exporters;
      // Nothing but its size sends it.
      const batch = { send_batch_size: 8192, timeout: '1h' };
      const collector = await startTestCollector({ large: { exporter, batch } });

      const traces = Array.from({ length: 128 }, () => makeTrace(64));
      for (let i = 0; i < traces.length; i += 8) {
        await collector.send('large', requestOf(traces.slice(i, i + 8).flatMap(({ spans }) => spans)));
      }
      await waitForCount(collector, SENT, 8192);
      expect(await collector.metric('otelcol_processor_batch_batch_size_trigger_send_total')).toBe(1);
      expect(await metric(relay, 'requests_total{code="200"}')).toBe(1);
      await waitForDestination(relay, 'half through', ({ waiting_spans: waiting }) => waiting <= 4096);
      await waitUntilDelivered(relay);
      await expectStored(stack.mlflow, experiment, traces);

      const account = await accountOf(relay);
      expect(account).toMatchObject({ accepted: 8192, delivered: 8192 });
      expectBalanced(account);
      const sizes = tap.requests.map(({ spansByTrace }) =>
        [...spansByTrace.values()].reduce((a, b) => a + b, 0),
      );
      expect(Math.max(...sizes)).toBeLessThanOrEqual(1000);
      expect([...tap.overlapping]).toEqual([]);
    },
  );

  test('waits as the relay asks while its queue is full, and while it is away; all arrives', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const front = await startFront(stack.mlflowUrl, 'closed');
    const relay = await startTestRelay(
      { ...stack, mlflowUrl: front.url },
      {
        experiment: { id: experiment },
        more: { receiver: { max_request_body_size: '512KiB' }, queue: { max_size: '1MiB' } },
      },
    );
    const { otlp_http: exporter } = toRelay(relay.url, stack).exporters;
    const { retry_on_failure: retry } = exporter as { retry_on_failure: object };
    const collector = await startTestCollector({
      steady: {
        exporter: {
          ...exporter,
          // By itself it would try again at once.
          retry_on_failure: { ...retry, initial_interval: '10ms', max_interval: '10ms' },
        },
      },
    });
    const traces = Array.from({ length: 20 }, () =>
      makeTrace(2, { attributes: { text: 'x'.repeat(50_000) } }),
    );
    const spanCount = traces.length * 2;
    for (const { spans } of traces) await collector.send('steady', requestOf(spans));

    // The queue is full; what the Collector says that it waits is what the relay asked for.
    const waits = await waitFor('the Collector did not wait', DEADLINE_MS, async () => {
      const log = await collector.log();
      const found = [...log.matchAll(/Will retry the request after interval.*"interval": "([^"]+)"/g)];
      return found.length > 0 ? found.map(([, interval]) => interval) : undefined;
    });
    expect(new Set(waits)).toEqual(new Set(['5s']));
    expect(await metric(relay, 'refused_spans_total{reason="queue_full"}')).toBeGreaterThan(0);
    const full = await accountOf(relay);
    expect(full.accepted).toBeLessThan(spanCount);
    expectBalanced(full);

    front.set('open');
    await waitForCount(collector, SENT, spanCount);
    await waitUntilDelivered(relay);
    const account = await accountOf(relay);
    expect(account).toMatchObject({ accepted: spanCount, delivered: spanCount });
    expectBalanced(account);

    await relay.stop('SIGTERM');
    const late = [makeTrace(), makeTrace()];
    for (const { spans } of late) await collector.send('steady', requestOf(spans));
    await waitFor('the Collector did not miss the relay', DEADLINE_MS, async () =>
      (await collector.log()).includes('connection refused') ? true : undefined,
    );
    await relay.start();
    await waitForCount(collector, SENT, spanCount + 4);
    await waitForDestination(relay, 'up and idle', ({ state, waiting_spans: waiting }) => {
      return state === 'up' && waiting === 0;
    });
    expect(await collector.metric(FAILED)).toBe(0);
    await expectStored(stack.mlflow, experiment, [...traces, ...late]);
  });

  test('with its queue on disk, and killed while the relay is away', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    await relay.stop();
    const { otlp_http: exporter } = toRelay(relay.url, stack).exporters;
    const collector = await startTestCollector(
      { safe: { exporter: { ...exporter, sending_queue: { storage: 'file_storage' } } } },
      { extensions: { file_storage: { directory: await temporaryFolder(), fsync: true } } },
    );
    const traces = Array.from({ length: 5 }, () => makeTrace());
    for (const { spans } of traces) await collector.send('safe', requestOf(spans));
    await collector.stop('SIGKILL');
    await relay.start();
    expect(await accountOf(relay)).toMatchObject({ accepted: 0 });

    await collector.start();
    await waitForCount(collector, SENT, 10);
    await waitUntilDelivered(relay);
    expectBalanced(await accountOf(relay));
    await expectStored(stack.mlflow, experiment, traces);
  });
});
