import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { runCommand } from './support/command.ts';
import { expectStored } from './support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  isReady,
  metric,
  startTestRelay,
  temporaryFolder,
  waitForDestination,
  waitUntilDelivered,
} from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

let stack: Stack;
/** The configuration of a relay that works. */
let working: string;
const cleanUps: (() => Promise<void>)[] = [];
beforeAll(async () => {
  stack = await useSharedStack();
  cleanUps.push(() => stack.stop());
  const relay = await startTestRelay(stack, {}, (finish) => cleanUps.push(finish));
  working = await readFile(relay.configFile, 'utf8');
  await relay.stop();
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

const BLOCKED = 'upstream_state{destination="mlflow",state="blocked"}';

test('an unknown experiment id: the status says so, and all is delivered with a corrected configuration', async () => {
  const directory = await temporaryFolder();
  const relay = await startTestRelay(stack, { directory, experiment: { id: '999999' } });
  const trace = makeTrace();
  await relay.sender.send(requestOf(trace.spans));
  const blocked = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
  expect(blocked.reason).toMatch(/experiment 999999/);
  expect(blocked.waiting_spans).toBe(2);
  expect(await metric(relay, BLOCKED)).toBe(1);
  expect(await isReady(relay)).toBe(true);
  await expect
    .poll(() => relay.logLines(), { timeout: DEADLINE_MS })
    .toContainEqual(
      expect.objectContaining({
        level: 'error',
        msg: expect.stringContaining('they are kept') as string,
        reason: blocked.reason,
      }) as object,
    );
  expect(await relay.stop()).toEqual({ code: 0, signal: null });

  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const corrected = await startTestRelay(stack, { directory, experiment: { id: experiment } });
  await waitUntilDelivered(corrected);
  const account = await accountOf(corrected);
  expect(account).toMatchObject({ recovered: 2, delivered: 2 });
  expectBalanced(account);
  await expectStored(stack.mlflow, experiment, [trace]);
});

test('a wrong client secret: log and status say so, and the corrected file is enough', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, {
    experiment: { id: experiment },
    client: { ...stack.client, secret: 'a-wrong-client-secret' },
  });
  const trace = makeTrace();
  await relay.sender.send(requestOf(trace.spans));
  const blocked = await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
  expect(blocked.reason).toMatch(/no access token.*(invalid_client|client secret)/);
  expect(await isReady(relay)).toBe(true);
  await expect
    .poll(() => relay.logLines(), { timeout: DEADLINE_MS })
    .toContainEqual(
      expect.objectContaining({
        level: 'error',
        msg: expect.stringMatching(/^no access token/) as string,
      }) as object,
    );
  expect(await metric(relay, 'token_requests_total{destination="mlflow",result="rejected"}')).toBeGreaterThan(
    0,
  );

  const pid = relay.pid();
  await writeFile(relay.secretFile, `${stack.client.secret}\n`);
  await waitUntilDelivered(relay);
  expect(relay.pid()).toBe(pid);
  expectBalanced(await accountOf(relay));
  await expectStored(stack.mlflow, experiment, [trace]);
});

/** The configuration of a relay that works, changed, in a folder of its own. */
async function configurationOf(
  change: (config: Config) => void,
): Promise<{ file: string; directory: string }> {
  const directory = await temporaryFolder();
  const file = join(directory, 'changed.yaml');
  const config = parse(working) as Config;
  config.queue.directory = join(directory, 'queue');
  change(config);
  await writeFile(file, stringify(config));
  return { file, directory };
}

type Config = {
  receiver: { listen: string; tls: { cert_file: string; key_file: string; client_ca_file: string } };
  queue: { directory: string; max_size?: string; max_sze?: string };
  destinations: { mlflow: { url: string; auth: { client_secret_file: string } } };
};

test('an unusable configuration: exit code 2, and one message with file, line, key and what is expected', async () => {
  const { file } = await configurationOf((config) => {
    config.queue.max_sze = '4GiB';
  });
  const wrong = await readFile(file, 'utf8');
  const line = wrong.split('\n').findIndex((text) => text.includes('max_sze')) + 1;
  const typo = await runCommand('run', '--config', file);
  expect(typo).toMatchObject({ code: 2, stdout: '' });
  expect(typo.stderr).toContain(`${file}:${line}`);
  expect(typo.stderr).toMatch(/max_sze/);
  expect(typo.stderr).toMatch(/max_size/);
  expect(typo.stderr).toMatch(/CONFIG_INVALID/);

  await writeFile(file, wrong.replace('max_sze: 4GiB', 'max_size: many'));
  const size = await runCommand('run', '--config', file);
  expect(size.code).toBe(2);
  expect(size.stderr).toMatch(new RegExp(`:${line}.*`));
  expect(size.stderr).toMatch(/queue\.max_size/);

  await writeFile(file, 'receiver: [');
  const yaml = await runCommand('run', '--config', file);
  expect(yaml).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/CONFIG_(INVALID|UNREADABLE)/) as string,
  });

  const missing = await runCommand('run', '--config', `${file}.missing`);
  expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining(`${file}.missing`) as string });
  expect(missing.stderr).toContain('CONFIG_UNREADABLE');
});

test('a missing secret file stops the start with its name', async () => {
  const { file } = await configurationOf((config) => {
    config.destinations.mlflow.auth.client_secret_file += '.missing';
  });
  const ended = await runCommand('run', '--config', file);
  expect(ended.code).toBe(2);
  expect(ended.stderr).toMatch(/client-secret\.missing/);
});

test('a certificate or key that cannot be used: exit code 2 and its name', async () => {
  const changes: [string, (tls: Config['receiver']['tls'], garbage: string) => string][] = [
    ['no certificate in the file', (tls, garbage) => (tls.cert_file = garbage)],
    ['no key in the file', (tls, garbage) => (tls.key_file = garbage)],
    ['no CA in the file', (tls, garbage) => (tls.client_ca_file = garbage)],
    ['a key of another certificate', (tls) => (tls.key_file = stack.certificates.clientKeyFile)],
    ['no such file', (tls) => (tls.cert_file = '/nowhere/tls.crt')],
    ['a folder', (tls) => (tls.cert_file = tmpdir())],
  ];
  const { file, directory } = await configurationOf(() => {});
  const good = await readFile(file, 'utf8');
  const garbage = join(directory, 'garbage.pem');
  await writeFile(garbage, 'no PEM at all\n');
  for (const [name, change] of changes) {
    const config = parse(good) as Config;
    const culprit = change(config.receiver.tls, garbage);
    await writeFile(file, stringify(config));
    const { code, stderr } = await runCommand('run', '--config', file);
    const isStack = /\n\s+at /.test(stderr);
    const words = /code: (CERTIFICATE_INVALID|CONFIG_INVALID|CONFIG_UNREADABLE)/.test(stderr);
    const namesIt = stderr.includes(culprit);
    expect({ name, code, words, namesIt, isStack }).toEqual({
      name,
      code: 2,
      words: true,
      namesIt: true,
      isStack: false,
    });
  }
});

test('a port that is taken, a queue that is in use: exit code 1 and what it is', async () => {
  const relay = await startTestRelay(stack);
  const config = parse(await readFile(relay.configFile, 'utf8')) as Config;
  const directory = await temporaryFolder();
  const file = join(directory, 'second.yaml');
  await writeFile(file, stringify(config));
  const locked = await runCommand('run', '--config', file);
  expect(locked.code).toBe(1);
  expect(locked.stderr).toContain('QUEUE_LOCKED');
  expect(locked.stderr).toContain(config.queue.directory);

  config.queue.directory = join(directory, 'queue');
  await writeFile(file, stringify(config));
  const taken = await runCommand('run', '--config', file);
  expect(taken.code).toBe(1);
  expect(taken.stderr).toContain('LISTEN_FAILED');

  const trace = makeTrace();
  await relay.sender.send(requestOf(trace.spans));
  await stack.mlflow.waitForTrace(trace.traceId, { spans: 2 });
});
