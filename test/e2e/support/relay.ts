import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { parse, stringify } from 'yaml';
import { writeKeyPair } from '../../stack/certificates.ts';
import type { ClientFiles } from '../../stack/otlp-client.ts';
import { waitFor } from '../../stack/processes.ts';
import { startRelayProcess } from '../../stack/relay-process.ts';
import type { RelayOptions, RelayProcess } from '../../stack/relay-process.ts';
import { findSecrets, pemSecrets } from './secrets.ts';
import type { Secrets } from './secrets.ts';
import { createSender } from './sender.ts';
import type { Sender } from './sender.ts';
import type { Stack } from './stack.ts';

/** What a test says of its relay; the rest comes from the stack. */
export type TestRelayOptions = Partial<
  Pick<RelayOptions, 'experiment' | 'client' | 'allowedClients' | 'more' | 'receiverPort' | 'adminPort'>
> & {
  /** Of an earlier relay, whose queue is used on. */
  directory?: string;
};

export type TestRelay = RelayProcess & {
  readonly directory: string;
  /** With the client certificate of the stack. */
  readonly sender: Sender;
};

export type DestinationStatus = {
  state: 'unknown' | 'up' | 'retrying' | 'blocked';
  reason?: string;
  waiting_spans: number;
  token_expires_at?: string;
};

/** The longest that anything is waited for; far above what it takes. */
export const DEADLINE_MS = 60_000;

/** A folder that is gone after the test. */
export async function temporaryFolder(
  whenOver: (finish: () => Promise<void>) => void = onTestFinished,
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'relay-e2e-'));
  whenOver(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/**
 * The built relay, between the client certificates and the MLflow of the stack. When the test is over it is stopped,
 * and all that it has said is searched for secrets: a find fails the test.
 * @param whenOver given what is to be done then, for a relay of several tests
 */
export async function startTestRelay(
  stack: Stack,
  options: TestRelayOptions = {},
  whenOver: (finish: () => Promise<void>) => void = onTestFinished,
): Promise<TestRelay> {
  const directory = options.directory ?? (await temporaryFolder(whenOver));
  const relay = await startRelayProcess({
    certificates: stack.certificates,
    mlflowUrl: stack.mlflowUrl,
    issuer: stack.issuer,
    client: stack.client,
    experiment: { name: stack.experimentName() },
    ...options,
    directory,
  });
  const sender = await createSender(relay.url, clientFiles(stack));
  whenOver(async () => {
    await sender.close();
    const outputs = await outputsOf(relay);
    await relay.stop();
    outputs['the log'] = await readFile(relay.logFile, 'utf8');
    expect(findSecrets(outputs, await secretsOf(relay, stack))).toEqual([]);
  });
  return { ...relay, directory, sender };
}

export function clientFiles({ certificates }: Stack): Required<ClientFiles> {
  const { caFile, clientCertFile, clientKeyFile } = certificates;
  return { caFile, certFile: clientCertFile, keyFile: clientKeyFile };
}

/** Starts the relay anew, with this value of `repair`. */
export async function withRepair(relay: TestRelay, repair: boolean): Promise<void> {
  await relay.stop();
  const config = parse(await readFile(relay.configFile, 'utf8')) as {
    destinations: { mlflow: { repair?: boolean } };
  };
  config.destinations.mlflow.repair = repair;
  await writeFile(relay.configFile, stringify(config));
  await relay.start();
}

/** A sender with a certificate of its own, whose SPIFFE id ends in `name`. */
export async function senderNamed(stack: Stack, url: string, name: string): Promise<Sender> {
  const directory = await temporaryFolder();
  const files = { certFile: join(directory, 'client.crt'), keyFile: join(directory, 'client.key') };
  const uris = [`spiffe://e2e.example/ns/test/sa/${name}`];
  const pair = await stack.certificates.ca.issue({ commonName: name, uris, usage: 'client' });
  await writeKeyPair(files.certFile, files.keyFile, pair);
  const sender = await createSender(url, { ...clientFiles(stack), ...files });
  onTestFinished(() => sender.close());
  return sender;
}

async function outputsOf(relay: RelayProcess): Promise<Record<string, string>> {
  const outputs: Record<string, string> = {};
  if (relay.pid() === undefined) return outputs;
  for (const path of ['/metrics', '/status', '/readyz', '/livez']) {
    outputs[path] = await (await fetch(relay.adminUrl + path)).text();
  }
  return outputs;
}

async function secretsOf(relay: RelayProcess, { client, certificates }: Stack): Promise<Secrets> {
  return {
    'the client secret': client.secret,
    'the secret in the file': await readFile(relay.secretFile, 'utf8'),
    ...pemSecrets('the key of the relay', await readFile(certificates.keyFile, 'utf8')),
    ...pemSecrets('the key of the client', await readFile(certificates.clientKeyFile, 'utf8')),
  };
}

export async function destinationStatus(relay: RelayProcess): Promise<DestinationStatus> {
  const status = (await relay.status()) as { destinations: { mlflow: DestinationStatus } };
  return status.destinations.mlflow;
}

/** Asks for the status until the destination is as wanted. */
export function waitForDestination(
  relay: RelayProcess,
  what: string,
  isWanted: (status: DestinationStatus) => boolean,
): Promise<DestinationStatus> {
  let last: DestinationStatus | undefined;
  return waitFor(`the destination was not ${what}`, DEADLINE_MS, async () => {
    last = await destinationStatus(relay);
    return isWanted(last) ? last : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${JSON.stringify(last)}`, { cause: error });
  });
}

/** Until nothing waits in the queue. */
export async function waitUntilDelivered(relay: RelayProcess): Promise<void> {
  await waitForDestination(relay, 'without waiting spans', (status) => status.waiting_spans === 0);
}

export async function isReady(relay: RelayProcess): Promise<boolean> {
  return (await fetch(`${relay.adminUrl}/readyz`)).status === 200;
}

/** The account of spans of a run for one destination, by the metrics. */
export type Account = {
  accepted: number;
  /** Found at the start: waiting, and among the dead letters. */
  recovered: number;
  delivered: number;
  rejected: number;
  superseded: number;
  discarded: number;
  waiting: number;
  deadLetters: number;
};

export async function accountOf(relay: RelayProcess, destination = 'mlflow'): Promise<Account> {
  return accountIn(await relay.metrics(), destination);
}

/** @param metrics of one scrape */
export function accountIn(metrics: ReadonlyMap<string, number>, destination: string): Account {
  const sample = (name: string) => {
    const value = metrics.get(`mlflow_trace_relay_${name}`);
    if (value === undefined) throw new Error(`there is no metric ${name}`);
    return value;
  };
  const ofDestination = (name: string) => sample(`${name}{destination="${destination}"}`);
  return {
    accepted: sample('accepted_spans_total'),
    recovered: ofDestination('recovered_spans_total'),
    delivered: ofDestination('delivered_spans_total'),
    rejected: ofDestination('rejected_spans_total'),
    superseded: ofDestination('superseded_spans_total'),
    discarded: ofDestination('discarded_spans_total'),
    waiting: ofDestination('waiting_spans'),
    deadLetters: ofDestination('dead_letter_spans'),
  };
}

/** accepted + recovered = delivered + rejected + discarded + waiting + dead letters. */
export function expectBalanced(account: Account): void {
  const sum = sumOf(account);
  expect({ ...account, sum }).toEqual({ ...account, sum: account.accepted + account.recovered });
}

/** What became of the spans that a run has accepted and recovered. */
export function sumOf(account: Account): number {
  const { delivered, rejected, superseded, discarded, waiting, deadLetters } = account;
  return delivered + rejected + superseded + discarded + waiting + deadLetters;
}

/** A counter or gauge of the relay; 0 for labels that were not seen yet. */
export async function metric(relay: RelayProcess, sample: string): Promise<number> {
  return (await relay.metrics()).get(`mlflow_trace_relay_${sample}`) ?? 0;
}
