import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { messageOf } from '../../src/errors.ts';
import { writeDevelopmentCertificates } from '../stack/certificates.ts';
import { ensureCollector } from '../stack/collector.ts';
import { StackError } from '../stack/processes.ts';
import { step } from '../stack/progress.mjs';
import { startForwarder } from './forwarders.ts';
import type { ForwarderKind, Surroundings } from './forwarders.ts';
import type { LoadOrder, LoadReport } from './load.ts';
import { machineLine } from './machine.ts';
import { report } from './report.ts';
import type { Measurement } from './report.ts';
import type { SinkCount, SinkNews, SinkOrder } from './sink.ts';
import { cpuSeconds, watchMemory } from './usage.ts';

/*
 * Relay and Collector one after the other, each between the same senders and a sink that takes all at once: what a
 * span costs. Ends by itself.
 */

const KINDS: readonly ForwarderKind[] = ['relay', 'collector, durable', 'collector, memory'];
/** Enough for some seconds each; the first tenth warms up and is not measured. */
const SPANS: ReadonlyMap<number, number> = new Map([
  [10, 100_000],
  [100, 500_000],
  [510, 1_020_000],
]);
const CONNECTIONS = 16;
/** Far above what a measurement takes. */
const DEADLINE_MS = 180_000;

type Sink = { readonly url: string; count(): Promise<SinkCount>; reached(spans: number): Promise<number> };

type Options = { rounds: number; only?: string; sizes: number[] };

async function main({ rounds, only, sizes }: Options, signal: AbortSignal): Promise<void> {
  const undo: (() => unknown)[] = [];
  try {
    const directory = await mkdtemp(join(tmpdir(), 'relay-bench-'));
    undo.push(() => rm(directory, { recursive: true, force: true }));
    const collectorBinary = await step('the Collector, built once', () => ensureCollector({ signal }));
    const certificates = await writeDevelopmentCertificates(join(directory, 'certificates'), {
      clientUri: 'spiffe://bench.example/sender',
    });
    const measurements: Measurement[] = [];
    for (let round = 1; round <= rounds; round++) {
      for (const [spansPerRequest, spans] of SPANS) {
        if (sizes.length > 0 && !sizes.includes(spansPerRequest)) continue;
        for (const kind of KINDS.filter((one) => only === undefined || one === only)) {
          const what = `${kind}, ${spansPerRequest} spans a request (${round} of ${rounds})`;
          const run = join(directory, `${round}-${spansPerRequest}-${KINDS.indexOf(kind)}`);
          const surroundings = { directory: run, certificates, collectorBinary, signal };
          const measured = await step(what, () => measure(kind, spansPerRequest, spans, surroundings));
          measurements.push(measured);
          await rm(run, { recursive: true, force: true });
        }
      }
    }
    process.stdout.write(`\n${machineLine()}, Collector 0.145.0\n\n${report(measurements)}\n`);
  } finally {
    for (const stop of undo.toReversed()) await stop();
  }
}

async function measure(
  kind: ForwarderKind,
  spansPerRequest: number,
  spans: number,
  surroundings: Omit<Surroundings, 'sinkUrl'>,
): Promise<Measurement> {
  const { certificates, signal } = surroundings;
  const sinkProcess = child('sink.ts');
  const sink = await connectToSink(sinkProcess);
  try {
    const forwarder = await startForwarder(kind, { ...surroundings, sinkUrl: sink.url });
    try {
      const pid = forwarder.pid();
      if (pid === undefined) throw new StackError(`${kind} has ended`);
      const order = {
        url: forwarder.url,
        caFile: certificates.caFile,
        certFile: certificates.clientCertFile,
        keyFile: certificates.clientKeyFile,
        connections: CONNECTIONS,
        spansPerRequest,
      };
      const requests = spans / spansPerRequest;
      await deliver(sink, { ...order, requests: Math.ceil(requests / 10) }, signal);
      const memory = watchMemory(pid);
      const cpuBefore = cpuSeconds(pid);
      const { load, reachedAt } = await deliver(sink, { ...order, requests }, signal);
      const cpu = cpuSeconds(pid) - cpuBefore;
      const { anonymous, total } = memory.stop();
      return {
        kind,
        spansPerRequest,
        figures: {
          cpu: (cpu / spans) * 1e6,
          rate: (spans / (reachedAt - load.startedAt)) * 1000,
          anonymousMemory: anonymous,
          totalMemory: total,
          p50: load.p50,
          p99: load.p99,
        },
      };
    } finally {
      await forwarder.stop();
    }
  } finally {
    if (sinkProcess.connected) sinkProcess.disconnect();
  }
}

/** Sends, and waits until the sink has all; each span is taken once, or the figures mean nothing. */
async function deliver(
  sink: Sink,
  order: LoadOrder,
  signal: AbortSignal,
): Promise<{ load: LoadReport; reachedAt: number }> {
  const spans = order.requests * order.spansPerRequest;
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
  const reached = sink.reached(spans);
  const load = await Promise.race([runLoad(order), aborted(deadline)]);
  const refused = Object.entries(load.refused).map(([status, times]) => `${times} × ${status}`);
  if (refused.length > 0) throw new StackError(`requests were refused: ${refused.join(', ')}`);
  const reachedAt = await Promise.race([reached, aborted(deadline)]);
  const { spans: counted } = await sink.count();
  if (counted !== spans) throw new StackError(`${spans} spans were sent, ${counted} arrived`);
  return { load, reachedAt };
}

async function runLoad(order: LoadOrder): Promise<LoadReport> {
  const load = child('load.ts');
  load.send(order);
  const [answer] = (await once(load, 'message')) as [{ report: LoadReport } | { error: string }];
  load.disconnect();
  if ('error' in answer) throw new StackError(`the senders failed: ${answer.error}`);
  return answer.report;
}

async function connectToSink(sink: ChildProcess): Promise<Sink> {
  const [news] = (await once(sink, 'message')) as [SinkNews];
  const url = 'url' in news ? news.url : '';
  return {
    url,
    count: async () => (await (await fetch(`${url}/count`)).json()) as SinkCount,
    async reached(spans) {
      sink.send({ expect: spans } satisfies SinkOrder);
      const [reached] = (await once(sink, 'message')) as [SinkNews];
      return 'reachedAt' in reached ? reached.reachedAt : Number.NaN;
    },
  };
}

/** Of this folder; it ends with this process. */
function child(file: string): ChildProcess {
  return fork(join(import.meta.dirname, file), { execArgv: ['--disable-warning=ExperimentalWarning'] });
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(new StackError(`it took longer than ${DEADLINE_MS / 1000} s, or was stopped`));
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
}

const command = new Command('npm run bench --')
  .description('what a span costs: the relay beside the Collector, on this machine')
  .option('--rounds <number>', 'measurements of each; the median is shown', Number, 1)
  .option(
    '--sizes <spans...>',
    `of requests, some of ${[...SPANS.keys()].join(' ')}`,
    (one: string, all: number[]) => [...all, Number(one)],
    [],
  )
  .option('--only <forwarder>', `one of ${KINDS.join('; ')}`)
  .parse();

const stopping = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stopping.abort());
process.once('disconnect', () => stopping.abort());
process.channel?.unref();

try {
  await main(command.opts<Options>(), stopping.signal);
} catch (error) {
  process.stderr.write(`\nbench: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
