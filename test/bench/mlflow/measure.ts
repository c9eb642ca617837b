import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { StackError } from '../../stack/processes.ts';
import type { Stored } from './database.ts';
import { createEncoder } from './encode.ts';
import { startDurableCollector, startRelay } from './forwarders.ts';
import type { Forwarder } from './forwarders.ts';
import { postIdeally } from './ideal.ts';
import { RELAY } from './report.ts';
import type { COLLECTOR, Limits, Measurement } from './report.ts';
import { planExports, planIdeally, planSpans, spanCount } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { sendExports } from './senders.ts';
import type { TimedExport } from './senders.ts';
import type { Setting } from './setting.ts';

/** How spans come to MLflow; `atOnce` is the number of hand-made requests under way. */
export type Route =
  | { readonly name: typeof RELAY }
  | { readonly name: typeof COLLECTOR; readonly binary: string }
  | { readonly name: `ideal, ${number} at once`; readonly atOnce: number };

/** Of a hand-made request. */
const IDEAL_TRACES = 50;
/** Until the first span ends, meanwhile the requests are made; doubled where the machine is slower than that. */
const FIRST_LEAD_MS = 2000;
/** Far above what any route takes; one that takes longer is measured by what it has stored by then. */
const DEADLINE_MS = 180_000;

export type Order = {
  setting: Setting;
  directory: string;
  scenario: Scenario;
  round: number;
  signal: AbortSignal;
};

export type Result = Measurement & { readonly commits: Stored['commits']; readonly beganAt: number };

export async function measure(route: Route, order: Order): Promise<Result> {
  const { setting, scenario, round, signal } = order;
  await setting.database.clear();
  const experimentId = await setting.createExperiment();
  const before = await counters(setting);
  const { beganAt, forwarderCpu, isInTime, limits } = await Promise.race([
    'atOnce' in route
      ? sendIdeally(route.atOnce, experimentId, order)
      : sendThrough(route, experimentId, order),
    setting.failed,
  ]);
  await setting.database.untilQuiet(signal);
  const stored = await setting.database.stored(experimentId);
  const after = await counters(setting);
  return {
    scenario: scenario.name,
    route: route.name,
    round,
    sentSpans: spanCount(scenario),
    storedSpans: stored.spans,
    seconds: (stored.lastAt - beganAt) / 1000,
    latency: isInTime ? { p50: stored.p50, p95: stored.p95 } : undefined,
    requests: difference(after.requests, before.requests),
    deadlocks: after.deadlocks - before.deadlocks,
    inProgress: stored.inProgress,
    cpu: {
      mlflow: after.cpu.mlflow - before.cpu.mlflow,
      postgres: after.cpu.postgres - before.cpu.postgres,
      forwarder: forwarderCpu,
    },
    limits,
    commits: stored.commits,
    beganAt,
  };
}

type Sending = {
  /** Of the first request, ms since the Unix epoch. */
  beganAt: number;
  forwarderCpu: number;
  /** Spans were sent when they ended, as far as the route could take them. */
  isInTime: boolean;
  limits: Limits | undefined;
};

async function sendThrough(
  route: Exclude<Route, { atOnce: number }>,
  experimentId: string,
  { setting, directory, scenario, signal }: Order,
): Promise<Sending> {
  const { mlflowUrl, issuer, client, certificates } = setting;
  const around = { mlflowUrl, issuer, client, certificates, directory, experimentId, signal };
  const relay = route.name === RELAY ? await startRelay(around) : undefined;
  const forwarder: Forwarder =
    relay ?? (await startDurableCollector('binary' in route ? route.binary : '', around));
  try {
    const { beganAt, exports } = makeExports(scenario);
    const cpuBefore = forwarder.cpu();
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
    await sendExports(forwarder.url, certificates, exports, deadline);
    await untilDone(forwarder, spanCount(scenario), signal);
    const limits = await relay?.limits();
    return { beganAt, forwarderCpu: forwarder.cpu() - cpuBefore, isInTime: true, limits };
  } finally {
    await forwarder.stop();
  }
}

/** The requests, and when the first of them is to be sent: soon, and not before they are made. */
export function makeExports(scenario: Scenario): { beganAt: number; exports: TimedExport[] } {
  const planned = planExports(planSpans(scenario));
  for (let leadMs = FIRST_LEAD_MS; leadMs < DEADLINE_MS; leadMs *= 2) {
    const beginMs = Date.now() + leadMs;
    const encode = createEncoder(scenario, randomBytes(8).toString('hex'), beginMs);
    const exports = planned.map(({ service, atMs, spans }) => ({
      service,
      at: beginMs + atMs,
      body: encode(spans),
    }));
    const beganAt = beginMs + (planned[0]?.atMs ?? 0);
    if (Date.now() < beganAt) return { beganAt, exports };
  }
  throw new StackError('the requests take too long to make on this machine');
}

async function untilDone(forwarder: Forwarder, spans: number, signal: AbortSignal): Promise<void> {
  const end = Date.now() + DEADLINE_MS;
  while (Date.now() < end && !(await forwarder.isDone(spans))) await pause(100, undefined, { signal });
}

/** Whole traces together, as soon as the services have sent them and they can be taken. */
async function sendIdeally(
  atOnce: number,
  experimentId: string,
  { setting, scenario, signal }: Order,
): Promise<Sending> {
  const spans = planSpans(scenario);
  const exports = planExports(spans);
  const encode = createEncoder(scenario, randomBytes(8).toString('hex'), Date.now());
  const batches = planIdeally(exports, IDEAL_TRACES).map(({ atMs, spans: own }) => ({
    atMs,
    body: encode(own),
  }));
  const target = { mlflowUrl: setting.mlflowUrl, experimentId, token: await setting.token() };
  const firstMs = exports[0]?.atMs ?? 0;
  const beganAt = Date.now();
  const bodies = batches.map(({ atMs, body }) => ({ at: beganAt + atMs - firstMs, body }));
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
  await postIdeally(bodies, atOnce, target, deadline);
  return { beganAt, forwarderCpu: Number.NaN, isInTime: false, limits: undefined };
}

type Counters = {
  requests: Map<number, number>;
  deadlocks: number;
  cpu: { mlflow: number; postgres: number };
};

async function counters(setting: Setting): Promise<Counters> {
  const [requests, deadlocks] = await Promise.all([setting.requests(), setting.database.deadlocks()]);
  return { requests, deadlocks, cpu: setting.cpu() };
}

function difference(after: Map<number, number>, before: Map<number, number>): Map<number, number> {
  return new Map(
    [...after]
      .map(([status, count]) => [status, count - (before.get(status) ?? 0)] as const)
      .filter(([, count]) => count > 0),
  );
}
