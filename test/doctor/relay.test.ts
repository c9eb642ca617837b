import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { examine } from '../../src/doctor/doctor.ts';
import { checkApart } from '../../src/doctor/ports.ts';
import { lockDirectory } from '../../src/queue/lock.ts';
import { freePort } from '../stack/processes.ts';
import { diagnose } from './broken.ts';
import type { Case } from './broken.ts';
import { SECRET, examineBroken, problemsIn, useShared } from './setting.ts';

/* What is wrong with the relay's own files, ports, disk and environment; its certificates: receiver.test.ts. */

const shared = useShared();

test('of a set-up in which all is right nothing is wrong, and nothing is left behind', async () => {
  const { checks, told, isUsable, setting } = await examineBroken(shared, ({ path }) =>
    mkdirSync(join(path, 'queue')),
  );
  expect(problemsIn(checks)).toEqual([]);
  expect(isUsable).toBe(true);
  expect(told).toEqual(checks);
  expect(checks.filter(({ state }) => state === 'skipped').map(({ name }) => name)).toEqual([
    'MLflow variables',
  ]);
  expect(readdirSync(join(setting.path, 'queue'))).toEqual([]);
  expect(readdirSync(setting.path).toSorted()).toEqual([
    'ca.crt',
    'queue',
    'relay.yaml',
    'secret',
    'tls.crt',
    'tls.key',
  ]);
});

/** A socket of another program; gone after the test. */
async function takePort(): Promise<string> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const HAS_MEMORY_DISK = (() => {
  try {
    return statfsSync('/dev/shm').type === 0x01021994;
  } catch {
    return false;
  }
})();

const CASES: Case[] = [
  [
    'a key that does not exist',
    ({ config }) => Object.assign(config.queue, { max_sise: '1GiB' }),
    ['failed configuration'],
    /relay\.yaml:\d+:\d+ queue\.max_sise: unknown key; did you mean max_size\?/,
    /correct these lines/,
  ],
  [
    'a secret file that is not there',
    ({ config }) => (config.destinations.mlflow.auth['client_secret_file'] = 'missing'),
    ['failed configuration'],
    /client_secret_file: cannot read the file: .*missing/,
    /correct these lines/,
  ],
  [
    'a configuration that everybody may write',
    ({ configFile }) => chmodSync(configFile, 0o666),
    ['failed configuration file'],
    /relay\.yaml can be written by every user .* \(mode 0666\)/,
    /^chmod o-w \S+relay\.yaml$/,
  ],
  [
    'a secret that everybody may read',
    ({ write }) => void write('secret', SECRET, 0o644),
    ['failed client secret'],
    /secret can be read by every user of this machine \(mode 0644\)/,
    /^chmod 600 \S+secret;/,
  ],
  [
    'a secret with a blank at its end',
    ({ write }) => void write('secret', `${SECRET} \n`),
    ['warning client secret', 'failed client authentication'],
    /begins or ends with white space/,
    /write the file again/,
  ],
  [
    'a port that another program has',
    async ({ config }) => void (config.receiver.listen = await takePort()),
    ['failed receiver port'],
    /nobody can listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/,
    /stop the program that listens there .*or change receiver\.listen/,
  ],
  [
    'an admin port that another program has',
    async ({ config }) => void (config.admin.listen = await takePort()),
    ['failed admin port'],
    /EADDRINUSE/,
    /change admin\.listen/,
  ],
  [
    'one port for all',
    async ({ config }) => {
      const port = await freePort();
      config.receiver.listen = `0.0.0.0:${port}`;
      config.admin.listen = `127.0.0.1:${port}`;
    },
    ['failed ports'],
    /receiver\.listen and admin\.listen both have port \d+: the relay cannot start/,
    /give admin\.listen another port/,
  ],
  [
    'an address of another machine to listen at',
    ({ config }) => (config.admin.listen = '192.0.2.1:9464'),
    ['failed admin port'],
    /192\.0\.2\.1:9464: .*EADDRNOTAVAIL/,
    /give admin\.listen an address of this machine/,
  ],
  [
    'a queue that is not for this user',
    ({ path }) => {
      mkdirSync(join(path, 'queue'));
      if (process.geteuid?.() === 0) chownSync(join(path, 'queue'), 12_345, 12_345);
      else chmodSync(join(path, 'queue'), 0o500);
    },
    ['failed queue directory'],
    /belongs to user 12345|may not use/,
    /the user of the relay/,
  ],
  [
    'a file in the place of the queue',
    ({ config, write }) => (config.queue.directory = join(write('file', ''), 'queue')),
    ['failed queue directory'],
    /file is no folder/,
    /change queue\.directory/,
  ],
  [
    'a proxy in the environment',
    ({ env }) => (env['HTTPS_PROXY'] = 'http://user:hunter2@proxy.example:3128'),
    ['warning proxies'],
    /^HTTPS_PROXY is set; the relay does not use proxies/,
    /can be reached without the proxy/,
  ],
  [
    'checks of certificates turned off',
    ({ env }) => (env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'),
    ['failed certificate checks'],
    /NODE_TLS_REJECT_UNAUTHORIZED=0 is set/,
    /name the CA by ca_file/,
  ],
  [
    "two variables that name two stores of MLflow's",
    ({ env }) => {
      env['MLFLOW_BACKEND_STORE_URI'] = 'postgresql://mlflow:hunter2@db/mlflow';
      env['MLFLOW_TRACKING_URI'] = 'sqlite:///mlflow.db';
    },
    ['warning MLflow variables'],
    /MLFLOW_BACKEND_STORE_URI \(postgresql:\/\/db\/mlflow\) and MLFLOW_TRACKING_URI \(sqlite:\/\/\/mlflow\.db\)/,
    /set both to the address of its database/,
  ],
];

test.each(CASES)('%s', async (...broken) => {
  expect(await diagnose(shared, broken)).toEqual(broken[2]);
});

test.each([
  ['127.0.0.1', 4318, '127.0.0.1', 9464, 'ok'],
  ['127.0.0.1', 4318, '127.0.0.1', 4318, 'failed'],
  ['::', 4318, '127.0.0.1', 4318, 'failed'],
  ['10.0.0.1', 4318, '0.0.0.0', 4318, 'failed'],
  ['10.0.0.1', 4318, '127.0.0.1', 4318, 'ok'],
  ['0.0.0.0', 0, '0.0.0.0', 0, 'ok'],
  ['0.0.0.0', 4318, '::1', 4318, 'ok'],
  ['::', 4318, '0.0.0.0', 4318, 'failed'],
  ['name.invalid', 4318, '127.0.0.1', 4318, 'ok'],
])('listening at %s:%i and %s:%i: %s', async (host, port, adminHost, adminPort, state) => {
  const { state: found } = await checkApart({ host, port }, { host: adminHost, port: adminPort });
  expect(found).toBe(state);
});

test('localhost is the address that it has', async () => {
  const { address, family } = await lookup('localhost');
  const receiver = { host: 'localhost', port: 4318 };
  const states = [address, family === 6 ? '127.0.0.1' : '::1'].map(
    async (host) => (await checkApart(receiver, { host, port: 4318 })).state,
  );
  expect(await Promise.all(states)).toEqual(['failed', 'ok']);
});

test('a configuration that is not there is named, with what to do', async () => {
  const { checks, isUsable } = await examine('/nowhere/relay.yaml', {}, (destinations) => destinations);
  expect(isUsable).toBe(false);
  expect(checks).toEqual([
    {
      name: 'configuration',
      state: 'failed',
      words: expect.stringContaining('cannot read the configuration file /nowhere/relay.yaml') as string,
      fix: 'name another one with --config FILE',
    },
  ]);
});

test('nothing else is looked at in a configuration that cannot be used', async () => {
  const { checks } = await examineBroken(shared, ({ config }) => Object.assign(config, { quue: {} }));
  expect(checks).toHaveLength(1);
});

describe.runIf(HAS_MEMORY_DISK)('a queue in memory', () => {
  test('is named', async () => {
    const directory = mkdtempSync('/dev/shm/relay-doctor-');
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const { checks } = await examineBroken(shared, ({ config }) => (config.queue.directory = directory));
    expect(checks).toContainEqual(
      expect.objectContaining({
        name: 'queue disk',
        state: 'warning',
        words: expect.stringContaining('lies in memory (tmpfs)') as string,
      }),
    );
  });
});

test('a queue that is larger than its disk is named', async () => {
  const { checks } = await examineBroken(shared, ({ config }) => (config.queue.max_size = '65536GiB'));
  expect(checks).toContainEqual(
    expect.objectContaining({
      name: 'queue space',
      state: 'warning',
      words: expect.stringMatching(/of 83886160 MiB .*the disk is full before the queue is/) as string,
      fix: expect.stringContaining('lower queue.max_size') as string,
    }),
  );
});

test('ports of a relay that runs on the same queue are in order', async () => {
  const { checks } = await examineBroken(shared, async ({ config, path }) => {
    config.receiver.listen = await takePort();
    mkdirSync(join(path, 'queue'));
    onTestFinished(lockDirectory(join(path, 'queue')));
  });
  expect(problemsIn(checks)).toEqual([]);
  const holder = `process ${process.pid} on `;
  expect(checks.find(({ name }) => name === 'queue lock')?.words).toContain(
    `a relay runs on this queue: ${holder}`,
  );
  expect(checks.find(({ name }) => name === 'receiver port')?.words).toContain(
    `held by the running relay (${holder}`,
  );
});

test.runIf(process.geteuid?.() === 0)('so they are for root, to whom the queue does not belong', async () => {
  const { checks } = await examineBroken(shared, async ({ config, path }) => {
    config.receiver.listen = await takePort();
    const queue = join(path, 'queue');
    mkdirSync(queue);
    onTestFinished(lockDirectory(queue));
    chownSync(queue, 12_345, 12_345);
  });
  expect(problemsIn(checks)).toEqual(['failed queue directory']);
});
