import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { stringify } from 'yaml';
import { startCommand } from './support/command.ts';
import { temporaryFolder } from './support/relay.ts';
import { startOwnStack } from './support/stack.ts';
import type { OwnStack } from './support/stack.ts';

const SHORT_LIFETIME = 5;
/** Longer than three of those tokens live. */
const JOB_SECONDS = 16;
const JOB = `
import mlflow, sys, time
mlflow.set_experiment(experiment_id=sys.argv[1])
with mlflow.start_run() as run:
    end = time.monotonic() + float(sys.argv[2])
    step = 0
    while time.monotonic() < end:
        mlflow.log_metric("step", step, step=step)
        step += 1
        time.sleep(0.2)
assert mlflow.get_run(run.info.run_id).data.metrics["step"] == step - 1
mlflow.search_traces(locations=[sys.argv[1]])
print("done")
`;

let stack: OwnStack;
beforeAll(async () => {
  stack = await startOwnStack();
});
afterAll(() => stack?.stop());

let config: string;
beforeEach(async () => {
  stack.oidc.setTokenLifetime(300);
  const folder = await temporaryFolder();
  config = join(folder, 'relay.yaml');
  const { clientId: client_id, secret } = stack.client;
  await writeFile(join(folder, 'secret'), secret, { mode: 0o600 });
  const auth = { kind: 'client_credentials', issuer: stack.issuer, client_id, client_secret_file: 'secret' };
  const mlflow = { kind: 'mlflow', url: stack.mlflowUrl, experiment: { id: '0' }, auth };
  await writeFile(config, stringify({ destinations: { mlflow } }));
});

const proxy = (...args: string[]) => startCommand({}, 'proxy', '--config', config, ...args);

/** The door for as long as the test lasts. */
async function openDoor() {
  const running = proxy('--port', '0');
  onTestFinished(async () => {
    running.kill('SIGTERM');
    expect(await running.ended).toMatchObject({ code: 0 });
  });
  const [, url = '', username = '', password = ''] = await running.prints(
    /^MLFLOW_TRACKING_URI=(.*)\nMLFLOW_TRACKING_USERNAME=(.*)\nMLFLOW_TRACKING_PASSWORD=(.*)\n/,
  );
  const ask = (path: string, init: RequestInit = {}, as = { username, password }) =>
    fetch(url + path, {
      ...init,
      headers: {
        ...init.headers,
        connection: 'close',
        authorization: `Basic ${btoa(`${as.username}:${as.password}`)}`,
      },
    });
  return { url, username, password, ask };
}

const CURRENT_USER = '/api/2.0/mlflow/users/current';

test('a job with the unchanged SDK outlives three tokens', async () => {
  stack.oidc.setTokenLifetime(SHORT_LIFETIME);
  const before = stack.oidc.tokenRequests();
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const ended = await proxy('--', stack.python, '-c', JOB, experiment, String(JOB_SECONDS)).ended;
  expect(ended).toMatchObject({ code: 0, stdout: expect.stringContaining('done\n') as string });
  // Those of this test's own client are among them.
  expect(stack.oidc.tokenRequests() - before).toBeGreaterThan(3);
});

test('the door is shut to others', async () => {
  const { url, username, password, ask } = await openDoor();
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  const answers = await Promise.all([
    fetch(url + CURRENT_USER, { headers: { connection: 'close' } }),
    ask(CURRENT_USER, {}, { username, password: `${password}x` }),
    ask(CURRENT_USER, {}, { username: 'other', password }),
    fetch(url + CURRENT_USER, {
      headers: { connection: 'close', authorization: `Bearer ${await stack.token()}` },
    }),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401]);
  expect(answers[0]?.headers.get('www-authenticate')).toMatch(/^Basic /);
  const inside = await ask(CURRENT_USER);
  expect(await inside.json()).toMatchObject({ username: 'service-account-relay' });
});

test('artifacts larger than what is kept, and queries, pass as they are; the UI is there', async () => {
  const { ask } = await openDoor();
  const name = `proxy-${randomBytes(4).toString('hex')}`;
  const created = await ask('/api/2.0/mlflow/experiments/create', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name }),
  });
  const { experiment_id: id } = (await created.json()) as { experiment_id: string };
  const found = await ask(`/api/2.0/mlflow/experiments/get-by-name?experiment_name=${name}`);
  expect(await found.json()).toMatchObject({ experiment: { experiment_id: id } });

  const run = await ask('/api/2.0/mlflow/runs/create', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ experiment_id: id }),
  });
  const {
    run: { info },
  } = (await run.json()) as { run: { info: { artifact_uri: string } } };
  const path = `/api/2.0/mlflow-artifacts/artifacts/${info.artifact_uri.replace(/^mlflow-artifacts:\/*/, '')}/large`;
  const artifact = randomBytes(5 * 1024 * 1024);
  const put = await ask(path, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: artifact,
  });
  expect(put.status).toBe(200);
  const got = Buffer.from(await (await ask(path)).arrayBuffer());
  expect(got.equals(artifact)).toBe(true);

  const ui = await ask('/', { headers: { accept: 'text/html' } });
  expect({ status: ui.status, type: ui.headers.get('content-type') }).toEqual({
    status: 200,
    type: expect.stringContaining('text/html') as string,
  });
});

test('a request whose token is no longer taken goes again with another one', async () => {
  const { ask } = await openDoor();
  expect((await ask(CURRENT_USER)).status).toBe(200);
  await stack.rotateSigningKey();
  const before = stack.oidc.tokenRequests();
  const answer = await ask('/api/2.0/mlflow/experiments/search', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ max_results: 1 }),
  });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('www-authenticate')).toBeNull();
  expect(stack.oidc.tokenRequests() - before).toBe(1);
});

test('what is away is named', async () => {
  const { ask } = await openDoor();
  await stack.oidc.stop();
  const noToken = await ask(CURRENT_USER);
  await stack.oidc.start();
  expect(noToken.status).toBe(503);
  expect(((await noToken.json()) as { message: string }).message).toContain(
    `nothing listens at ${new URL(stack.issuer).host}`,
  );
});

test('with a command it ends as that ends', async () => {
  const program =
    'console.log([process.env.MLFLOW_TRACKING_USERNAME, process.argv[1]].join()); process.exit(7)';
  const ended = await proxy(process.execPath, '-e', program, '--', '-c').ended;
  expect(ended).toEqual({ code: 7, stdout: 'relay,-c\n', stderr: '' });
  const missing = await proxy('--', 'no-such-program').ended;
  expect(missing.code).toBe(127);
  expect(missing.stderr).toBe('error: no-such-program: command not found\n');
  const killed = await proxy('--', 'sh', '-c', 'kill -TERM $$').ended;
  expect(killed.code).toBe(143);
});
