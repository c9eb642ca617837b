import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { writeDevelopmentCertificates } from '../stack/certificates.ts';
import { COLLECTOR_VERSION, ensureCollector } from '../stack/collector.ts';
import { CACHE } from '../stack/install.ts';
import { StackError } from '../stack/processes.ts';
import { step } from '../stack/progress.mjs';
import { runUntilStopped } from '../stack/stop-signals.ts';
import { FORWARDERS, startForwarder } from './cost/forwarders.ts';
import type { ForwarderKind, Surroundings } from './cost/forwarders.ts';
import type { LoadOrder, LoadReport } from './cost/load.ts';
import { watchMemory } from './cost/memory.ts';
import { report } from './cost/report.ts';
import type { Measurement } from './cost/report.ts';
import type { SinkCount, SinkNews, SinkOrder } from './cost/sink.ts';
import { cpuOf } from './cpu.ts';
import { machineLine } from './machine.ts';
import { toRounds, turned } from './rounds.ts';

/*
 * What a span costs: relay and Collector one after the other, each between the same senders and a sink that takes all
 * at once. Started by bootstrap.mjs; ends by itself.
 */

/** By spans a request: enough for some seconds each. */
const SPANS: ReadonlyMap<number, number> = new Map([
  [10, 100_000],
  [100, 400_000],
  [510, 816_000],
]);
/** Sent before, and not measured: compilers and caches get warm. */
const WARM_UP_SHARE = 0.1;
const CONNECTIONS = 16;
/** Far above what a measurement takes. */
const DEADLINE_MS = 180_000;

type Options = { rounds: number; size?: string; only?: ForwarderKind };
type Sink = { readonly url: string; count(): Promise<SinkCount>; reached(spans: number): Promise<number> };

async function main({ rounds, size, only }: Options, signal: AbortSignal): Promise<void> {
  const collectorBinary = await step('the Collector, built once', () => ensureCollector({ signal }));
  // Not in the folder for temporary files, which may be memory: an fsync would cost nothing there.
  await mkdir(CACHE, { recursive: true });
  const directory = await mkdtemp(join(CACHE, 'bench-'));
  try {
    const certificates = await writeDevelopmentCertificates(join(directory, 'certificates'), {
      clientUri: 'spiffe://bench.example/sender',
    });
    const kinds = FORWARDERS.filter((kind) => kind === (only ?? kind));
    const measurements: Measurement[] = [];
    for (let round = 1; round <= rounds; round++) {
      for (const [spansPerRequest, spans] of SPANS) {
        if (size !== undefined && spansPerRequest !== Number(size)) continue;
        for (const kind of turned(kinds, round - 1)) {
          const own = join(directory, 'forwarder');
          const around = { directory: own, certificates, collectorBinary, signal };
          const what = `${spansPerRequest} spans a request, ${kind} (${round} of ${rounds})`;
          measurements.push(await step(what, () => measure(kind, { spansPerRequest, spans }, around)));
          await rm(own, { recursive: true, force: true });
        }
      }
    }
    // In the order of the table, whatever the order of a round was.
    measurements.sort((a, b) => FORWARDERS.indexOf(a.kind) - FORWARDERS.indexOf(b.kind));
    process.stdout.write(
      `\n${machineLine()}; Collector ${COLLECTOR_VERSION}; ${CONNECTIONS} connections\n\n${report(measurements)}\n`,
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function measure(
  kind: ForwarderKind,
  { spansPerRequest, spans }: { spansPerRequest: number; spans: number },
  around: Omit<Surroundings, 'sinkUrl'>,
): Promise<Measurement> {
  const signal = AbortSignal.any([around.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const sinkProcess = child('cost/sink.ts');
  try {
    const sink = await connectToSink(sinkProcess, signal);
    const forwarder = await startForwarder(kind, { ...around, sinkUrl: sink.url });
    try {
      const { caFile, clientCertFile: certFile, clientKeyFile: keyFile } = around.certificates;
      const files = { caFile, certFile, keyFile };
      const order = { url: forwarder.url, ...files, connections: CONNECTIONS, spansPerRequest };
      const requests = spans / spansPerRequest;
      await deliver(sink, { ...order, requests: Math.ceil(requests * WARM_UP_SHARE) }, signal);
      const pid = forwarder.pid();
      if (pid === undefined) throw new StackError(`${kind} has ended`);
      const memory = watchMemory(pid);
      const cpuBefore = cpuOf(forwarder);
      const { load, reachedAt } = await deliver(sink, { ...order, requests }, signal);
      const cpu = cpuOf(forwarder) - cpuBefore;
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
  const reached = sink.reached(spans);
  reached.catch(() => {}); // where the senders fail first
  const load = await runLoad(order, signal);
  const refused = Object.entries(load.refused).map(([status, times]) => `${times} × ${status}`);
  if (refused.length > 0) throw new StackError(`requests were refused: ${refused.join(', ')}`);
  const reachedAt = await reached;
  const { spans: counted } = await sink.count();
  if (counted !== spans) throw new StackError(`${spans} spans were sent, ${counted} arrived`);
  return { load, reachedAt };
}

async function runLoad(order: LoadOrder, signal: AbortSignal): Promise<LoadReport> {
  const load = child('cost/load.ts');
  try {
    load.send(order);
    const answer = await news<{ report: LoadReport } | { error: string }>(load, signal);
    if ('error' in answer) throw new StackError(`the senders failed: ${answer.error}`);
    return answer.report;
  } finally {
    if (load.connected) load.disconnect();
  }
}

async function connectToSink(sink: ChildProcess, signal: AbortSignal): Promise<Sink> {
  const first = await news<SinkNews>(sink, signal);
  const url = 'url' in first ? first.url : '';
  return {
    url,
    count: async () => (await (await fetch(`${url}/count`)).json()) as SinkCount,
    async reached(spans) {
      sink.send({ expect: spans } satisfies SinkOrder);
      const reached = await news<SinkNews>(sink, signal);
      return 'reachedAt' in reached ? reached.reachedAt : Number.NaN;
    },
  };
}

/** What a child says next. */
async function news<T>(from: ChildProcess, signal: AbortSignal): Promise<T> {
  const done = new AbortController();
  const either = AbortSignal.any([signal, done.signal]);
  const ended = once(from, 'exit', { signal: either }).then(() => {
    throw new StackError('a process of the benchmark has ended');
  });
  try {
    const [message] = (await Promise.race([once(from, 'message', { signal: either }), ended])) as [T];
    return message;
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new StackError(`it was stopped, or took longer than ${DEADLINE_MS / 1000} s`, { cause: error });
  } finally {
    done.abort();
  }
}

/** Of this folder; it ends with this process. */
function child(file: string): ChildProcess {
  return fork(join(import.meta.dirname, file), { execArgv: ['--disable-warning=ExperimentalWarning'] });
}

const command = new Command('npm run bench --')
  .description('what a span costs: the relay beside the Collector, on this machine')
  .option('--rounds <number>', 'measurements of each; medians are shown', toRounds, 3)
  .addOption(
    new Option('--size <spans>', 'requests of this size only').choices([...SPANS.keys()].map(String)),
  )
  .addOption(new Option('--only <forwarder>', 'this one only').choices(FORWARDERS))
  .parse();

await runUntilStopped('bench', (signal) => main(command.opts<Options>(), signal));
