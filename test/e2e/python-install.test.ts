import { mkdir, readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { StackError } from '../stack/processes.ts';
import { ensurePythonEnvironment } from '../stack/python.ts';
import { startBrokenServer } from './support/broken-server.ts';
import { temporaryFolder } from './support/relay.ts';

test('an index of packages that cannot be reached is one line with the log, and no environment is left as complete', async () => {
  const cache = join(await temporaryFolder(), 'cache');
  await mkdir(cache);
  const index = `${await startBrokenServer()}/simple`;
  const env = {
    ...process.env,
    PIP_CONFIG_FILE: '/dev/null',
    PIP_INDEX_URL: index,
    PIP_NO_CACHE_DIR: '1',
    PIP_RETRIES: '0',
    UV_INDEX_URL: index,
  };
  const failed = await ensurePythonEnvironment(cache, { env }).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(StackError);
  const [message, log = ''] = (failed as Error).message.split('; more in ');
  expect(message).toBe('MLflow could not be installed from PyPI');
  expect(await readFile(log, 'utf8')).toMatch(/No matching distribution|Could not find a version/);
  const made = await readdir(cache, { recursive: true });
  expect(made.filter((file) => basename(file) === 'pyvenv.cfg')).toHaveLength(1);
  expect(made.filter((file) => basename(file) === 'complete')).toEqual([]);
});
