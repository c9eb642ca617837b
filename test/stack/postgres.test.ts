import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { skipWithout } from '../e2e/support/skip.ts';
import { startPostgres } from './postgres.ts';
import type { Postgres } from './postgres.ts';

describe.skipIf(skipWithout('postgres'))('PostgreSQL', () => {
  let directory: string;
  let postgres: Postgres;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'postgres-'));
    postgres = await startPostgres({ directory });
  });
  afterAll(async () => {
    await postgres?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  test.each(['SIGINT', 'SIGKILL'] as const)('has its data after %s, and is there again', async (signal) => {
    await postgres.createDatabase(signal);
    await postgres.query(signal, 'CREATE TABLE kept AS SELECT 7 AS value');
    await postgres.stop(signal);
    await expect(postgres.query(signal, 'SELECT 1')).rejects.toThrow('refused');
    await postgres.start();
    expect(await postgres.query(signal, 'SELECT value FROM kept')).toBe('7');
  });

  test('takes nobody without the password, and listens on the loopback interface alone', async () => {
    expect(await postgres.query('postgres', 'SHOW listen_addresses')).toBe('127.0.0.1');
    expect(await postgres.query('postgres', 'SHOW unix_socket_directories')).toBe('');
    expect(await postgres.query('postgres', 'SELECT DISTINCT auth_method FROM pg_hba_file_rules')).toBe(
      'scram-sha-256',
    );
    const { password } = new URL(postgres.url('any'));
    expect(password).toMatch(/^[0-9a-f]{48}$/);
    expect(await readFile(postgres.logFile, 'utf8')).not.toContain(password);
  });
});
