import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { stringify } from 'yaml';
import { REALM_FILE } from '../stack/keycloak.ts';
import { waitFor } from '../stack/processes.ts';
import { postedForm, startBrowser } from './support/browser.ts';
import type { Page } from './support/browser.ts';
import { runCommand, startCommand } from './support/command.ts';
import { expectStored } from './support/compare.ts';
import { configurationWith, diagnosed } from './support/doctor.ts';
import { RELAY_CLIENT, startKeycloakStack } from './support/keycloak.ts';
import type { KeycloakStack } from './support/keycloak.ts';
import {
  DEADLINE_MS,
  accountOf,
  destinationStatus,
  expectBalanced,
  isReady,
  metric,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { streamTraces } from './support/sender.ts';
import type { Stream } from './support/sender.ts';
import { skipWithout } from './support/skip.ts';
import { makeTrace, requestOf } from './support/traces.ts';
import { SeenIds, transcriptsIn } from './support/transcript.ts';

const TOKENS = 'token_requests_total{destination="mlflow",result="token"}';
const UNAUTHORIZED = 'upstream_request_duration_seconds_count{destination="mlflow",outcome="unauthorized"}';
const SHORT_LIFETIME = 5;

/** Keycloak and MLflow take a minute to start again on a machine that has other work. */
const TEST_LIMIT_MS = 400_000;

vi.setConfig({ testTimeout: TEST_LIMIT_MS });

describe.skipIf(skipWithout('java', 'maven'))('Keycloak with the realm for import', () => {
  let stack: KeycloakStack;
  beforeAll(async () => {
    stack = await startKeycloakStack();
  });
  afterAll(() => stack?.stop());

  // A test that fails half-way must not take the others with it.
  beforeEach(async () => {
    const { keycloak, server } = stack;
    if (keycloak.pid() === undefined) await keycloak.start();
    if (server.pid() === undefined) await server.start();
    await keycloak.admin.updateClient(RELAY_CLIENT, { enabled: true });
  });

  const lacks = {
    groups: 'it has no groups claim',
    audience: 'it has no aud claim',
    username: 'it has neither an email nor a preferred_username claim',
  };

  /** What doctor says of each. */
  const diagnoses = {
    groups: { check: 'token groups', fix: /"Group Membership" .*"Full group path" off/ },
    audience: { check: 'token audience', fix: /"Audience" .*OIDC_AUDIENCE/ },
    username: { check: 'token user name', fix: /client scope profile/ },
  };

  // The groups first: mlflow-oidc-auth looks at them for an account that it does not know yet, and only then.
  test.each(Object.entries(lacks))(
    'without the mapper "%s" the token is refused: log and status say what it lacks, and all is delivered with it',
    async (mapper, words) => {
      const { admin } = stack.keycloak;
      const experiment = stack.experimentName();
      const removed = await admin.removeMapper(RELAY_CLIENT, mapper);
      let isBack = false;
      const putBack = async () => {
        if (!isBack) await admin.addMapper(RELAY_CLIENT, removed);
        isBack = true;
      };
      onTestFinished(putBack);
      const relay = await startTestRelay(stack, { experiment: { name: experiment } });
      const trace = makeTrace();
      await relay.sender.send(requestOf(trace.spans));
      const blocked = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
      expect(blocked.reason).toContain('answers 401');
      expect(Object.values(lacks).filter((lack) => blocked.reason?.includes(lack))).toEqual([words]);
      expect(blocked.reason).toContain(`Correct the client "${RELAY_CLIENT}" at the issuer`);
      await expect
        .poll(() => relay.logLines(), { timeout: DEADLINE_MS })
        .toContainEqual(
          expect.objectContaining({
            level: 'error',
            reason: expect.stringContaining(words) as string,
          }) as object,
        );
      expect((await accountOf(relay)).waiting).toBe(2);
      const { check, fix } = diagnoses[mapper as keyof typeof diagnoses];
      expect(
        await diagnosed(relay.configFile, {
          [check]: [new RegExp(words), fix],
        }),
      ).toEqual(['failed token', `failed ${check}`]);

      await putBack();
      await waitUntilDelivered(relay);
      const experimentId = (await stack.mlflow.findExperiment(experiment)) ?? '';
      await expectStored(stack.mlflow, experimentId, [trace]);
      expectBalanced(await accountOf(relay));
    },
  );

  test('as it comes, one token of five minutes serves many traces', async () => {
    const { relay, stream, experiment } = await startStream(300);
    await stream.acknowledge(10);
    await finish(relay, stream, experiment);
    await expect
      .poll(() => relay.logLines(), { timeout: DEADLINE_MS })
      .toContainEqual(
        expect.objectContaining({
          msg: 'first access token',
          lifetimeSeconds: 300,
          username: `service-account-${RELAY_CLIENT}`,
          audience: ['mlflow'],
          groups: ['mlflow'],
        }) as object,
      );
    expect(await metric(relay, TOKENS)).toBe(1);
    expect(await metric(relay, UNAUTHORIZED)).toBe(0);

    const healthy = await runCommand('doctor', '--config', relay.configFile);
    expect(healthy).toMatchObject({ code: 0, stderr: '' });
    expect(healthy.stdout).toMatch(/^0 failed, /m);
    const elsewhere = await configurationWith(relay.configFile, ({ auth }) => {
      auth['issuer'] = stack.issuer.replace(/mlflow$/, 'mlfow');
    });
    expect(
      await diagnosed(elsewhere, {
        'issuer discovery': [/\/realms\/mlfow\/\S+ answers 404/, /a realm that exists .*mlfow/],
      }),
    ).toEqual(['failed issuer discovery']);
  });

  test('it holds no secret, and every import gets its own', async () => {
    const file = await readFile(REALM_FILE, 'utf8');
    expect(file).not.toMatch(/"(secret|credentials|password|privateKey)"/);
    const other = { ...(JSON.parse(file) as object), realm: 'mlflow-again' };
    const secrets = await stack.keycloak.admin.withImportedRealm(other, async (admin) =>
      Promise.all([RELAY_CLIENT, 'mlflow'].map((clientId) => admin.secretOf(clientId))),
    );
    secrets.push(stack.client.secret, await stack.keycloak.admin.secretOf('mlflow'));
    for (const secret of secrets) expect(secret).toMatch(/^[\w-]{32,}$/);
    expect(new Set(secrets).size).toBe(4);
  });

  test('people log in to MLflow with a browser', async () => {
    const person = { username: 'person', password: randomBytes(24).toString('base64url') };
    const email = 'person@e2e.example';
    await stack.keycloak.admin.createUser({ ...person, email, groups: ['mlflow-admin'] });
    const browser = startBrowser();
    const form = await browser.open(stack.mlflowUrl);
    expect(form.url).toMatch(stack.issuer);
    const back = await browser.open(formAction(form), postedForm(person));
    expect(new URL(back.url).origin).toBe(stack.mlflowUrl);
    const who = await browser.open(`${stack.mlflowUrl}/api/2.0/mlflow/users/current`);
    expect(JSON.parse(who.body)).toMatchObject({ username: email, is_admin: true });
  });

  test('what the README shows of token inspect and token revoke is what they print', async () => {
    const readme = await readFile(join(import.meta.dirname, '../../README.md'), 'utf8');
    const { command } = await tokenCommand(stack);
    for (const name of ['inspect', 'revoke']) {
      const typed = `mlflow-trace-relay token ${name} --config relay.yaml`;
      const shown = transcriptsIn(readme).find((transcript) => transcript.command === typed)?.output ?? '';
      const { code, stdout } = await command('token', name).ended;
      const printed = stdout.replaceAll(stack.issuer, 'https://keycloak.example.com/realms/mlflow');
      expect({ code, printed: new SeenIds().matches(shown, printed) ? shown : printed }).toEqual({
        code: 0,
        printed: shown,
      });
    }
  });

  describe('the command token, for people', () => {
    const PUBLIC = 'mlflow-cli';
    const person = { username: 'cli-person', password: randomBytes(24).toString('base64url') };
    const email = 'cli-person@e2e.example';
    beforeAll(async () => {
      const { admin } = stack.keycloak;
      await admin.createPublicClient(PUBLIC, RELAY_CLIENT);
      await admin.createUser({ ...person, email, groups: ['mlflow'] });
    });

    test('by a password, refreshed without it, and revoked', async () => {
      await stack.keycloak.admin.updateRealm({ accessTokenLifespan: SHORT_LIFETIME });
      const { command, folder } = await tokenCommand(stack);
      const passwordFile = join(folder, 'password');
      await writeFile(passwordFile, person.password, { mode: 0o600 });
      const flags = ['--client-id', PUBLIC, '--grant', 'password', '--username', person.username];
      const asPerson = [...flags, '--password-file', passwordFile];
      const first = await command('token', ...asPerson).ended;
      expect(first).toMatchObject({
        code: 0,
        stderr: expect.stringContaining('for users of tests') as string,
      });
      expect(await userOf(stack, first.stdout.trim())).toBe(email);

      await rm(passwordFile);
      await waitFor('the token was not replaced', DEADLINE_MS, async () => {
        const { code, stdout } = await command('token', ...asPerson).ended;
        expect(code).toBe(0);
        return stdout === first.stdout ? undefined : true;
      });

      const [cacheFile = ''] = await readdir(join(folder, 'mlflow-trace-relay/tokens'));
      const kept = await readFile(join(folder, 'mlflow-trace-relay/tokens', cacheFile), 'utf8');
      const { refreshToken } = JSON.parse(kept) as { refreshToken: string };
      const refreshFile = join(folder, 'refresh-token');
      await writeFile(refreshFile, refreshToken, { mode: 0o600 });
      const byRefreshToken = ['--grant', 'refresh_token', '--refresh-token-file', refreshFile, '--no-cache'];
      const refresh = () => command('token', '--client-id', PUBLIC, ...byRefreshToken).ended;
      const again = await refresh();
      expect(again).toMatchObject({ code: 0, stderr: '' });
      expect(await userOf(stack, again.stdout.trim())).toBe(email);

      expect(await command('token', 'revoke', ...asPerson).ended).toMatchObject({ code: 0, stderr: '' });
      expect(await readdir(join(folder, 'mlflow-trace-relay/tokens'))).toEqual([]);
      const ended = await refresh();
      expect(ended.code).toBe(1);
      expect(ended.stderr).toMatch(/invalid_grant.*log in again\ncode: NO_TOKEN\n$/);
      expect(ended.stderr).not.toContain(refreshToken);
    });

    test('by a wrong password: it says what to check, and not the password', async () => {
      const { command, folder } = await tokenCommand(stack);
      const passwordFile = join(folder, 'password');
      await writeFile(passwordFile, 'guessed-password', { mode: 0o600 });
      const flags = ['--grant', 'password', '--username', person.username, '--password-file', passwordFile];
      const { code, stderr } = await command('token', '--client-id', PUBLIC, ...flags).ended;
      expect(code).toBe(1);
      expect(stderr).toContain('check user name and password');
      expect(stderr).not.toContain('guessed-password');
    });

    test('by a browser on any device', async () => {
      const { command } = await tokenCommand(stack);
      const asking = command('token', '--client-id', PUBLIC, '--grant', 'device_code');
      const [, url = '', code = ''] = await asking.says(/Open (\S+) in a browser and enter the code (\S+);/);
      expect(url).toContain(code);
      await allowDevice(url, person);
      const { code: exit, stdout } = await asking.ended;
      expect(exit).toBe(0);
      expect(await userOf(stack, stdout.trim())).toBe(email);
    });

    test('not at all where the client may not', async () => {
      const { command } = await tokenCommand(stack);
      const { code, stderr } = await command('token', '--grant', 'device_code').ended;
      expect(code).toBe(1);
      expect(stderr).toMatch(/refuses the client otel-relay .*device authorization grant/);
    });
  });

  test('tokens of 5 seconds are fetched once a lifetime, and none is refused again and again', async () => {
    const { relay, stream, experiment } = await startStream(SHORT_LIFETIME);
    const begin = await endOfToken(relay);
    const tokens = await metric(relay, TOKENS);
    await waitFor('three more tokens were not fetched', DEADLINE_MS, async () =>
      (await metric(relay, TOKENS)) - tokens >= 3 ? true : undefined,
    );
    const lifetimes = ((await endOfToken(relay)) - begin) / 1000 / SHORT_LIFETIME;
    expect(lifetimes).toBeGreaterThan(1);
    await finish(relay, stream, experiment);
    // mlflow-oidc-auth gives no leeway: one that ends on the way is refused, once, and the trace goes with the next.
    expect(await metric(relay, UNAUTHORIZED)).toBeLessThan(await metric(relay, TOKENS));
    expect(await metric(relay, 'token_requests_total{destination="mlflow",result="rejected"}')).toBe(0);
  });

  test('a rotated client secret is taken up from its file, without a restart', async () => {
    const { relay, stream, experiment } = await startStream(SHORT_LIFETIME);
    const secret = await stack.keycloak.admin.regenerateSecret(RELAY_CLIENT);
    stack.client.secret = secret;
    const blocked = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
    expect(blocked.reason).toMatch(/^no access token: .*check client_id and client_secret_file/);
    await stream.acknowledge(3);
    expect((await accountOf(relay)).waiting).toBeGreaterThan(0);
    expect(
      await diagnosed(relay.configFile, {
        'client authentication': [/refuses the client otel-relay/, /check client_id and client_secret_file/],
      }),
    ).toEqual(['failed client authentication']);

    const pid = relay.pid();
    await writeFile(relay.secretFile, secret);
    await finish(relay, stream, experiment);
    expect(relay.pid()).toBe(pid);
  });

  test('a new signing key that MLflow does not know yet: all is kept, and goes once it does', async () => {
    const { relay, stream, experiment } = await startStream(SHORT_LIFETIME);
    await stack.keycloak.admin.rotateSigningKey();
    const blocked = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
    expect(blocked.reason).toMatch(/answers 401.*After a change of the issuer's signing key/);
    expect(await isReady(relay)).toBe(true);
    await stream.acknowledge(3);

    // What it remembers of the keys ends with it, as it does by itself after five minutes.
    await stack.server.stop();
    await stack.server.start();
    await finish(relay, stream, experiment);
  });

  test('a client that is disabled: all is kept, and goes once it is enabled again', async () => {
    const { relay, stream, experiment } = await startStream(SHORT_LIFETIME);
    const { admin } = stack.keycloak;
    await admin.updateClient(RELAY_CLIENT, { enabled: false });
    const blocked = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
    expect(blocked.reason).toMatch(/^no access token: .*refuses the client otel-relay/);
    expect(await isReady(relay)).toBe(true);
    await stream.acknowledge(3);
    expect(
      await diagnosed(relay.configFile, {
        'client authentication': [/refuses the client otel-relay/, /that the client is enabled/],
      }),
    ).toEqual(['failed client authentication']);

    await admin.updateClient(RELAY_CLIENT, { enabled: true });
    await finish(relay, stream, experiment);
  });

  test('Keycloak stopped and started again while traces come', async () => {
    const { relay, stream, experiment } = await startStream(SHORT_LIFETIME);
    await stack.keycloak.stop();
    const words = `no access token: nothing listens at ${new URL(stack.issuer).host}`;
    // While it stops, it may say something else first.
    await waitForDestination(relay, 'retrying', ({ state, reason = '' }) => {
      return state === 'retrying' && reason.includes(words);
    });
    expect(await isReady(relay)).toBe(true);
    await stream.acknowledge(3);

    await stack.keycloak.start();
    await finish(relay, stream, experiment);
  });

  /** A relay with traces under way, of which the first is in MLflow. */
  async function startStream(tokenLifetime: number) {
    await stack.keycloak.admin.updateRealm({ accessTokenLifespan: tokenLifetime });
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const stream = streamTraces(relay.sender, 500);
    await stack.mlflow.waitForTraces(experiment, 1);
    return { relay, stream, experiment };
  }

  /** More traces come; then all that were taken are in MLflow as they were sent. */
  async function finish(relay: TestRelay, stream: Stream, experiment: string): Promise<void> {
    await stream.acknowledge(3);
    await stream.stop();
    await waitUntilDelivered(relay);
    expect(await destinationStatus(relay)).toMatchObject({ state: 'up' });
    await expectStored(stack.mlflow, experiment, stream.acknowledged);
    const account = await accountOf(relay);
    expect(account).toMatchObject({ waiting: 0, rejected: 0, deadLetters: 0 });
    expectBalanced(account);
  }
});

/** The command with a configuration of this stack and a cache of its own. */
async function tokenCommand({ client, issuer, mlflowUrl }: KeycloakStack) {
  const folder = await temporaryFolder();
  const config = join(folder, 'relay.yaml');
  const auth = {
    kind: 'client_credentials',
    issuer,
    client_id: client.clientId,
    client_secret_file: join(folder, 'secret'),
  };
  await writeFile(join(folder, 'secret'), client.secret, { mode: 0o600 });
  const mlflow = { kind: 'mlflow', url: mlflowUrl, experiment: { id: '0' }, auth };
  await writeFile(config, stringify({ destinations: { mlflow } }));
  const command = (...args: string[]) => startCommand({ XDG_CACHE_HOME: folder }, ...args, '-c', config);
  return { folder, command };
}

/** Whom MLflow takes the bearer for. */
async function userOf({ mlflowUrl }: KeycloakStack, token: string): Promise<unknown> {
  const answer = await fetch(`${mlflowUrl}/api/2.0/mlflow/users/current`, {
    headers: { authorization: `Bearer ${token}`, connection: 'close' },
  });
  return ((await answer.json()) as { username: unknown }).username;
}

/** What a person does in the browser: logs in, and allows it. */
async function allowDevice(url: string, person: { username: string; password: string }): Promise<void> {
  const browser = startBrowser();
  const login = await browser.open(url);
  const consent = await browser.open(formAction(login), postedForm(person));
  const action = new URL(formAction(consent), consent.url).href;
  const hidden = /name="code" value="([^"]+)"/.exec(consent.body)?.[1] ?? '';
  const done = await browser.open(action, postedForm({ code: hidden, accept: 'Yes' }));
  expect(done.status).toBe(200);
}

function formAction({ body }: Page): string {
  return /<form[^>]* action="([^"]+)"/.exec(body)?.[1]?.replaceAll('&amp;', '&') ?? '';
}

/** Milliseconds since the epoch. */
async function endOfToken(relay: TestRelay): Promise<number> {
  const { token_expires_at: end = '' } = await waitForDestination(
    relay,
    'with a token',
    (status) => status.token_expires_at !== undefined,
  );
  return Date.parse(end);
}
