import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { goodJson, GOOD_MARK, markedTraces } from './bodies.ts';

/*
 * A process that is an honest sender: it sends one good trace after the other at a steady rate, whatever the answers do,
 * and asks /livez as a kubelet does. It tells how long it waited. A process of its own, so that only the relay makes it
 * wait.
 */

/** Of about so many bytes. */
export type GoodBody = { readonly format: 'json' | 'protobuf'; readonly bytes: number };

export type WitnessOrder = {
  readonly url: string;
  readonly adminUrl: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly perSecond: number;
  /** Left out: small ones in protobuf. */
  readonly body?: GoodBody;
  /** Number of its first trace. */
  readonly first: number;
};

export type WitnessReport = {
  /** From when each was due to its answer, or to its loss, in ms. */
  readonly waits: readonly number[];
  /** How often, by what happened: no answer, or another one than 200. */
  readonly lost: Readonly<Record<string, number>>;
  readonly refused: Readonly<Record<string, number>>;
  /** Numbers of traces that were answered 200, and when they were due (Unix time, ms). */
  readonly acknowledged: readonly (readonly [number, number])[];
  /** Times of /livez in ms; a failure counts as long as it took. */
  readonly livez: readonly number[];
  readonly livezFailures: number;
};

/** What exporters wait. */
const PATIENCE_MS = 10_000;
const NO_ANSWER = `no answer in ${PATIENCE_MS / 1000} s`;
const LIVEZ_EVERY_MS = 200;

const waits: number[] = [];
const lost: Record<string, number> = {};
const refused: Record<string, number> = {};
const acknowledged: [number, number][] = [];
const livez: number[] = [];
let livezFailures = 0;
const stopping = new AbortController();

async function send(order: WitnessOrder): Promise<void> {
  const connect = {
    ca: readFileSync(order.caFile),
    cert: readFileSync(order.certFile),
    key: readFileSync(order.keyFile),
    timeout: PATIENCE_MS,
  };
  const kept = new Agent({ connect });
  const underWay: Promise<void>[] = [];
  const startedAt = Date.now();
  for (let count = 0; !stopping.signal.aborted; count++) {
    const dueAt = startedAt + (count * 1000) / order.perSecond;
    await pause(Math.max(0, dueAt - Date.now()), undefined, { signal: stopping.signal }).catch(() => {});
    if (stopping.signal.aborted) break;
    // Every other one has no connection yet: whoever comes new must get in as well.
    const agent = count % 2 === 0 ? kept : new Agent({ connect, pipelining: 0 });
    underWay.push(
      sendOne(order, agent, order.first + count, dueAt).finally(() =>
        agent === kept ? undefined : agent.destroy(),
      ),
    );
  }
  await Promise.all(underWay);
  await kept.destroy();
}

async function sendOne(order: WitnessOrder, dispatcher: Agent, index: number, dueAt: number): Promise<void> {
  const { format, bytes } = order.body ?? { format: 'protobuf', bytes: 0 };
  const body = format === 'json' ? goodJson(index, bytes) : markedTraces(GOOD_MARK, index, 1, bytes);
  const answer = request(`${order.url}/v1/traces`, {
    dispatcher,
    method: 'POST',
    headers: { 'content-type': format === 'json' ? 'application/json' : 'application/x-protobuf' },
    body,
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).then(async ({ statusCode, body: words }) => {
    await words.dump();
    return statusCode;
  });
  const over = new AbortController();
  // The signal ends no request that still waits for its connection.
  const patience = pause(PATIENCE_MS, 'late' as const, { signal: over.signal });
  patience.catch(() => {});
  try {
    const status = await Promise.race([answer, patience]);
    if (status === 200) acknowledged.push([index, dueAt]);
    else if (status === 'late') add(lost, NO_ANSWER);
    else add(refused, String(status));
  } catch (error) {
    add(lost, wordOf(error));
  }
  over.abort();
  answer.catch(() => {});
  waits.push(Date.now() - dueAt);
}

async function askLivez({ adminUrl }: WitnessOrder): Promise<void> {
  while (!stopping.signal.aborted) {
    const askedAt = Date.now();
    try {
      const answer = await fetch(`${adminUrl}/livez`, { signal: AbortSignal.timeout(PATIENCE_MS) });
      await answer.arrayBuffer();
      if (!answer.ok) livezFailures++;
    } catch {
      livezFailures++;
    }
    livez.push(Date.now() - askedAt);
    await pause(LIVEZ_EVERY_MS);
  }
}

function add(counts: Record<string, number>, word: string): void {
  counts[word] = (counts[word] ?? 0) + 1;
}

function wordOf(error: unknown): string {
  const { code, name } = error as { code?: string | number; name?: string };
  return name === 'TimeoutError' ? NO_ANSWER : String(code ?? name);
}

process.on('message', (order: WitnessOrder | 'stop') => {
  if (order === 'stop') {
    stopping.abort();
    return;
  }
  Promise.all([send(order), askLivez(order)]).then(
    () =>
      process.send?.({ waits, lost, refused, acknowledged, livez, livezFailures } satisfies WitnessReport),
    (error: unknown) => {
      process.stderr.write(`the honest sender failed: ${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.once('disconnect', () => process.exit());
