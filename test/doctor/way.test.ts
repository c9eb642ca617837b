import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { relay } from '../commands/child.ts';
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
  expect(stdout).toMatch(/^1 failed, .* skipped\n$/m);
  expect(code).toBe(1);
});
