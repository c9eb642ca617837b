import { execFile } from 'node:child_process';
import { chmod, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { runCommandWith } from './support/command.ts';
import { startTestRelay, temporaryFolder } from './support/relay.ts';
import { startOwnStack } from './support/stack.ts';
import type { OwnStack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

let stack: OwnStack;
beforeAll(async () => {
  stack = await startOwnStack();
});
afterAll(() => stack?.stop());

let folder: string;
let config: string;
beforeEach(async () => {
  stack.oidc.setTokenLifetime(300);
  folder = await temporaryFolder();
  config = join(folder, 'relay.yaml');
  await writeFile(join(folder, 'secret'), stack.client.secret, { mode: 0o600 });
  await writeFile(config, stringify({ destinations: { mlflow: destination() } }));
});

function destination(auth: Record<string, unknown> = {}) {
  return {
    kind: 'mlflow',
    url: stack.mlflowUrl,
    experiment: { id: '0' },
    auth: {
      kind: 'client_credentials',
      issuer: stack.issuer,
      client_id: stack.client.clientId,
      client_secret_file: 'secret',
      ...auth,
    },
  };
}

/** With a cache that is this test's alone. */
async function token(...args: readonly string[]) {
  const ended = await runCommandWith({ env: { XDG_CACHE_HOME: folder } }, 'token', ...args, '-c', config);
  return ended;
}

async function printed(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await token(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trimEnd();
}

async function cacheFile(): Promise<string> {
  const directory = join(folder, 'mlflow-trace-relay', 'tokens');
  const [name = ''] = await readdir(directory);
  return join(directory, name);
}

describe('a token for the configured destination', () => {
  test('is taken by MLflow, in each format, and fetched once', async () => {
    const before = stack.oidc.tokenRequests();
    const value = await printed();
    expect(await printed('--format', 'header')).toBe(`Authorization: Bearer ${value}`);
    expect(await printed('--format', 'env')).toBe(
      `MLFLOW_TRACKING_URI=${stack.mlflowUrl}\nMLFLOW_TRACKING_TOKEN=${value}`,
    );
    const json = JSON.parse(await printed('--format', 'json')) as Record<string, string>;
    expect(json).toMatchObject({
      access_token: value,
      token_type: 'Bearer',
      username: 'service-account-relay',
      audience: ['mlflow'],
      groups: ['mlflow'],
    });
    expect(Date.parse(json['expires_at'] ?? '')).toBeGreaterThan(Date.now() + 200_000);
    expect(stack.oidc.tokenRequests() - before).toBe(1);

    const answer = await fetch(`${stack.mlflowUrl}/api/2.0/mlflow/experiments/search?max_results=1`, {
      headers: { authorization: `Bearer ${value}` },
    });
    expect(answer.status).toBe(200);
  });

  test('is kept for this user alone; one that others could have read or written is not used', async () => {
    const first = await printed();
    const file = await cacheFile();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(file, '..'))).mode & 0o777).toBe(0o700);

    await chmod(file, 0o644);
    const second = await printed();
    expect(second).not.toBe(first);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await printed()).toBe(second);

    await writeFile(file, 'damaged');
    expect(await printed()).not.toBe(second);
    expect(await printed('--no-cache')).not.toBe(JSON.parse(await readFile(file, 'utf8')).accessToken);
  });

  test('is replaced before it ends; and used to its end while the issuer is away', async () => {
    const value = await printed();
    const file = await cacheFile();
    const kept = JSON.parse(await readFile(file, 'utf8')) as { obtainedAt: number; expiresAt: number };
    // As if four fifths of its life were over.
    const earlier = { ...kept, obtainedAt: kept.obtainedAt - 240_000, expiresAt: kept.expiresAt - 240_000 };
    await writeFile(file, JSON.stringify(earlier));
    await stack.oidc.stop();
    try {
      const { code, stdout, stderr } = await token();
      expect({ code, stdout }).toEqual({ code: 0, stdout: `${value}\n` });
      expect(stderr).toContain('warning: the kept token is used, which ends soon: nothing listens at');
      const none = await token('--no-cache');
      expect({ code: none.code, stdout: none.stdout }).toEqual({ code: 1, stdout: '' });
      expect(none.stderr).toMatch(/^error: nothing listens at .*\ncode: NO_TOKEN\n$/);
    } finally {
      await stack.oidc.start();
    }
    expect(await printed()).not.toBe(value);
  });

  test('is not to be had without right, without flags that belong together, or where none is needed', async () => {
    await writeFile(join(folder, 'secret'), 'wrong', { mode: 0o600 });
    const wrong = await token();
    expect({ code: wrong.code, stdout: wrong.stdout }).toEqual({ code: 1, stdout: '' });
    expect(wrong.stderr).toMatch(/refuses the client relay .*check client_id and client_secret_file/);
    expect(wrong.stderr).not.toContain(stack.client.secret);

    const grant = await token('--grant', 'password', '--username', 'somebody');
    expect(grant.code).toBe(2);
    expect(grant.stderr).toContain('--grant password needs --password-file');

    await writeFile(
      config,
      stringify({ destinations: { mlflow: { ...destination(), auth: { kind: 'none' } } } }),
    );
    const none = await token();
    expect(none.code).toBe(2);
    expect(none.stderr).toContain('destination mlflow needs no token');
  });

  test('serves the MLflow command line and SDK, as variables', async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const trace = makeTrace();
    await relay.sender.send(requestOf(trace.spans));
    await stack.mlflow.waitForTraces(experiment, 1);

    // As a shell has it: export $(mlflow-trace-relay token --format env)
    const variables = Object.fromEntries(
      (await printed('--format', 'env')).split(/\s+/).map((line) => line.split('=', 2)),
    ) as Record<string, string>;
    const env = { ...process.env, ...variables };
    const script = `
import mlflow, sys
mlflow.set_experiment(experiment_id=sys.argv[1])
with mlflow.start_run() as run:
    mlflow.log_param("by", "token")
print(mlflow.get_run(run.info.run_id).data.params["by"])
print([t.info.trace_id for t in mlflow.search_traces(locations=[sys.argv[1]], return_type="list")])
`;
    const run = promisify(execFile);
    const [sdk, cli] = await Promise.all([
      run(stack.python, ['-c', script, experiment], { env, timeout: 60_000 }),
      run(stack.python, ['-m', 'mlflow', 'traces', 'search', '--experiment-id', experiment], {
        env,
        timeout: 60_000,
      }),
    ]);
    expect(sdk.stdout).toContain('token\n');
    expect(sdk.stdout).toContain(trace.traceId);
    expect(cli.stdout).toContain(trace.traceId);
  });
});

describe('token inspect', () => {
  test('shows what the token says and what MLflow will take, and never the token', async () => {
    const value = await printed();
    const shown = await printed('inspect');
    expect(shown).toContain('user name for MLflow  service-account-relay\n');
    expect(shown).toContain('audience              mlflow\n');
    expect(shown).toContain('groups                mlflow\n');
    expect(shown).toMatch(/^expires +\d{4}-.*Z \(in \d+ s\)$/m);
    expect(shown).not.toContain(value);
    expect(JSON.parse(await printed('inspect', '--json'))).toMatchObject({
      username: 'service-account-relay',
      issuer: stack.issuer,
      lacks: [],
    });
  });

  test('reads one from standard input, and says what MLflow will miss', async () => {
    const poor = `${part({ alg: 'none' })}.${part({ iss: 'https://issuer.example', exp: 1 })}.x`;
    const { code, stdout } = await runCommandWith(
      { input: poor },
      'token',
      'inspect',
      '--stdin',
      '-c',
      config,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^expires +1970-01-01T00:00:01\.000Z \(\d+ s ago\)$/m);
    expect(stdout).toContain('missing: it has no aud claim');
    expect(stdout).toContain('missing: it has no groups claim');

    const opaque = await runCommandWith({ input: 'opaque\n' }, 'token', 'inspect', '--stdin', '-c', config);
    expect(opaque.code).toBe(1);
    expect(opaque.stderr).toContain('this is no signed JWT');
  });
});

test('token revoke removes what is kept, whatever the issuer says to it', async () => {
  expect(await printed('revoke')).toBe('no token is kept: nothing to revoke');
  const value = await printed();
  const { code, stderr } = await token('revoke');
  expect(code).toBe(1);
  expect(stderr).toContain('names no revocation_endpoint: its tokens end by themselves');
  expect(await printed()).not.toBe(value);
});

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
