import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { ensureOauth2Proxy, startOauth2Proxy } from '../stack/oauth2-proxy.ts';
import type { Oauth2Proxy } from '../stack/oauth2-proxy.ts';
import { startCommand } from './support/command.ts';
import { expectStored } from './support/compare.ts';
import { startFront } from './support/front.ts';
import {
  accountOf,
  clientFiles,
  expectBalanced,
  metric,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { skipWithout } from './support/skip.ts';
import { startOwnStack, useSharedStack } from './support/stack.ts';
import type { OwnStack, Stack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

/* What stands before MLflow and looks at tokens too, and no longer takes one before its time has come. */

const TOKENS = 'token_requests_total{destination="mlflow",result="token"}';
const UNAUTHORIZED = 'upstream_request_duration_seconds_count{destination="mlflow",outcome="unauthorized"}';

/** A request that was not let in, a token fetched for it, and nobody told that the destination is blocked. */
const ONE_FRESH_TOKEN = { unauthorized: 1, tokens: 1, errors: [] };

/**
 * A trace before, and one after the token in use was spoiled; both are stored.
 * @returns what the second cost
 */
async function costOf(relay: TestRelay, stack: Stack, experiment: string, spoil: () => unknown) {
  const traces = [makeTrace(3), makeTrace(3)] as const;
  await relay.sender.send(requestOf(traces[0].spans));
  await waitUntilDelivered(relay);
  const tokensBefore = await metric(relay, TOKENS);

  await spoil();
  await relay.sender.send(requestOf(traces[1].spans));
  await waitUntilDelivered(relay);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ waiting: 0, rejected: 0, deadLetters: 0 });
  expectBalanced(account);
  await expectStored(stack.mlflow, experiment, traces);
  return {
    unauthorized: await metric(relay, UNAUTHORIZED),
    tokens: (await metric(relay, TOKENS)) - tokensBefore,
    errors: (await relay.logLines()).filter(({ level }) => level === 'error'),
  };
}

describe('a proxy that forgets tokens', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await useSharedStack();
  });
  afterAll(() => stack?.stop());

  test.each<[string, (response: ServerResponse) => unknown]>([
    ['302', (response) => response.writeHead(302, { location: 'https://login.example/' }).end()],
    ['403', (response) => response.writeHead(403, { 'content-type': 'text/plain' }).end('access denied')],
    [
      'a login page',
      (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>'),
    ],
  ])('and answers %s to them: one fresh token', async (_, answer) => {
    const front = await startFront(stack.mlflowUrl, 'open');
    const name = stack.experimentName();
    const experiment = await stack.mlflow.ensureExperiment(name);
    const relay = await startTestRelay({ ...stack, mlflowUrl: front.url }, { experiment: { name } });
    expect(await costOf(relay, stack, experiment, () => front.forget(answer))).toEqual(ONE_FRESH_TOKEN);
  });

  test('an account without permission: one fresh token is tried, and the destination is blocked', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(
      { ...stack, client: inject('stack').otherClient },
      { experiment: { id: experiment } },
    );
    const trace = makeTrace(3);
    await relay.sender.send(requestOf(trace.spans));
    const { reason } = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
    expect(reason).toContain(`service-account-other needs EDIT on experiment ${experiment}`);
    expect(await metric(relay, TOKENS)).toBeGreaterThanOrEqual(2);
    expect(await metric(relay, UNAUTHORIZED)).toBe(1);

    await stack.mlflow.grant(experiment, 'service-account-other', 'EDIT');
    await waitUntilDelivered(relay);
    await expectStored(stack.mlflow, experiment, [trace]);
  });
});

describe.skipIf(skipWithout('go')).each([
  ['mlflow-oidc-auth, without a base path', {}],
  ['an open MLflow, with a base path', { isOpen: true, basePath: '/mlflow' }],
])('oauth2-proxy before %s', (_, options) => {
  let stack: OwnStack;
  let binary: string;
  beforeAll(async () => {
    binary = await ensureOauth2Proxy();
    stack = await startOwnStack(options);
  });
  afterAll(() => stack?.stop());

  /** @returns it, and its address for the relay */
  async function startProxy(...flags: string[]): Promise<{ proxy: Oauth2Proxy; url: string }> {
    const proxy = await startOauth2Proxy({
      binary,
      directory: await temporaryFolder(),
      oidc: stack.oidc,
      upstream: `${stack.mlflowUrl}/`,
      flags,
    });
    onTestFinished(async () => void (await proxy.stop()));
    return { proxy, url: proxy.url + new URL(stack.mlflowUrl).pathname.replace(/\/$/, '') };
  }

  test.each([
    ['a sign-in page', []],
    ['a redirect', ['--skip-provider-button']],
  ])(
    'stores; to a token that it no longer takes it answers by %s: one fresh token',
    async (_answer, flags) => {
      const { proxy, url } = await startProxy(...flags);
      const name = stack.experimentName();
      const experiment = await stack.mlflow.ensureExperiment(name);
      const relay = await startTestRelay({ ...stack, mlflowUrl: url }, { experiment: { name } });
      const cost = await costOf(relay, stack, experiment, async () => {
        await stack.rotateSigningKey();
        // With the keys that it had it would take the old token on.
        await proxy.stop();
        await proxy.start();
      });
      expect(cost).toEqual(ONE_FRESH_TOKEN);
    },
  );

  test('inject reads back through it what the relay has stored', async () => {
    const { url } = await startProxy();
    const relay = await startTestRelay({ ...stack, mlflowUrl: url });
    const { caFile, certFile, keyFile } = clientFiles(stack);
    const variables = {
      OTEL_EXPORTER_OTLP_ENDPOINT: relay.url,
      OTEL_EXPORTER_OTLP_CERTIFICATE: caFile,
      OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: certFile,
      OTEL_EXPORTER_OTLP_CLIENT_KEY: keyFile,
    };
    const command = startCommand(variables, 'inject', '--config', relay.configFile, '--wait', '30s');
    expect(await command.ended).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('stored and equal') as string,
    });
  });

  test('does not take bearer tokens: that is named as what to change', async () => {
    const { url } = await startProxy('--skip-jwt-bearer-tokens=false');
    const relay = await startTestRelay({ ...stack, mlflowUrl: url });
    await relay.sender.send(requestOf(makeTrace().spans));
    const { reason } = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
    expect(reason).toContain('oauth2-proxy, which stands before MLflow, takes bearer tokens with --skip-jwt');
    expect(reason).not.toContain('mlflow-oidc-auth');
  });
});
