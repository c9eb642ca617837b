import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { writeDevelopmentCertificates } from '../stack/certificates.ts';
import { createMlflowClient } from '../stack/mlflow-client.ts';
import type { MlflowClient } from '../stack/mlflow-client.ts';
import { ensureOldestPython, ensurePatchedPlugin } from '../stack/mlflow-oldest.ts';
import { startMlflow } from '../stack/mlflow.ts';
import type { Mlflow } from '../stack/mlflow.ts';
import { ADMIN_GROUP, GROUP, startOidcProvider } from '../stack/oidc-provider.ts';
import type { OidcProvider } from '../stack/oidc-provider.ts';
import { pythonEnv } from '../stack/python.ts';
import type { PythonEnvironment } from '../stack/python.ts';
import { expectStored } from './support/compare.ts';
import {
  accountOf,
  destinationStatus,
  expectBalanced,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';

/*
 * From a patched mlflow-oidc-auth, where anybody may send traces, to one as it comes behind the relay: the steps of
 * the README, in its order, with its checks.
 */

const README = resolve(import.meta.dirname, '../../README.md');
const EXPERIMENT = '0';
const RELAY = { clientId: 'relay', secret: randomBytes(24).toString('base64url') };
const OPERATOR = { clientId: 'operator', secret: randomBytes(24).toString('base64url') };
const ACCOUNT = 'service-account-relay';

const finishers: (() => Promise<void>)[] = [];
const whenOver = (finish: () => Promise<void>) => void finishers.push(finish);
let oldest: PythonEnvironment;
/** Goes before what is installed. */
let patch: string;
let directory: string;
let oidc: OidcProvider;
beforeAll(async () => {
  oldest = await ensureOldestPython();
  patch = await ensurePatchedPlugin(oldest);
  directory = await temporaryFolder(whenOver);
  oidc = await startOidcProvider({
    port: 0,
    services: [
      { ...RELAY, username: ACCOUNT },
      { ...OPERATOR, username: 'service-account-operator', groups: [GROUP, ADMIN_GROUP] },
    ],
  });
  whenOver(() => oidc.stop());
});
afterAll(async () => {
  for (const finish of finishers.toReversed()) await finish();
});

test('a deployment comes off its patches, keeps its traces, and lets nobody in without a token', async () => {
  // Of a span from then the newest MLflow takes this one, as none was kept.
  const sentBefore = makeTrace(2, { kind: 'SPAN_KIND_INTERNAL' });
  const patched = await startPatched();
  expect(await check(patched.url)).toBe('200');
  // The hole: no token, and the traces are taken.
  expect(await postWithoutToken(patched.url, requestOf(sentBefore.spans))).toBe(200);
  await patched.stop();

  await upgradeDatabase();
  const server = await startNewest();
  expect(await check(server.url)).toBe('401');
  expect(await postWithoutToken(server.url, requestOf(makeTrace().spans))).toBe(401);

  const relay = await startTestRelay(await stackOf(server), { experiment: { id: EXPERIMENT } }, whenOver);
  const sentAfter = makeTrace(3);
  await relay.sender.send(requestOf(sentAfter.spans));
  // The experiment was there before the account.
  const { reason } = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
  expect(reason).toContain(`${ACCOUNT} needs EDIT on experiment ${EXPERIMENT}`);
  const operator = clientOf(server, OPERATOR.clientId);
  await operator.grant(EXPERIMENT, ACCOUNT, 'EDIT');
  await waitUntilDelivered(relay);
  expect(await destinationStatus(relay)).toMatchObject({ state: 'up' });
  expectBalanced(await accountOf(relay));
  await expectStored(operator, EXPERIMENT, [sentBefore, sentAfter]);
});

/** As it was before the upgrade: its database and its address stay. */
function startPatched(): Promise<Mlflow> {
  return start({ python: oldest, environment: { PYTHONPATH: patch } });
}

/** For the operator's permissions a token is enough, as it would be a login otherwise. */
function startNewest(): Promise<Mlflow> {
  return start({ python: pythonOfStack(), environment: { OIDC_TRUST_BEARER_GROUP_CLAIMS: 'true' } });
}

async function start(
  options: Pick<Parameters<typeof startMlflow>[0], 'python' | 'environment'>,
): Promise<Mlflow> {
  const mlflow = await startMlflow({
    directory: join(directory, 'mlflow'),
    oidc,
    browser: { clientId: 'mlflow', secret: randomBytes(24).toString('base64url') },
    sessionSecret: randomBytes(24).toString('base64url'),
    ...options,
  });
  whenOver(async () => void (await mlflow.stop()));
  return mlflow;
}

async function upgradeDatabase(): Promise<void> {
  const database = `sqlite:///${join(directory, 'mlflow', 'mlflow.db')}`;
  const { python } = pythonOfStack();
  await promisify(execFile)(python, ['-m', 'mlflow', 'db', 'upgrade', database], { env: pythonEnv() });
}

/** Runs the README's command, with this address in it. */
async function check(mlflowUrl: string): Promise<string> {
  const [command] = /^printf .*\/v1\/traces$/m.exec(await readFile(README, 'utf8')) ?? [];
  if (command === undefined) throw new Error('the README has no such command');
  const { stdout } = await promisify(execFile)('sh', [
    '-c',
    command.replace('https://mlflow.example.com', mlflowUrl),
  ]);
  return stdout.trim();
}

async function postWithoutToken(
  mlflowUrl: string,
  request: Parameters<typeof toProtobuf>[0],
): Promise<number> {
  const headers = { 'content-type': 'application/x-protobuf', 'x-mlflow-experiment-id': EXPERIMENT };
  const response = await fetch(`${mlflowUrl}/v1/traces`, {
    method: 'POST',
    headers,
    body: toProtobuf(request),
  });
  return response.status;
}

function pythonOfStack() {
  return { directory: '', python: inject('stack').python, id: '' };
}

function clientOf(server: Mlflow, clientId: string): MlflowClient {
  return createMlflowClient(server.url, () => oidc.token(clientId));
}

async function stackOf(server: Mlflow): Promise<Stack> {
  const certificates = await writeDevelopmentCertificates(join(directory, 'certificates'), {
    clientUri: 'spiffe://e2e.example/ns/test/sa/sender',
  });
  return {
    mlflowUrl: server.url,
    issuer: oidc.issuer,
    client: RELAY,
    certificates,
    python: inject('stack').python,
    mlflow: clientOf(server, RELAY.clientId),
    token: () => oidc.token(RELAY.clientId),
    experimentName: () => `migration-${randomBytes(6).toString('hex')}`,
    stop: async () => {},
  };
}
