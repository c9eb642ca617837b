import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { folder } from '../config/folder.ts';
import { MAIN, relay, start } from './child.ts';

const CONFIG = `receiver: {plaintext: true}
queue: {directory: data}
destinations:
  mlflow:
    kind: mlflow
    url: https://mlflow
    experiment: {name: "\${env:EXPERIMENT}"}
    auth: {kind: client_credentials, issuer: https://idp, client_id: relay, client_secret: "\${env:SECRET}"}
`;
const ENV = { EXPERIMENT: 'traces', SECRET: 'hunter2' };

describe('config', () => {
  test('check says that a configuration is valid', async () => {
    const cwd = folder({ 'relay.yaml': CONFIG });
    await expect(relay(['config', 'check', '--config', 'relay.yaml'], { cwd, env: ENV })).resolves.toEqual({
      code: 0,
      signal: null,
      stdout: 'relay.yaml: the configuration is valid\n',
      stderr: '',
    });
  });

  test('check warns of destinations that cannot have the same traces', async () => {
    const other =
      '  other: {kind: mlflow, url: "https://mlflow:443/", experiment: {name: x}, auth: {kind: none}}\n';
    const cwd = folder({ 'relay.yaml': CONFIG + other });
    const { code, stdout, stderr } = await relay(['config', 'check', '-c', 'relay.yaml'], { cwd, env: ENV });
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'relay.yaml: the configuration is valid\n' });
    expect(stderr).toMatch(
      /^warning: destinations mlflow and other get the same traces and name experiment "traces" and experiment "x" of one MLflow \(https:\/\/mlflow\/\), where .*\n +fix: leave one of them out, .*\n$/,
    );
  });

  test.each([['check'], ['print']])('%s says what is wrong, and nothing else', async (command) => {
    const cwd = folder({ 'relay.yaml': CONFIG.replace('plaintext', 'plaintxt') });
    const { code, stdout, stderr } = await relay(['config', command, '-c', 'relay.yaml'], { cwd, env: ENV });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toBe(
      'error: relay.yaml:1:1 receiver: must say how clients are recognised: tls: {cert_file: …, key_file: …, client_ca_file: …}; or plaintext: true, to take traces from anybody\n' +
        'relay.yaml:1:12 receiver.plaintxt: unknown key; did you mean plaintext?\n' +
        'code: CONFIG_INVALID\n',
    );
  });

  test('print shows the whole configuration, without the secret', async () => {
    const cwd = folder({ 'relay.yaml': CONFIG });
    const { code, stdout, stderr } = await relay(['config', 'print', '--config=relay.yaml'], {
      cwd,
      env: ENV,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).not.toContain('hunter2');
    expect(parse(stdout)).toMatchObject({
      receiver: { listen: '127.0.0.1:4318', max_request_body_size: '64MiB' },
      queue: { directory: `${cwd}/data` },
      destinations: {
        mlflow: { experiment: { name: 'traces' }, auth: { client_secret: '********', timeout: '10s' } },
      },
      shutdown_timeout: '25s',
    });
  });

  test('schema prints config/relay.schema.json', async () => {
    const { code, stdout } = await relay(['config', 'schema']);
    expect(code).toBe(0);
    expect(stdout).toBe(readFileSync(new URL('../../config/relay.schema.json', import.meta.url), 'utf8'));
  });
});

describe('usage', () => {
  test('--version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    await expect(relay(['--version'])).resolves.toMatchObject({
      code: 0,
      stdout: `${version}\n`,
      stderr: '',
    });
  });

  test('--help names the commands and the exit codes', async () => {
    const { code, stdout, stderr } = await relay(['--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const words of [
      'run [options]',
      'config',
      '0  done',
      '1  failed',
      '2  wrong usage or configuration',
    ]) {
      expect(stdout).toContain(words);
    }
  });

  test.each([
    ['no command', [], 'Usage: mlflow-trace-relay'],
    ['half a command', ['config'], 'Usage: mlflow-trace-relay config'],
    ['a command with a slip', ['rnu'], "unknown command 'rnu'\n(Did you mean run?)"],
    ['a part with a slip', ['config', 'chek'], "unknown command 'chek'\n(Did you mean check?)"],
    ['an option with a slip', ['run', '--confg', 'a'], "unknown option '--confg'\n(Did you mean --config?)"],
    ['no file', ['run'], "required option '--config <file>' not specified"],
    [
      'an option without its file',
      ['config', 'check', '--config'],
      "option '-c, --config <file>' argument missing",
    ],
    ['too much', ['config', 'schema', 'a'], "too many arguments for 'schema'"],
  ])('%s is said on standard error, with code 2', async (_, args, message) => {
    const { code, stdout, stderr } = await relay(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
  });

  test.each([[['run']], [['config', 'check']], [['config', 'print']]])(
    '%j without its file says which is missing',
    async (command) => {
      await expect(relay([...command, '--config', 'none.yaml'], { cwd: folder({}) })).resolves.toEqual({
        code: 2,
        signal: null,
        stdout: '',
        stderr:
          "error: cannot read the configuration file none.yaml: ENOENT: no such file or directory, open 'none.yaml'; name another one with --config FILE\ncode: CONFIG_UNREADABLE\n",
      });
    },
  );
});

describe('run', () => {
  // Nothing listens at the upstream: the relay starts all the same.
  const RUN = CONFIG.replace('{plaintext: true}', '{plaintext: true, listen: "127.0.0.1:0"}')
    .replace('https://mlflow', 'http://127.0.0.1:9')
    .replace('https://idp', 'http://127.0.0.1:9')
    .concat('admin: {listen: "127.0.0.1:0"}\n');

  test('starts a relay that SIGTERM stops, with code 0 and nothing but log lines', async () => {
    const cwd = folder({ 'relay.yaml': RUN });
    const process = start(MAIN, ['run', '--config', 'relay.yaml'], { cwd, env: ENV });
    await process.says('relay started');
    process.kill('SIGTERM');
    const { code, stdout, stderr } = await process.ended();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const messages = stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { msg: string }).msg);
    expect(messages).toContain('stopping');
    expect(stdout).not.toContain('hunter2');
  });

  test('says with code 1 what keeps it from starting', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void taken.close());
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const cwd = folder({ 'relay.yaml': RUN.replace('127.0.0.1:0', `127.0.0.1:${port}`) });
    const { code, stderr } = await relay(['run', '--config', 'relay.yaml'], { cwd, env: ENV });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .+\ncode: LISTEN_FAILED\n$/);
  });

  test('says with code 2 that a certificate is none', async () => {
    const tls = 'tls: {cert_file: relay.yaml, key_file: relay.yaml, client_ca_file: relay.yaml}';
    const cwd = folder({ 'relay.yaml': RUN.replace('plaintext: true', tls) });
    const { code, stderr } = await relay(['run', '--config', 'relay.yaml'], { cwd, env: ENV });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: .*relay\.yaml.*\ncode: CERTIFICATE_INVALID\n$/);
  });
});
