import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { checkAddress } from '../../src/doctor/way.ts';
import { relay } from '../commands/child.ts';
import { folder } from '../config/folder.ts';
import { examineBroken, useShared } from './setting.ts';

const shared = useShared();

/** A name server that never answers, for one name; as then, a thread is kept for ever. */
const SILENT_DNS = `
import { open } from 'node:fs';
import dns from 'node:dns/promises';
import { syncBuiltinESMExports } from 'node:module';
const { lookup } = dns;
dns.lookup = (host, options) =>
  host === 'silent.example'
    ? new Promise(() => open(new URL('fifo', import.meta.url), () => {}))
    : lookup(host, options);
syncBuiltinESMExports();
`;

test('a lookup that never ends is given up, and does not keep doctor', async () => {
  const { setting } = await examineBroken(shared, ({ config, path, write }) => {
    execFileSync('mkfifo', [join(path, 'fifo')]);
    write('silent-dns.mjs', SILENT_DNS);
    Object.assign(config.destinations.mlflow, { url: 'https://silent.example', timeout: '1s' });
  });
  const { code, stdout } = await relay(['doctor', '--config', setting.configFile], {
    env: { NODE_OPTIONS: `--import ${join(setting.path, 'silent-dns.mjs')}` },
  });
  expect(stdout).toMatch(
    /^failed {3}mlflow: MLflow address: the DNS server did not answer for silent\.example\n {11}fix: correct destinations\.mlflow\.url/m,
  );
  expect(stdout).toMatch(/^1 failed, .* skipped\nfailed: mlflow: MLflow address\n$/m);
  expect(code).toBe(1);
});

/** What is started in place of Node. */
function useNode(path: string): void {
  const { execPath } = process;
  onTestFinished(() => void (process.execPath = execPath));
  process.execPath = path;
}

test.each<[string, () => void]>([
  ['cannot be started', () => useNode('/nowhere/node')],
  ['dies', () => vi.stubEnv('NODE_OPTIONS', '--no-such-option')],
])('where the process for the lookup %s, a name is looked up all the same', async (_, breakIt) => {
  breakIt();
  onTestFinished(() => void vi.unstubAllEnvs());
  const url = new URL('http://localhost');
  const words = expect.stringMatching(/^localhost is (127\.|::1)/) as string;
  expect(await checkAddress(url, 'url', 5_000)).toMatchObject({ state: 'ok', words });
});

test('the time that the process for the lookup takes to start is not that of the name server', async () => {
  const program = join(folder({}), 'node');
  writeFileSync(program, `#!/bin/sh\nsleep 0.2\necho '{"addresses":[{"address":"192.0.2.1"}]}'\n`);
  chmodSync(program, 0o700);
  useNode(program);
  const url = new URL('http://mlflow.example');
  expect(await checkAddress(url, 'url', 20)).toMatchObject({ words: 'mlflow.example is 192.0.2.1' });
});
