import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { examine } from '../../src/doctor/doctor.ts';
import type { Check } from '../../src/doctor/checkup.ts';
import { problemsIn } from '../doctor/setting.ts';
import { startOidcProvider } from '../stack/oidc-provider.ts';
import { runCommand } from './support/command.ts';
import { configurationWith, diagnosed } from './support/doctor.ts';
import type { Destination } from './support/doctor.ts';
import { startFront } from './support/front.ts';
import { startTestRelay } from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';

/* The doctor before the real MLflow with mlflow-oidc-auth; what is wrong elsewhere, test/doctor/ shows. */

let stack: Stack;
let relay: TestRelay;
/** Of the relay's account. */
let experiment: { id: string; name: string };
const cleanUps: (() => Promise<void>)[] = [];
beforeAll(async () => {
  stack = await useSharedStack();
  cleanUps.push(() => stack.stop());
  const name = stack.experimentName();
  experiment = { id: await stack.mlflow.ensureExperiment(name), name };
  relay = await startTestRelay(stack, { experiment: { name } }, (finish) => cleanUps.push(finish));
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

async function deletedExperiment(): Promise<string> {
  const id = await stack.mlflow.ensureExperiment(stack.experimentName());
  const deleted = await fetch(`${stack.mlflowUrl}/api/2.0/mlflow/experiments/delete`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await stack.token()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ experiment_id: id }),
  });
  expect(deleted.status).toBe(200);
  return id;
}

/** Makes the relay another account: one that MLflow knows, or one of another issuer. */
async function becomes(
  { auth }: Destination,
  directory: string,
  client: { clientId: string; secret: string },
  issuer = stack.issuer,
): Promise<void> {
  const file = join(directory, 'secret');
  await writeFile(file, client.secret, { mode: 0o600 });
  Object.assign(auth, { issuer, client_id: client.clientId, client_secret_file: file });
}

test('beside a running relay with which all is right: exit code 0, every check is done, and nothing is changed', async () => {
  const queue = join(relay.directory, 'queue');
  const before = await readdir(queue);
  const holder = await readFile(join(queue, 'lock.holder'), 'utf8');
  const { code, stdout, stderr } = await runCommand('doctor', '--config', relay.configFile);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain(
    `receiver port: 127.0.0.1:${new URL(relay.url).port} is held by the running relay`,
  );
  expect(stdout).toMatch(/^ok {7}mlflow: MLflow health: MLflow is well, with mlflow-oidc-auth before it$/m);
  expect(stdout).toMatch(/^ok {7}mlflow: MLflow version: MLflow 3\.\d+\.\d+$/m);
  expect(stdout).toMatch(/^ok {7}mlflow: MLflow store: MLflow has a database; it does not tell which$/m);
  expect(stdout).toMatch(/^ok {7}mlflow: requests without a token: are refused \(401\)$/m);
  expect(stdout).toMatch(/^ok {7}mlflow: token user name: the token names the relay service-account-relay$/m);
  expect(stdout).toMatch(
    new RegExp(
      `^ok {7}mlflow: permission: .*service-account-relay may write experiment ${experiment.id}$`,
      'm',
    ),
  );
  expect(stdout).toMatch(/^0 failed, \d+ warnings?, \d+ ok, [01] skipped$/m);
  expect(stdout).not.toContain(stack.client.secret);

  expect(await readdir(queue)).toEqual(before);
  expect(await readFile(join(queue, 'lock.holder'), 'utf8')).toBe(holder);
  expect(await stack.mlflow.searchTraces(experiment.id)).toEqual([]);
});

describe('what is wrong is named', () => {
  test.each<[string, (to: Destination, directory: string) => unknown, string[], RegExp, RegExp]>([
    [
      'no token is configured',
      (to) => (to.auth = { kind: 'none' }),
      ['failed requests without a token'],
      /answers 401 \(Authentication required\): it wants to know who asks, and auth is none/,
      /kind: client_credentials/,
    ],
    [
      'tokens of an issuer that MLflow does not know, without a group',
      async (to, directory) => {
        const client = { clientId: 'relay', secret: 'of-another-issuer' };
        const oidc = await startOidcProvider({
          port: 0,
          services: [{ ...client, username: 'service-account-relay', groups: [] }],
        });
        onTestFinished(() => oidc.stop());
        await becomes(to, directory, client, oidc.issuer);
      },
      ['failed token', 'failed token groups'],
      /answers 401 .*MLflow does not take the token/,
      /Compare with the settings of mlflow-oidc-auth: it has aud "mlflow" \(OIDC_AUDIENCE\).*issuer "http/,
    ],
    [
      'an experiment that is not there',
      (to) => (to.experiment = { id: '999999' }),
      // As mlflow-oidc-auth has it: who may not write it is not told whether it is there.
      ['failed permission'],
      /needs EDIT on experiment 999999, which must exist/,
      /give the service account service-account-relay EDIT .*, and see that the id is right/,
    ],
    [
      'a deleted experiment',
      async (to) => (to.experiment = { id: await deletedExperiment() }),
      ['failed experiment'],
      /is deleted in MLflow at http/,
      /restore experiment \d+ in MLflow/,
    ],
    [
      'an experiment of another account, by its id',
      async (to, directory) => {
        to.experiment = { id: experiment.id };
        await becomes(to, directory, inject('stack').otherClient);
      },
      ['failed permission'],
      /answers 403 .*service-account-other needs EDIT on experiment/,
      /give the service account service-account-other EDIT or MANAGE/,
    ],
    [
      'an experiment of another account, by its name',
      (to, directory) => becomes(to, directory, inject('stack').otherClient),
      ['failed experiment'],
      /answers 403/,
      /give the service account service-account-other EDIT or MANAGE/,
    ],
    [
      'a path below which MLflow is not',
      (to) => (to.url += '/mlflow'),
      ['warning MLflow health', 'failed OTLP route'],
      /\/mlflow\/health answers 404/,
      /give destinations\.mlflow\.url the address at which MLflow itself answers/,
    ],
    [
      'a login page before MLflow',
      async (to) => (to.url = (await startFront(stack.mlflowUrl, 'login')).url),
      ['failed MLflow health', 'failed OTLP route'],
      /answers 200 \(a page of HTML\): that is not MLflow/,
      /let requests with a bearer token through/,
    ],
  ])('%s', async (_, change, problems, words, fix) => {
    const file = await configurationWith(relay.configFile, change);
    const first = problems[0]?.replace(/^\w+ /, '') ?? '';
    expect(await diagnosed(file, { [first]: [words, fix] })).toEqual(problems);
  });

  test('an experiment that MLflow does not show is not said to be there', async () => {
    const file = await configurationWith(relay.configFile, (to) => (to.experiment = { id: '999999' }));
    const { checks } = await examine(file, {}, (destinations) => destinations);
    expect(checks.find(({ name }) => name === 'experiment')).toMatchObject({
      state: 'skipped',
      words: expect.stringContaining('be it there or not; "permission" tells') as string,
    });
  });

  test('an experiment of a name that is not there yet is no failure, and is not made', async () => {
    const name = stack.experimentName();
    const file = await configurationWith(relay.configFile, (to) => (to.experiment = { name }));
    const { checks } = await examine(file, {}, (destinations) => destinations);
    expect(problemsIn(checks)).toEqual(['warning experiment']);
    expect(checks.at(-1)).toMatchObject({ name: 'permission', state: 'skipped' });
    expect(await stack.mlflow.findExperiment(name)).toBeUndefined();
  });
});

describe('for scripts', () => {
  test('a failure: exit code 1, and one JSON document', async () => {
    const file = await configurationWith(relay.configFile, async (to, directory) =>
      becomes(to, directory, { ...stack.client, secret: 'wrong' }),
    );
    const { code, stdout } = await runCommand(
      'doctor',
      '--config',
      file,
      '--json',
      '--destination',
      'mlflow',
    );
    expect(code).toBe(1);
    const report = JSON.parse(stdout) as { configuration: string; result: string; checks: Check[] };
    expect(report).toMatchObject({ configuration: file, result: 'failed' });
    expect(problemsIn(report.checks)).toEqual(['failed client authentication']);
  });

  test('a configuration that cannot be used: exit code 2, and its lines', async () => {
    const file = await configurationWith(relay.configFile, (to) => Object.assign(to, { experimnt: {} }));
    const { code, stdout } = await runCommand('doctor', '--config', file);
    expect(code).toBe(2);
    expect(stdout).toMatch(
      /^failed {3}configuration: \S+relay\.yaml:\d+:\d+ destinations\.mlflow\.experimnt: unknown key; did you mean experiment\?\n {11}fix: correct these lines/,
    );
  });

  test('a destination that is not there: exit code 2', async () => {
    const { code, stderr } = await runCommand(
      'doctor',
      '--config',
      relay.configFile,
      '--destination',
      'mlfow',
    );
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean mlflow?');
  });
});
